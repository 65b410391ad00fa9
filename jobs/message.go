package jobs

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// message is what asynq stores of a task, as far as this package reads it. asynq
// keeps its decoder to itself; the numbers are those of its asynq.proto, v0.26.0.
type message struct {
	Type     string            // 1
	Payload  []byte            // 2
	Retried  int               // 6
	ErrorMsg string            // 7
	Headers  map[string]string // 15
}

var errMessage = errors.New("not a task of asynq")

func decodeMessage(b []byte) (message, error) {
	var m message
	err := fields(b, func(num protowire.Number, value []byte, n uint64) error {
		switch num {
		case 1:
			m.Type = string(value)
		case 2:
			m.Payload = value
		case 6:
			m.Retried = int(int32(n))
		case 7:
			m.ErrorMsg = string(value)
		case 15:
			var k, v string
			err := fields(value, func(num protowire.Number, value []byte, _ uint64) error {
				switch num {
				case 1:
					k = string(value)
				case 2:
					v = string(value)
				}
				return nil
			})
			if err != nil {
				return err
			}
			if m.Headers == nil {
				m.Headers = map[string]string{}
			}
			m.Headers[k] = v
		}
		return nil
	})
	return m, err
}

// fields calls f for every field of a protobuf message, with its bytes or its
// number.
func fields(b []byte, f func(num protowire.Number, value []byte, n uint64) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errMessage
		}
		b = b[n:]
		var value []byte
		var number uint64
		switch typ {
		case protowire.BytesType:
			value, n = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return errMessage
		}
		if err := f(num, value, number); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

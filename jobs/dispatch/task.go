package dispatch

import (
	"errors"
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Fields of a task in asynq.proto, v0.26.0.
const (
	fieldType      = 1
	fieldPayload   = 2
	fieldID        = 3
	fieldRetried   = 6
	fieldError     = 7
	fieldTimeout   = 8
	fieldDeadline  = 9
	fieldUnique    = 10
	fieldFailedAt  = 11
	fieldRetention = 12
	fieldCompleted = 13
	fieldHeaders   = 15
)

// noTimeout is how long a task may run whose producer, no asynq.Client, does not say.
const noTimeout = 30 * time.Minute

// task is a task as asynq stores it.
type task struct {
	msg       []byte // the rest points into it
	id        string
	kind      string
	payload   []byte
	headers   map[string]string
	retried   int
	tried     bool  // it was run before: an error is written down
	timeout   int64 // seconds; 0: none
	deadline  int64 // Unix seconds; 0: none
	unique    string
	retention int64 // seconds that it is kept once it is done
}

// taskOf reads a task, which keeps msg.
func taskOf(msg []byte) (t task, err error) {
	t.msg = msg
	for b := msg; len(b) > 0; {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return task{}, protowire.ParseError(n)
		}
		b = b[n:]
		switch typ {
		case protowire.BytesType:
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return task{}, protowire.ParseError(n)
			}
			if err := t.setBytes(num, v); err != nil {
				return task{}, err
			}
			b = b[n:]
		case protowire.VarintType:
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return task{}, protowire.ParseError(n)
			}
			t.setNumber(num, v)
			b = b[n:]
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
			if n < 0 {
				return task{}, protowire.ParseError(n)
			}
			b = b[n:]
		}
	}
	if t.id == "" {
		return task{}, errors.New("the task has no id")
	}
	return t, nil
}

func (t *task) setBytes(num protowire.Number, v []byte) error {
	switch num {
	case fieldType:
		t.kind = string(v)
	case fieldPayload:
		t.payload = v
	case fieldID:
		t.id = string(v)
	case fieldError:
		t.tried = true
	case fieldUnique:
		t.unique = string(v)
	case fieldHeaders:
		return t.setHeader(v)
	}
	return nil
}

func (t *task) setNumber(num protowire.Number, v uint64) {
	switch num {
	case fieldRetried:
		t.retried = int(int32(v))
	case fieldTimeout:
		t.timeout = int64(v)
	case fieldDeadline:
		t.deadline = int64(v)
	case fieldRetention:
		t.retention = int64(v)
	}
}

// setHeader reads an entry of a map: field 1 is its key, 2 its value.
func (t *task) setHeader(entry []byte) error {
	var text [3]string
	for len(entry) > 0 {
		num, typ, n := protowire.ConsumeTag(entry)
		if n < 0 {
			return protowire.ParseError(n)
		}
		entry = entry[n:]
		if typ == protowire.BytesType && (num == 1 || num == 2) {
			v, n := protowire.ConsumeBytes(entry)
			if n < 0 {
				return protowire.ParseError(n)
			}
			text[num] = string(v)
			entry = entry[n:]
			continue
		}
		n = protowire.ConsumeFieldValue(num, typ, entry)
		if n < 0 {
			return protowire.ParseError(n)
		}
		entry = entry[n:]
	}
	if t.headers == nil {
		t.headers = map[string]string{}
	}
	t.headers[text[1]] = text[2]
	return nil
}

// until is when a run of the task that begins now has to have ended, as asynq counts.
func (t *task) until(now time.Time) time.Time {
	end := now.Add(noTimeout)
	if t.timeout > 0 {
		end = now.Add(time.Duration(min(t.timeout, math.MaxInt64/int64(time.Second))) * time.Second)
	}
	if t.deadline != 0 {
		if at := time.Unix(t.deadline, 0); t.timeout <= 0 || at.Before(end) {
			end = at
		}
	}
	return end
}

// The next functions set fields of a message. Of a repeated scalar field a protobuf
// decoder takes the last. The message that they are given stays as it is.

func withRetried(msg []byte, retried int) []byte {
	return withNumber(msg, fieldRetried, uint64(int32(retried)))
}

func withError(msg []byte, text string, at time.Time) []byte {
	msg = protowire.AppendTag(msg[:len(msg):len(msg)], fieldError, protowire.BytesType)
	msg = protowire.AppendString(msg, strings.ToValidUTF8(text, "\uFFFD")) // asynq reads no other
	return withNumber(msg, fieldFailedAt, uint64(at.Unix()))
}

func withCompleted(msg []byte, at time.Time) []byte {
	return withNumber(msg, fieldCompleted, uint64(at.Unix()))
}

func withNumber(msg []byte, field protowire.Number, v uint64) []byte {
	msg = protowire.AppendTag(msg[:len(msg):len(msg)], field, protowire.VarintType)
	return protowire.AppendVarint(msg, v)
}

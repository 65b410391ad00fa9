package tljson

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-faster/jx"
)

// scalar reads what is no object and no vector.
func (d *decoder) scalar(t *typ, v reflect.Value) error {
	switch t.kind {
	case kindInt:
		return d.integer(t, v, 32)
	case kindLong:
		return d.integer(t, v, 64)
	case kindDouble:
		return d.double(t, v)
	case kindBool, kindTrue:
		if d.js.Next() != jx.Bool {
			return d.wrong(wants(t))
		}
		b, err := d.js.Bool()
		v.SetBool(b)
		return err
	}
	if d.js.Next() != jx.String {
		return d.wrong(wants(t))
	}
	s, err := d.js.Str()
	if err != nil {
		return err
	}
	switch t.kind {
	case kindString:
		if !utf8.ValidString(s) {
			return d.fail(CodeWrongType, "is not UTF-8")
		}
		v.SetString(s)
	case kindBytes:
		b, err := fromBase64(s)
		if err != nil {
			return d.fail(CodeInvalidBase64, "wants %s, got %s", wants(t), quote(s))
		}
		v.SetBytes(b)
	default: // int128 and int256
		b, err := hex.DecodeString(s)
		if err != nil || len(b) != v.Len() {
			return d.fail(CodeWrongType, "wants %s, got %s", wants(t), quote(s))
		}
		reflect.Copy(v, reflect.ValueOf(b))
	}
	return nil
}

// integer reads an int, or a long, which may be in a string.
func (d *decoder) integer(t *typ, v reflect.Value, bits int) error {
	var text []byte
	var err error
	switch next := d.js.Next(); {
	case next == jx.Number:
		text, err = d.js.Raw()
	case next == jx.String && bits == 64:
		text, err = d.js.StrBytes()
	default:
		return d.wrong(wants(t))
	}
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(string(text), 10, bits)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return d.fail(CodeOutOfRange, "is %s, and %s has %d bits: %d to %d", shorten(string(text)), t.name, bits, int64(-1)<<(bits-1), int64(1)<<(bits-1)-1)
	case err != nil:
		return d.fail(CodeWrongType, "wants %s, got %s", wants(t), quote(string(text)))
	}
	v.SetInt(n)
	return nil
}

func (d *decoder) double(t *typ, v reflect.Value) error {
	var f float64
	switch d.js.Next() {
	case jx.Number:
		text, err := d.js.Raw()
		if err != nil {
			return err
		}
		if f, err = strconv.ParseFloat(string(text), 64); err != nil {
			return d.fail(CodeOutOfRange, "is %s, and a double ends at ±1.8e308", shorten(string(text)))
		}
	case jx.String:
		s, err := d.js.Str()
		switch {
		case err != nil:
			return err
		case s == notANumber:
			f = math.NaN()
		case s == infinity:
			f = math.Inf(1)
		case s == negInfinity:
			f = math.Inf(-1)
		default:
			return d.fail(CodeWrongType, "wants %s, got %s", wants(t), quote(s))
		}
	default:
		return d.wrong(wants(t))
	}
	v.SetFloat(f)
	return nil
}

// fromBase64 reads both alphabets, padded or not.
func fromBase64(s string) ([]byte, error) {
	enc := base64.RawStdEncoding
	if strings.ContainsAny(s, "-_") {
		enc = base64.RawURLEncoding
	}
	bare := strings.TrimRight(s, "=")
	if pad := len(s) - len(bare); pad > 0 && (pad > 2 || len(s)%4 != 0) {
		return nil, base64.CorruptInputError(len(bare))
	}
	return enc.DecodeString(bare)
}

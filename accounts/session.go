package accounts

import (
	"bytes"
	"crypto/sha1" // #nosec: MTProto defines the key id as SHA-1
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
)

// AuthKey is an MTProto authorization key: whoever has it is the account. It
// never prints itself; the bytes sit behind a pointer because fmt does not call
// String on unexported fields.
type AuthKey struct{ b *[256]byte }

// NewAuthKey copies the key's 256 bytes.
func NewAuthKey(b []byte) (AuthKey, error) {
	if len(b) != 256 {
		return AuthKey{}, fmt.Errorf("an auth key has 256 bytes, not %d", len(b))
	}
	if bytes.Count(b, []byte{0}) == len(b) {
		return AuthKey{}, errors.New("the auth key is all zeros")
	}
	return AuthKey{b: (*[256]byte)(bytes.Clone(b))}, nil
}

// Bytes returns a copy of the key; empty for the zero AuthKey.
func (k AuthKey) Bytes() []byte {
	if k.b == nil {
		return nil
	}
	return bytes.Clone(k.b[:])
}

// ID is the key's identifier on the wire: the last 8 bytes of its SHA-1.
// Source: core.telegram.org/mtproto/description, Key Identifier.
func (k AuthKey) ID() [8]byte {
	if k.b == nil {
		return [8]byte{}
	}
	sum := sha1.Sum(k.b[:])
	return [8]byte(sum[12:])
}

// IDText is ID as accounts store and show it: 16 hex digits.
func (k AuthKey) IDText() string {
	id := k.ID()
	return hex.EncodeToString(id[:])
}

// IsZero tells a missing key.
func (k AuthKey) IsZero() bool { return k.b == nil }

func (AuthKey) String() string               { return "[auth key]" }
func (AuthKey) GoString() string             { return "[auth key]" }
func (AuthKey) LogValue() slog.Value         { return slog.StringValue("[auth key]") }
func (AuthKey) MarshalText() ([]byte, error) { return []byte("[auth key]"), nil }

// Session is what an account needs to connect without logging in.
type Session struct {
	DC   int     // data center where the key is authorized
	Addr string  // host:port; empty: the data center's usual address
	Key  AuthKey // the secret
	Salt int64   // last server salt, 0 if unknown: a stale one costs one round trip
}

// gotdSession is the JSON form in which gotd's session.FileStorage keeps a
// session; the only prepared form that this package reads and writes.
type gotdSession struct {
	Version int
	Data    struct {
		DC        int
		Addr      string
		AuthKey   []byte
		AuthKeyID []byte
		Salt      int64
	}
}

// ParseSession reads a prepared session in gotd's JSON form.
func ParseSession(data []byte) (Session, error) {
	var g gotdSession
	if err := json.Unmarshal(data, &g); err != nil {
		return Session{}, fmt.Errorf("the session is not JSON of gotd's form: %w", err)
	}
	if g.Version != 1 {
		return Session{}, fmt.Errorf("the session has version %d; gotd's form has version 1", g.Version)
	}
	if g.Data.DC < 1 {
		return Session{}, fmt.Errorf("the session's data center (Data.DC) is %d; it has to be 1 or more", g.Data.DC)
	}
	key, err := NewAuthKey(g.Data.AuthKey)
	if err != nil {
		return Session{}, fmt.Errorf("the session's Data.AuthKey: %w", err)
	}
	if id := key.ID(); len(g.Data.AuthKeyID) > 0 && !bytes.Equal(id[:], g.Data.AuthKeyID) {
		return Session{}, errors.New("the session's Data.AuthKeyID does not belong to its Data.AuthKey; the file is damaged")
	}
	return Session{DC: g.Data.DC, Addr: g.Data.Addr, Key: key, Salt: g.Data.Salt}, nil
}

// Sealed form, version 1: version byte, DC as uint32, salt as int64 (both big
// endian), 256 bytes of key, address.
const (
	plainVersion = 1
	plainHead    = 1 + 4 + 8 + 256
)

// marshal writes the form that is sealed. The result is secret.
func (s Session) marshal() ([]byte, error) {
	if s.Key.IsZero() {
		return nil, errors.New("the session has no auth key")
	}
	b := make([]byte, 0, plainHead+len(s.Addr))
	b = append(b, plainVersion)
	b = binary.BigEndian.AppendUint32(b, uint32(s.DC))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Salt))
	b = append(b, s.Key.b[:]...)
	return append(b, s.Addr...), nil
}

func unmarshalSession(b []byte) (Session, error) {
	if len(b) < plainHead || b[0] != plainVersion {
		return Session{}, errors.New("the opened session has an unknown form; it was written by a newer program")
	}
	key, err := NewAuthKey(b[13:plainHead])
	if err != nil {
		return Session{}, err
	}
	return Session{
		DC:   int(binary.BigEndian.Uint32(b[1:])),
		Salt: int64(binary.BigEndian.Uint64(b[5:])),
		Key:  key,
		Addr: string(b[plainHead:]),
	}, nil
}

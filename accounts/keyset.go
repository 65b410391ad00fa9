package accounts

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// Keyset seals and opens sessions: a Tink AEAD keyset, so that keys can be
// rotated. It never prints itself.
type Keyset struct{ aead tink.AEAD }

func (Keyset) String() string       { return "[keyset]" }
func (Keyset) GoString() string     { return "[keyset]" }
func (Keyset) LogValue() slog.Value { return slog.StringValue("[keyset]") }

// NewKeyset makes a keyset of one new AES-256-GCM key in Tink's JSON form. The
// result is secret: whoever has it and the database has every account.
func NewKeyset() ([]byte, error) {
	h, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("make a keyset: %w", err)
	}
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(&b)); err != nil {
		return nil, fmt.Errorf("write a keyset: %w", err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// ParseKeyset reads a keyset in Tink's JSON form.
func ParseKeyset(data []byte) (Keyset, error) {
	h, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(data)))
	if err != nil {
		// Tink's own error may quote what it read.
		return Keyset{}, errors.New("not a Tink keyset in JSON form")
	}
	a, err := aead.New(h)
	if err != nil {
		return Keyset{}, errors.New("the keyset cannot seal: it is not an AEAD keyset")
	}
	return Keyset{aead: a}, nil
}

// bound is the associated data: a sealed session opens for its own account only.
func bound(id ID) []byte { return []byte("switchboard session v1 " + id) }

func (k Keyset) seal(id ID, s Session) ([]byte, error) {
	plain, err := s.marshal()
	if err != nil {
		return nil, fmt.Errorf("seal session of account %s: %w", id, err)
	}
	defer clear(plain)
	sealed, err := k.aead.Encrypt(plain, bound(id))
	if err != nil {
		return nil, fmt.Errorf("seal session of account %s: %w", id, err)
	}
	return sealed, nil
}

// ErrWrongKey: a stored session does not open with the keyset at hand.
var ErrWrongKey = errors.New("the session was sealed with another key")

func (k Keyset) open(id ID, sealed []byte) (Session, error) {
	plain, err := k.aead.Decrypt(sealed, bound(id))
	if err != nil {
		return Session{}, fmt.Errorf("open session of account %s: %w", id, ErrWrongKey)
	}
	defer clear(plain)
	s, err := unmarshalSession(plain)
	if err != nil {
		return Session{}, fmt.Errorf("open session of account %s: %w", id, err)
	}
	return s, nil
}

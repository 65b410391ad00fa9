package accounts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
)

// Keyset seals and opens sessions and other secrets of accounts: a Tink AEAD keyset, so
// that keys can be rotated. It never prints itself.
type Keyset struct {
	aead   tink.AEAD
	handle *keyset.Handle
	ids    KeyIDs
}

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
	k, err := newKeyset(h)
	if err != nil {
		return nil, err
	}
	return k.Marshal()
}

// ParseKeyset reads a keyset in Tink's JSON form.
func ParseKeyset(data []byte) (Keyset, error) {
	h, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(data)))
	if err != nil {
		if wrapped(data) {
			return Keyset{}, errors.New("the keyset is encrypted with a key of a KMS; name that with --key-uri")
		}
		// Tink's own error may quote what it read.
		return Keyset{}, errors.New("not a Tink keyset in JSON form")
	}
	return newKeyset(h)
}

// A KEK encrypts keysets: a key that stays in a KMS. See package accounts/kms.
type KEK = tink.AEADWithContext

// ParseWrappedKeyset reads a keyset in Tink's JSON form that kek has encrypted.
func ParseWrappedKeyset(ctx context.Context, data []byte, kek KEK) (Keyset, error) {
	if !wrapped(data) {
		return Keyset{}, errors.New("not a Tink keyset in JSON form that a key of a KMS has encrypted; 'worker key wrap' makes one")
	}
	k := &heard{KEK: kek}
	h, err := keyset.ReadWithContext(ctx, keyset.NewJSONReader(bytes.NewReader(data)), k, nil)
	if k.err != nil {
		return Keyset{}, fmt.Errorf("the KMS does not decrypt the keyset: %w", k.err)
	}
	if err != nil {
		return Keyset{}, errors.New("what the KMS has decrypted is no Tink keyset")
	}
	return newKeyset(h)
}

// heard keeps the KMS's own error, which Tink leaves out.
type heard struct {
	KEK
	err error
}

func (h *heard) DecryptWithContext(ctx context.Context, sealed, ad []byte) (plain []byte, err error) {
	plain, h.err = h.KEK.DecryptWithContext(ctx, sealed, ad)
	return plain, h.err
}

// wrapped tells an encrypted keyset.
func wrapped(data []byte) bool {
	k, err := keyset.NewJSONReader(bytes.NewReader(data)).ReadEncrypted()
	return err == nil && len(k.EncryptedKeyset) > 0
}

func newKeyset(h *keyset.Handle) (Keyset, error) {
	a, err := aead.New(h)
	if err != nil {
		return Keyset{}, errors.New("the keyset cannot seal: it is not an AEAD keyset")
	}
	k := Keyset{aead: a, handle: h}
	for _, key := range h.KeysetInfo().GetKeyInfo() {
		switch {
		case key.GetStatus() != tinkpb.KeyStatusType_ENABLED:
			continue
		case key.GetOutputPrefixType() != tinkpb.OutputPrefixType_TINK:
			// Without its id in what it has sealed nobody could tell which key that needs.
			return Keyset{}, fmt.Errorf("key %d of the keyset has output prefix %s; it has to be TINK, as 'worker key new' makes it", key.GetKeyId(), key.GetOutputPrefixType())
		case key.GetKeyId() == h.KeysetInfo().GetPrimaryKeyId():
			k.ids = append(KeyIDs{key.GetKeyId()}, k.ids...)
		default:
			k.ids = append(k.ids, key.GetKeyId())
		}
	}
	return k, nil
}

// Marshal writes the keyset in Tink's JSON form, in the clear: the result is secret.
func (k Keyset) Marshal() ([]byte, error) {
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(k.handle, keyset.NewJSONWriter(&b)); err != nil {
		return nil, fmt.Errorf("write a keyset: %w", err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// Wrap writes the keyset in Tink's JSON form, encrypted with kek.
func (k Keyset) Wrap(ctx context.Context, kek KEK) ([]byte, error) {
	var b bytes.Buffer
	if err := k.handle.WriteWithContext(ctx, keyset.NewJSONWriter(&b), kek, nil); err != nil {
		return nil, fmt.Errorf("encrypt a keyset with the KMS: %w", err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// IDs names the keys: the first one seals, all of them open.
func (k Keyset) IDs() KeyIDs { return k.ids }

// Add returns the keyset with one more key, which opens and does not seal.
func (k Keyset) Add() (Keyset, uint32, error) {
	m := keyset.NewManagerFromHandle(k.handle)
	id, err := m.Add(aead.AES256GCMKeyTemplate())
	if err != nil {
		return Keyset{}, 0, fmt.Errorf("add a key to the keyset: %w", err)
	}
	changed, err := managed(m)
	return changed, id, err
}

// Promote returns the keyset with another of its keys as the one that seals.
func (k Keyset) Promote(id uint32) (Keyset, error) {
	if err := k.has(id); err != nil {
		return Keyset{}, err
	}
	m := keyset.NewManagerFromHandle(k.handle)
	if err := m.SetPrimary(id); err != nil {
		return Keyset{}, fmt.Errorf("promote key %d: %w", id, err)
	}
	return managed(m)
}

// Remove returns the keyset without a key, which is not the one that seals.
func (k Keyset) Remove(id uint32) (Keyset, error) {
	if err := k.has(id); err != nil {
		return Keyset{}, err
	}
	if id == k.ids[0] {
		return Keyset{}, fmt.Errorf("key %d is the one that seals; promote another one first", id)
	}
	m := keyset.NewManagerFromHandle(k.handle)
	if err := m.Delete(id); err != nil {
		return Keyset{}, fmt.Errorf("remove key %d: %w", id, err)
	}
	return managed(m)
}

func (k Keyset) has(id uint32) error {
	if !k.ids.Has(id) {
		return fmt.Errorf("the keyset has no key %d; it has %s", id, k.ids)
	}
	return nil
}

func managed(m *keyset.Manager) (Keyset, error) {
	h, err := m.Handle()
	if err != nil {
		return Keyset{}, fmt.Errorf("change the keyset: %w", err)
	}
	return newKeyset(h)
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

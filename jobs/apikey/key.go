package apikey

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
)

// prefix begins every secret, so that scanners of repositories and logs find one.
const prefix = "sbk_"

// MaxName is how long the name of a key may be in bytes.
const MaxName = 64

// MaxRate is the most jobs a second that a key may be given.
const MaxRate = 100_000

// Hash is the SHA-256 of a secret.
type Hash [sha256.Size]byte

// Secret is what a producer sends. It never prints itself: Reveal does.
type Secret struct{ text *string }

// NewSecret makes one.
func NewSecret() Secret {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	text := prefix + base64.RawURLEncoding.EncodeToString(b[:])
	return Secret{&text}
}

// ParseSecret reads what Reveal gave.
func ParseSecret(text string) (Secret, error) {
	rest, ok := strings.CutPrefix(text, prefix)
	b, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	if !ok || err != nil || len(b) != 32 || strings.ContainsAny(rest, "\r\n") {
		return Secret{}, errors.New("that is no API key; one begins with " + prefix + ", and `enqueue keys create` makes it")
	}
	return Secret{&text}, nil
}

// Reveal is the secret itself; "" of the zero Secret.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// String hides it.
func (Secret) String() string { return "[API key]" }

// GoString hides it.
func (Secret) GoString() string { return "[API key]" }

// MarshalText hides it.
func (Secret) MarshalText() ([]byte, error) { return []byte("[API key]"), nil }

// Hash is what is kept of it.
func (s Secret) Hash() Hash { return sha256.Sum256([]byte(s.Reveal())) }

// Key is one key.
type Key struct {
	Name string `json:"name"`
	Hash Hash   `json:"-"`
	Scope
	// Rate is how many jobs and requests a second one gateway takes from it.
	Rate float64 `json:"rate"`

	CreatedAt time.Time `json:"created_at,omitzero"`
	CreatedBy string    `json:"created_by,omitempty"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	RevokedAt time.Time `json:"revoked_at,omitzero"`
	RevokedBy string    `json:"revoked_by,omitempty"`
}

// Facts about keys.
var (
	// ErrNotFound: there is no key with this name.
	ErrNotFound = errors.New("no such API key")
	// ErrExists: the name was used, perhaps by a key that is revoked: a name stands for
	// one key for good, so that logs can be read.
	ErrExists = errors.New("there is, or was, an API key with this name")
)

// Valid tells whether the key opens anything at a time.
func (k *Key) Valid(now time.Time) bool {
	return k.RevokedAt.IsZero() && (k.ExpiresAt.IsZero() || now.Before(k.ExpiresAt))
}

// Burst is how many jobs the key may bring at once.
func (k *Key) Burst() int { return max(1, int(k.Rate)) }

// Validate checks what somebody wrote.
func (k *Key) Validate() error {
	if err := validName(k.Name); err != nil {
		return err
	}
	if !(k.Rate > 0 && k.Rate <= MaxRate) {
		return fmt.Errorf("the rate %v is out of range; give a number of jobs a second above 0, up to %d", k.Rate, MaxRate)
	}
	return k.Scope.validate()
}

func validName(name string) error {
	if name == "" || len(name) > MaxName {
		return fmt.Errorf("the key's name %.70q has %d characters; give 1 to %d letters, digits or . _ -", name, len(name), MaxName)
	}
	for _, c := range []byte(name) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("._-", c) >= 0) {
			return fmt.Errorf("the key's name %q has %q in it; use letters, digits and . _ -", name, c)
		}
	}
	return nil
}

package webhook

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const (
	prefix   = "whsec_"
	keyBytes = 32
	leastKey = 24 // Standard Webhooks, Signature scheme: 24 to 64 bytes
	mostKey  = 64
)

// Secret signs deliveries. It does not print itself: see Reveal.
type Secret struct{ key *[]byte }

func (Secret) String() string               { return "[webhook secret]" }
func (Secret) GoString() string             { return "[webhook secret]" }
func (Secret) LogValue() slog.Value         { return slog.StringValue("[webhook secret]") }
func (Secret) MarshalText() ([]byte, error) { return []byte("[webhook secret]"), nil }

// NewSecret makes one.
func NewSecret() Secret {
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // never fails
	return Secret{&key}
}

// ParseSecret reads whsec_ and base64 of 24 to 64 bytes. Its errors show nothing of it.
func ParseSecret(text string) (Secret, error) {
	text, ok := strings.CutPrefix(strings.TrimSpace(text), prefix)
	if !ok {
		return Secret{}, errors.New("a webhook secret begins with " + prefix)
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return Secret{}, errors.New("a webhook secret is " + prefix + " and base64, and this is not base64")
	}
	if len(key) < leastKey || len(key) > mostKey {
		return Secret{}, fmt.Errorf("a webhook secret has %d to %d bytes, and this has %d", leastKey, mostKey, len(key))
	}
	return Secret{&key}, nil
}

// IsZero tells a missing secret.
func (s Secret) IsZero() bool { return s.key == nil }

// Reveal is the secret as text, as a receiver needs it; "" for none.
func (s Secret) Reveal() string {
	if s.IsZero() {
		return ""
	}
	return prefix + base64.StdEncoding.EncodeToString(*s.key)
}

// For is the secret of an API key, made from the installation's: HKDF (RFC 5869) over
// SHA-256. For "" it is the installation's own.
func (s Secret) For(apiKey string) Secret {
	if apiKey == "" || s.IsZero() {
		return s
	}
	key, err := hkdf.Key(sha256.New, *s.key, nil, "switchboard webhook of "+apiKey, keyBytes)
	if err != nil {
		panic(err) // 32 bytes are not too many
	}
	return Secret{&key}
}

// sign sets the headers of a delivery that is sent at a time.
func (s Secret) sign(h http.Header, id string, at time.Time, body []byte) error {
	signer, err := standardwebhooks.NewWebhookRaw(*s.key)
	if err != nil {
		return err
	}
	signature, err := signer.Sign(id, at, body)
	if err != nil {
		return err
	}
	h.Set(standardwebhooks.HeaderWebhookID, id)
	h.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(at.Unix(), 10))
	h.Set(standardwebhooks.HeaderWebhookSignature, signature)
	return nil
}

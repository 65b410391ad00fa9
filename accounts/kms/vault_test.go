package kms

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/tgswitchboard/switchboard/accounts"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// transit is a server that answers as Vault's transit engine does: encryption with
// AES-256-GCM under a key that does not leave it, a token, errors in Vault's form.
type transit struct {
	*httptest.Server
	aead  cipher.AEAD
	asked []string // paths
}

const transitToken = "hvs.CAESIToken"

func newTransit(t *testing.T) *transit {
	t.Helper()
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	v := &transit{}
	if v.aead, err = cipher.NewGCM(block); err != nil {
		t.Fatal(err)
	}
	v.Server = httptest.NewTLSServer(http.HandlerFunc(v.answer))
	t.Cleanup(v.Close)
	return v
}

func (v *transit) answer(w http.ResponseWriter, r *http.Request) {
	v.asked = append(v.asked, r.Method+" "+r.URL.Path+" "+r.Header.Get("X-Vault-Namespace"))
	refuse := func(status int, said string) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": []string{said}})
	}
	body, err := io.ReadAll(r.Body)
	var q struct {
		Plaintext, Ciphertext string
		AssociatedData        string `json:"associated_data"`
	}
	if err != nil || json.Unmarshal(body, &q) != nil {
		refuse(http.StatusBadRequest, "error parsing JSON")
		return
	}
	if r.Header.Get("X-Vault-Token") != transitToken {
		refuse(http.StatusForbidden, "permission denied")
		return
	}
	say := func(name, value string) {
		_ = json.NewEncoder(w).Encode(map[string]any{"request_id": "1", "lease_duration": 0, "data": map[string]any{name: value, "key_version": 1}})
	}
	ad, err := base64.StdEncoding.DecodeString(q.AssociatedData)
	if err != nil {
		refuse(http.StatusBadRequest, "associated_data is no base64")
		return
	}
	switch r.URL.Path {
	case "/v1/team/transit/encrypt/switchboard":
		plain, err := base64.StdEncoding.DecodeString(q.Plaintext)
		if err != nil {
			refuse(http.StatusBadRequest, "failed to base64-decode plaintext")
			return
		}
		nonce := make([]byte, v.aead.NonceSize())
		_, _ = rand.Read(nonce)
		say("ciphertext", "vault:v1:"+base64.StdEncoding.EncodeToString(v.aead.Seal(nonce, nonce, plain, ad)))
	case "/v1/team/transit/decrypt/switchboard":
		text, ok := strings.CutPrefix(q.Ciphertext, "vault:v1:")
		sealed, err := base64.StdEncoding.DecodeString(text)
		if !ok || err != nil || len(sealed) < v.aead.NonceSize() {
			refuse(http.StatusBadRequest, "invalid ciphertext: no prefix")
			return
		}
		plain, err := v.aead.Open(nil, sealed[:v.aead.NonceSize()], sealed[v.aead.NonceSize():], ad)
		if err != nil {
			refuse(http.StatusBadRequest, "cipher: message authentication failed")
			return
		}
		say("plaintext", base64.StdEncoding.EncodeToString(plain))
	default:
		refuse(http.StatusNotFound, "no handler for route")
	}
}

// uri is that of a key at the server.
func (v *transit) uri(path string) string {
	return "hcvault://" + strings.TrimPrefix(v.URL, "https://") + "/" + path
}

// env is the environment in which the server is known.
func (v *transit) env(t *testing.T) map[string]string {
	t.Helper()
	roots := filepath.Join(t.TempDir(), "ca.pem")
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: v.Certificate().Raw})
	if err := os.WriteFile(roots, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return map[string]string{"VAULT_CACERT": roots, "VAULT_TOKEN": transitToken, "VAULT_NAMESPACE": "ns1"}
}

func getenv(env map[string]string) func(string) string {
	return func(k string) string { return env[k] }
}

func newKeys(t *testing.T) accounts.Keyset {
	t.Helper()
	data, err := accounts.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := accounts.ParseKeyset(data)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestVault(t *testing.T) {
	t.Parallel()
	v := newTransit(t)
	kek, err := Open(v.uri("team/transit/keys/switchboard"), getenv(v.env(t)))
	if err != nil {
		t.Fatal(err)
	}
	keys := newKeys(t)
	plain, err := keys.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := keys.Wrap(t.Context(), kek)
	if err != nil {
		t.Fatal(err)
	}
	var clear struct {
		Key []struct{ KeyData struct{ Value string } }
	}
	if err := json.Unmarshal(plain, &clear); err != nil || len(clear.Key) != 1 || clear.Key[0].KeyData.Value == "" {
		t.Fatalf("the keyset in the clear: %v", err)
	}
	if strings.Contains(string(wrapped), clear.Key[0].KeyData.Value) {
		t.Error("the encrypted keyset shows its key")
	}
	got, err := accounts.ParseWrappedKeyset(t.Context(), wrapped, kek)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := got.Marshal(); err != nil || string(again) != string(plain) {
		t.Errorf("%v; the keyset came back changed", err)
	}
	want := []string{"POST /v1/team/transit/encrypt/switchboard ns1", "POST /v1/team/transit/decrypt/switchboard ns1"}
	if strings.Join(v.asked, "\n") != strings.Join(want, "\n") {
		t.Errorf("asked %q, want %q", v.asked, want)
	}

	if _, err := accounts.ParseKeyset(wrapped); err == nil || !strings.Contains(err.Error(), "--key-uri") {
		t.Errorf("an encrypted keyset read as one in the clear: %v", err)
	}
	if _, err := accounts.ParseWrappedKeyset(t.Context(), plain, kek); err == nil || !strings.Contains(err.Error(), "worker key wrap") {
		t.Errorf("a keyset in the clear read as an encrypted one: %v", err)
	}
	sealed, err := kek.EncryptWithContext(t.Context(), []byte("secret"), []byte("for alice"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kek.DecryptWithContext(t.Context(), sealed, []byte("for bob")); err == nil {
		t.Error("decrypted with other associated data")
	}
	if got, err := kek.DecryptWithContext(t.Context(), sealed, []byte("for alice")); err != nil || string(got) != "secret" {
		t.Errorf("decrypted %q, %v", got, err)
	}
}

func TestVaultRefuses(t *testing.T) {
	t.Parallel()
	v := newTransit(t)
	env := v.env(t)
	changed := func(name, value string) map[string]string {
		out := map[string]string{name: value}
		for k, v := range env {
			if k != name {
				out[k] = v
			}
		}
		return out
	}
	tests := []struct {
		name string
		uri  string
		env  map[string]string
		want string
	}{
		{"another token", v.uri("team/transit/keys/switchboard"), changed("VAULT_TOKEN", "hvs.another"), "permission denied"},
		{"another key", v.uri("team/transit/keys/other"), env, "no handler for route"},
		{"a certificate that nobody knows", v.uri("team/transit/keys/switchboard"), changed("VAULT_CACERT", ""), "certificate"},
		{"nobody there", "hcvault://127.0.0.1:1/transit/keys/k", env, "refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			kek, err := Open(tt.uri, getenv(tt.env))
			if err != nil {
				t.Fatal(err)
			}
			_, err = newKeys(t).Wrap(t.Context(), kek)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "hvs.") {
				t.Errorf("the error shows the token: %v", err)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	env := map[string]string{"VAULT_TOKEN": transitToken}
	home := t.TempDir()
	for _, tt := range []struct {
		uri, want string
		env       map[string]string
	}{
		{"gcp-kms://projects/p/locations/l/keyRings/r/cryptoKeys/k", "gcp-kms", env},
		{"key.json", "hcvault://", env},
		{"hcvault://h:8200/transit/switchboard", "MOUNT", env},
		{"hcvault://h:8200/keys/switchboard", "MOUNT", env},
		{"hcvault://h:8200/transit/keys/", "MOUNT", env},
		{"hcvault://token@h:8200/transit/keys/k", "MOUNT", env},
		{"hcvault:///transit/keys/k", "MOUNT", env},
		{"hcvault://h/transit/keys/k", "VAULT_TOKEN", map[string]string{"HOME": home}},
		{"hcvault://h/transit/keys/k", "VAULT_CACERT", map[string]string{"VAULT_TOKEN": "x", "VAULT_CACERT": filepath.Join(home, "none")}},
		{"aws-kms://alias/switchboard", "arn:aws:kms", env},
		{"aws-kms://arn:aws:s3:::bucket/x", "arn:aws:kms", env},
		{"hcvault://%zz", "MOUNT", env},
	} {
		if _, err := Open(tt.uri, getenv(tt.env)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Open(%q): %v, want an error with %q", tt.uri, err, tt.want)
		}
	}
	if err := os.WriteFile(filepath.Join(home, ".vault-token"), []byte(transitToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open("hcvault://h/transit/keys/k", getenv(map[string]string{"HOME": home})); err != nil {
		t.Errorf("with ~/.vault-token: %v", err)
	}
}

// FuzzOpen: whatever the URI is, it is refused or taken without a panic.
func FuzzOpen(f *testing.F) {
	f.Add("hcvault://h:8200/transit/keys/k")
	f.Add("aws-kms://arn:aws:kms:eu-west-1:111122223333:key/1234")
	f.Add("hcvault:////keys/")
	env := getenv(map[string]string{"VAULT_TOKEN": "x"})
	f.Fuzz(func(t *testing.T, uri string) {
		if kek, err := Open(uri, env); (kek == nil) == (err == nil) {
			t.Errorf("Open(%q) = %v, %v", uri, kek, err)
		}
	})
}

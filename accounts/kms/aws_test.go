package kms

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tgswitchboard/switchboard/accounts"
)

const amazonKey = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"

// newAmazon is a server that answers as AWS KMS does, with signed requests only.
func newAmazon(t *testing.T) {
	t.Helper()
	v := newTransit(t) // for its cipher
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refuse := func(kind, said string) {
			w.Header().Set("X-Amzn-Errortype", kind)
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(map[string]string{"__type": kind, "message": said})
		}
		if sign := r.Header.Get("Authorization"); !strings.Contains(sign, "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/") || !strings.Contains(sign, "/eu-central-1/kms/aws4_request") {
			refuse("MissingAuthenticationTokenException", "the request is not signed")
			return
		}
		var q struct {
			KeyId                     string
			Plaintext, CiphertextBlob []byte
			EncryptionContext         map[string]string
		}
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			refuse("SerializationException", err.Error())
			return
		}
		if q.KeyId != amazonKey {
			refuse("NotFoundException", "there is no such key")
			return
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		ad := []byte(q.EncryptionContext["associatedData"])
		switch r.Header.Get("X-Amz-Target") {
		case "TrentService.Encrypt":
			nonce := make([]byte, v.aead.NonceSize())
			_ = json.NewEncoder(w).Encode(map[string]string{"KeyId": q.KeyId, "CiphertextBlob": base64.StdEncoding.EncodeToString(v.aead.Seal(nonce, nonce, q.Plaintext, ad))})
		case "TrentService.Decrypt":
			n := min(v.aead.NonceSize(), len(q.CiphertextBlob))
			plain, err := v.aead.Open(nil, make([]byte, v.aead.NonceSize()), q.CiphertextBlob[n:], ad)
			if err != nil {
				refuse("InvalidCiphertextException", "it does not open")
				return
			}
			_ = json.NewEncoder(w).Encode(map[string]string{"KeyId": q.KeyId, "Plaintext": base64.StdEncoding.EncodeToString(plain)})
		default:
			refuse("UnknownOperationException", "")
		}
	}))
	t.Cleanup(func() { http.DefaultClient.CloseIdleConnections(); srv.Close() })
	for k, v := range map[string]string{
		"AWS_ENDPOINT_URL_KMS": srv.URL, "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_PROFILE": "",
	} {
		t.Setenv(k, v) // the SDK reads the process's own environment
	}
}

func TestAWS(t *testing.T) {
	newAmazon(t)
	kek, err := Open("aws-kms://"+amazonKey, nil)
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
	got, err := accounts.ParseWrappedKeyset(t.Context(), wrapped, kek)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := got.Marshal(); err != nil || string(again) != string(plain) {
		t.Errorf("%v; the keyset came back changed", err)
	}
	sealed, err := kek.EncryptWithContext(t.Context(), []byte("secret"), []byte("for alice"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kek.DecryptWithContext(t.Context(), sealed, []byte("for bob")); err == nil {
		t.Error("decrypted with another encryption context")
	}

	other, err := Open("aws-kms://"+strings.Replace(amazonKey, "1234abcd", "ffffffff", 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := accounts.ParseWrappedKeyset(t.Context(), wrapped, other); err == nil || !strings.Contains(err.Error(), "NotFoundException") || strings.Contains(err.Error(), "wJalr") {
		t.Errorf("with another key: %v", err)
	}
}

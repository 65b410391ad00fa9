package kms

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// vault is a key of the transit engine.
// Source: developer.hashicorp.com/vault/api-docs/secret/transit, Encrypt data and Decrypt data.
type vault struct {
	mount     *url.URL // of the engine
	key       string
	token     string
	namespace string
	client    *http.Client
}

const vaultForm = "the key of Vault is hcvault://host:8200/MOUNT/keys/NAME, where MOUNT is that of the transit engine"

func openVault(uri string, getenv func(string) string) (*vault, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return nil, errors.New(vaultForm) // url's error may quote a password
	}
	mount, key, ok := cutLast(strings.Trim(u.Path, "/"), "/keys/")
	if !ok || mount == "" || key == "" || strings.Contains(key, "/") || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return nil, errors.New(vaultForm)
	}
	v := &vault{mount: &url.URL{Scheme: "https", Host: u.Host, Path: "/v1/" + mount}, key: key, namespace: getenv("VAULT_NAMESPACE")}
	if v.token, err = vaultToken(getenv); err != nil {
		return nil, err
	}
	roots, err := vaultRoots(getenv("VAULT_CACERT"))
	if err != nil {
		return nil, err
	}
	v.client = &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true},
		// A redirect would take the token along.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return v, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	at := strings.LastIndex(s, sep)
	if at < 0 {
		return s, "", false
	}
	return s[:at], s[at+len(sep):], true
}

// vaultToken is as Vault's own tool finds it.
func vaultToken(getenv func(string) string) (string, error) {
	if token := getenv("VAULT_TOKEN"); token != "" {
		return token, nil
	}
	if home := getenv("HOME"); home != "" {
		if data, err := os.ReadFile(filepath.Join(home, ".vault-token")); err == nil && len(bytes.TrimSpace(data)) > 0 {
			return string(bytes.TrimSpace(data)), nil
		}
	}
	return "", errors.New("the token of Vault is missing; put it into VAULT_TOKEN or ~/.vault-token")
}

// vaultRoots are the system's certificates if no file is named.
func vaultRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("VAULT_CACERT: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("VAULT_CACERT: %s holds no certificate in PEM", file)
	}
	return roots, nil
}

// EncryptWithContext returns what Vault calls a ciphertext: vault:v1:….
func (v *vault) EncryptWithContext(ctx context.Context, plain, ad []byte) ([]byte, error) {
	var got struct {
		Ciphertext string `json:"ciphertext"`
	}
	err := v.ask(ctx, "encrypt", map[string]string{"plaintext": base64.StdEncoding.EncodeToString(plain), "associated_data": base64.StdEncoding.EncodeToString(ad)}, &got)
	if err == nil && got.Ciphertext == "" {
		err = errors.New("the answer of Vault has no ciphertext")
	}
	return []byte(got.Ciphertext), err
}

// DecryptWithContext is its inverse.
func (v *vault) DecryptWithContext(ctx context.Context, sealed, ad []byte) ([]byte, error) {
	var got struct {
		Plaintext string `json:"plaintext"`
	}
	if err := v.ask(ctx, "decrypt", map[string]string{"ciphertext": string(sealed), "associated_data": base64.StdEncoding.EncodeToString(ad)}, &got); err != nil {
		return nil, err
	}
	plain, err := base64.StdEncoding.DecodeString(got.Plaintext)
	if err != nil {
		return nil, errors.New("the answer of Vault has no plaintext in base64")
	}
	return plain, nil
}

// ask makes one request. Its errors show neither the token nor what is encrypted.
func (v *vault) ask(ctx context.Context, verb string, question map[string]string, answer any) error {
	ctx, cancel := limited(ctx)
	defer cancel()
	if question["associated_data"] == "" {
		delete(question, "associated_data") // keys of some types refuse it
	}
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	defer clear(body)
	where := v.mount.JoinPath(verb, v.key)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, where.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("X-Vault-Token", v.token)
	req.Header.Set("X-Vault-Request", "true")
	if v.namespace != "" {
		req.Header.Set("X-Vault-Namespace", v.namespace)
	}
	res, err := v.client.Do(req)
	if err != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	defer res.Body.Close()
	const limit = 1 << 20 // a keyset has some hundred bytes
	data, err := io.ReadAll(io.LimitReader(res.Body, limit))
	if err != nil {
		return err
	}
	defer clear(data)
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the Vault at %s refuses to %s with key %s: %s%s", v.mount.Host, verb, v.key, res.Status, vaultSays(data))
	}
	if err := json.Unmarshal(data, &struct{ Data any }{answer}); err != nil {
		return fmt.Errorf("the Vault at %s does not answer in JSON", v.mount.Host)
	}
	return nil
}

// vaultSays is what an answer names as errors.
func vaultSays(data []byte) string {
	var said struct{ Errors []string }
	if json.Unmarshal(data, &said) != nil || len(said.Errors) == 0 {
		return ""
	}
	return fmt.Sprintf(" (%.300s)", strings.Join(said.Errors, "; "))
}

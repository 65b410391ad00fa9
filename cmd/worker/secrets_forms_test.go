package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// spellings are the ways in which bytes may stand in a text.
func spellings(secret []byte) map[string]string {
	forms := map[string]string{
		"raw": string(secret), "hex": hex.EncodeToString(secret), "HEX": strings.ToUpper(hex.EncodeToString(secret)),
		"URL-escaped": url.QueryEscape(string(secret)), "path-escaped": url.PathEscape(string(secret)),
		"numbers": strings.Trim(fmt.Sprint(secret), "[]"), "Go's numbers": strings.Trim(fmt.Sprintf("%#v", secret), "[]byte{}"),
	}
	if text, err := json.Marshal(string(secret)); err == nil {
		forms["JSON"] = strings.Trim(string(text), `"`)
	}
	// In base64 a text has three forms, by what stands before it.
	for before := range 3 {
		padded := append(make([]byte, before), secret...)
		from, to := (before*8+5)/6, len(padded)*8/6
		forms[fmt.Sprint("base64 after ", before)] = base64.RawStdEncoding.EncodeToString(padded)[from:to]
		forms[fmt.Sprint("base64url after ", before)] = base64.RawURLEncoding.EncodeToString(padded)[from:to]
	}
	return forms
}

// leak finds a secret in a text.
func leak(text string, secret []byte) (form, where string, found bool) {
	for form, spelt := range spellings(secret) {
		if at := strings.Index(text, spelt); at >= 0 {
			return form, text[max(0, at-150):min(len(text), at+len(spelt)+50)], true
		}
	}
	return "", "", false
}

func TestLeaksAreFound(t *testing.T) {
	t.Parallel()
	secret := []byte("pa/ss \x00\xff+word=")
	whole := append(append([]byte("before "), secret...), " after"...)
	text, err := json.Marshal(map[string]any{"x": "before " + string(secret)})
	if err != nil {
		t.Fatal(err)
	}
	for name, hidden := range map[string]string{
		"raw": string(whole), "hex": fmt.Sprintf("%x", whole), "HEX": fmt.Sprintf("%X", whole), "Go's bytes": fmt.Sprint(whole), "Go's syntax": fmt.Sprintf("%#v", whole),
		"JSON": string(text), "a URL": (&url.URL{Scheme: "http", Host: "h", RawQuery: url.Values{"a": {string(whole)}}.Encode()}).String(),
		"base64 0": base64.StdEncoding.EncodeToString(whole), "base64 1": base64.StdEncoding.EncodeToString(whole[1:]), "base64 2": base64.StdEncoding.EncodeToString(whole[2:]),
		"base64url": base64.RawURLEncoding.EncodeToString(whole[1:]),
	} {
		if _, _, found := leak(hidden, secret); !found {
			t.Errorf("%s: not found in %q", name, hidden)
		}
	}
	if form, where, found := leak(string(bytes.ReplaceAll(whole, secret, []byte("xxxxx"))), secret); found {
		t.Errorf("found as %s in %q", form, where)
	}
}

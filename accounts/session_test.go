package accounts_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/tgswitchboard/switchboard/accounts"
)

// gotdJSON is what gotd's session.FileStorage writes.
func gotdJSON(t testing.TB, change func(data map[string]any)) []byte {
	t.Helper()
	raw := bytes.Repeat([]byte{7, 1}, 128)
	key, err := accounts.NewAuthKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	id := key.ID()
	data := map[string]any{"DC": 2, "Addr": "127.0.0.1:443", "AuthKey": raw, "AuthKeyID": id[:], "Salt": int64(-5)}
	if change != nil {
		change(data)
	}
	b, err := json.Marshal(map[string]any{"Version": 1, "Data": data})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sessionOf makes a session with a key of its own for each account.
func sessionOf(t testing.TB, id accounts.ID) accounts.Session {
	t.Helper()
	key := make([]byte, 256)
	copy(key, "key of "+id)
	k, err := accounts.NewAuthKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return accounts.Session{DC: 2, Key: k}
}

func TestParseSession(t *testing.T) {
	s, err := accounts.ParseSession(gotdJSON(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	if s.DC != 2 || s.Addr != "127.0.0.1:443" || s.Salt != -5 || s.Key.IsZero() {
		t.Errorf("ParseSession = %+v", s)
	}
	tests := []struct {
		name string
		in   []byte
		want string
	}{
		{"no JSON", []byte("1BQ…"), "not JSON of gotd's form"},
		{"version", []byte(`{"Version":2,"Data":{}}`), "version 2"},
		{"no DC", gotdJSON(t, func(d map[string]any) { d["DC"] = 0 }), "Data.DC"},
		{"short key", gotdJSON(t, func(d map[string]any) { d["AuthKey"] = []byte("short") }), "256 bytes, not 5"},
		{"zero key", gotdJSON(t, func(d map[string]any) { d["AuthKey"] = make([]byte, 256) }), "all zeros"},
		{"other id", gotdJSON(t, func(d map[string]any) { d["AuthKeyID"] = []byte("12345678") }), "damaged"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := accounts.ParseSession(tt.in)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want one that says %q", err, tt.want)
			}
		})
	}
}

func FuzzParseSession(f *testing.F) {
	f.Add(gotdJSON(f, nil))
	f.Add([]byte(`{"Version":1,"Data":{"DC":2,"AuthKey":"AAAA"}}`))
	f.Add([]byte(`{"Version":1,"Data":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := accounts.ParseSession(data)
		if err == nil && (s.Key.IsZero() || s.DC < 1) {
			t.Errorf("accepted a session without key or data center: %+v", s)
		}
	})
}

func TestSecretsDoNotPrint(t *testing.T) {
	s, err := accounts.ParseSession(gotdJSON(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	keyset, err := accounts.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := accounts.ParseKeyset(keyset)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "session", s, "key", s.Key, "keys", keys)
	asJSON, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf("%v %+v %#v %s %v %+v %#v", s, s, s.Key, asJSON, keys, keys, keys) + log.String()
	for _, secret := range []string{"7 1 7 1", "BwEHAQ", `\a\x01`, "0x7, 0x1"} {
		if strings.Contains(all, secret) {
			t.Errorf("printed the key (%q): %s", secret, all)
		}
	}
}

// shelf is a Store of one session, enough to see what is written into it.
type shelf struct {
	accounts.Store
	sealed map[accounts.ID][]byte
}

func (s shelf) CreateAccount(_ context.Context, a accounts.Account, sealed []byte) error {
	s.sealed[a.ID] = sealed
	return nil
}

func (s shelf) Session(_ context.Context, id accounts.ID) ([]byte, error) {
	if b, ok := s.sealed[id]; ok {
		return b, nil
	}
	return nil, accounts.ErrNotFound
}

func (s shelf) CountSealed(context.Context) (counts []accounts.SealedCount, err error) {
	for id, b := range s.sealed {
		counts = append(counts, accounts.SealedCount{Kind: accounts.SealedSession, Head: b[:5], N: 1, First: accounts.Sealed{Account: id, Sealed: b}})
	}
	return counts, nil
}

func (s shelf) WorkerKeys(context.Context) (map[string]accounts.KeyIDs, error) { return nil, nil }

func newKeys(t *testing.T) accounts.Keyset {
	t.Helper()
	b, err := accounts.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := accounts.ParseKeyset(b)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestSealedSession(t *testing.T) {
	ctx := t.Context()
	session, err := accounts.ParseSession(gotdJSON(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	store := shelf{sealed: map[accounts.ID][]byte{}}
	registry := accounts.NewRegistry(store, newKeys(t))
	if _, err := registry.Add(ctx, accounts.Account{ID: "alice"}, session); err != nil {
		t.Fatal(err)
	}

	got, err := registry.Session(ctx, "alice")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Key.Bytes(), session.Key.Bytes()) || got.DC != session.DC || got.Salt != session.Salt || got.Addr != session.Addr {
		t.Errorf("opened %+v, sealed %+v", got, session)
	}
	if bytes.Contains(store.sealed["alice"], session.Key.Bytes()[:8]) {
		t.Error("the stored session shows bytes of the key")
	}
	if err := registry.CheckKey(ctx); err != nil {
		t.Errorf("CheckKey with the right key: %v", err)
	}

	t.Run("another account's row", func(t *testing.T) {
		swapped := shelf{sealed: map[accounts.ID][]byte{"bob": store.sealed["alice"]}}
		_, err := accounts.NewRegistry(swapped, newKeys(t)).Session(ctx, "bob")
		if !errors.Is(err, accounts.ErrWrongKey) {
			t.Errorf("error = %v, want ErrWrongKey", err)
		}
	})
	t.Run("another key", func(t *testing.T) {
		other := accounts.NewRegistry(store, newKeys(t))
		if _, err := other.Session(ctx, "alice"); !errors.Is(err, accounts.ErrWrongKey) || !strings.Contains(err.Error(), "alice") {
			t.Errorf("error = %v, want ErrWrongKey naming the account", err)
		}
		if err := other.CheckKey(ctx); !errors.Is(err, accounts.ErrWrongKey) {
			t.Errorf("CheckKey = %v, want ErrWrongKey", err)
		}
	})
}

func TestParseKeysetHidesItsInput(t *testing.T) {
	_, err := accounts.ParseKeyset([]byte(`{"primaryKeyId": "hunter2"`))
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error = %v, want one that does not quote the input", err)
	}
}

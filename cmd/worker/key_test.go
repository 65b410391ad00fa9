package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
)

// keysOf is what `key check --offline` says of a file.
func keysOf(t *testing.T, file string) (k checkedKey) {
	t.Helper()
	if err := json.Unmarshal([]byte(must(t, nil, "", "key", "check", file, "--offline", "--json").stdout), &k); err != nil {
		t.Fatal(err)
	}
	return k
}

// check is `key check` with the database.
func (i installation) check(t *testing.T, file string, code int) (k checkedKey) {
	t.Helper()
	got := runIn(t.Context(), i.env, "", "key", "check", file, "--json")
	if got.code != code {
		t.Fatalf("key check: exit %d, want %d: %s", got.code, code, got.stderr)
	}
	if err := json.Unmarshal([]byte(got.stdout), &k); err != nil {
		t.Fatal(err)
	}
	return k
}

// refused wants a command to fail with a sentence.
func (i installation) refused(t *testing.T, want string, args ...string) {
	t.Helper()
	if got := runIn(t.Context(), i.env, "", args...); got.code == cli.ExitOK || !strings.Contains(got.stderr, want) {
		t.Errorf("worker %s: exit %d, %q; want a refusal with %q", strings.Join(args, " "), got.code, got.stderr, want)
	}
}

// register makes a worker known that has some keys.
func (i installation) register(t *testing.T, name string, keys accounts.KeyIDs, ttl time.Duration) {
	t.Helper()
	store, err := db.Open(t.Context(), i.env["SWITCHBOARD_DATABASE"], db.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Leases().Register(t.Context(), accounts.Worker{ID: name, Weight: 1, Capacity: 1, Keys: keys}, ttl); err != nil {
		t.Fatal(err)
	}
}

// TestKeyRotation is the operator's way from one key to the next, and what is refused on
// it.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	i := install(t)
	must(t, i.env, session(t), "accounts", "add", "alice", "--session", "-")
	old := keysOf(t, i.key).Keys[0]
	if got := i.check(t, i.key, cli.ExitOK); got.Opened != 1 || got.Mode != "0600" || len(got.Sealed) != 1 || got.Sealed[0] != (sealedWith{accounts.SealedSession, old, 1}) {
		t.Errorf("before: %+v", got)
	}
	i.refused(t, "no key but the one that seals", "key", "promote", i.key)

	must(t, i.env, "", "key", "add", i.key)
	two := keysOf(t, i.key).Keys
	if len(two) != 2 || two[0] != old {
		t.Fatalf("after add: %v", two)
	}
	i.register(t, "w1#x", accounts.KeyIDs{old}, time.Hour)
	i.refused(t, fmt.Sprintf("worker w1#x does not have key %d", two[1]), "key", "promote", i.key)
	i.register(t, "w1#x", two, time.Hour) // restarted with both
	must(t, i.env, "", "key", "promote", i.key)
	if got := keysOf(t, i.key).Keys; !slices.Equal(got, accounts.KeyIDs{two[1], old}) {
		t.Fatalf("after promote: %v", got)
	}
	i.refused(t, "sealed with key", "key", "remove", i.key)
	i.refused(t, "is the one that seals", "key", "remove", i.key, "--id", fmt.Sprint(two[1]))
	i.refused(t, "w1; restart them", "accounts", "rotate-key")
	i.register(t, "w1#x", accounts.KeyIDs{two[1], old}, time.Hour)

	var report resealed
	if err := json.Unmarshal([]byte(must(t, i.env, "", "accounts", "rotate-key", "--json").stdout), &report); err != nil {
		t.Fatal(err)
	}
	if report.Key != two[1] || report.Sessions != 1 || report.Settings != 0 || report.Before != 0 {
		t.Errorf("report %+v", report)
	}
	if got := must(t, i.env, "", "accounts", "events", "--json"); !strings.Contains(got.stdout, fmt.Sprintf(`"event":"rotated","reason":"1 sealed anew with key %d, before with %d"`, two[1], old)) {
		t.Errorf("events: %s", got.stdout)
	}
	must(t, i.env, "", "key", "remove", i.key)
	if got := i.check(t, i.key, cli.ExitOK); got.Opened != 1 || len(got.Keys) != 1 || got.Keys[0] != two[1] || got.Mode != "0600" {
		t.Errorf("after: %+v", got)
	}
	must(t, i.env, session(t), "accounts", "add", "bob", "--session", "-")
	if left, err := os.ReadDir(filepath.Dir(i.key)); err != nil || len(left) != 1 {
		t.Errorf("%d files are beside the key, %v", len(left), err)
	}
}

// TestKeyFileKeepsItsPlace: a key file that is changed keeps its mode, and a link to it
// stays one.
func TestKeyFileKeepsItsPlace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, link := filepath.Join(dir, "key.json"), filepath.Join(dir, "link.json")
	must(t, nil, "", "key", "new", file)
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("key.json", link); err != nil {
		t.Fatal(err)
	}
	must(t, nil, "", "key", "add", link)
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is %v, %v", info.Mode(), err)
	}
	if got := keysOf(t, file); len(got.Keys) != 2 || got.Mode != "0640" {
		t.Errorf("the file: %+v", got)
	}
}

// TestWrongKeyChangesNothing: with a wrong key nothing starts, and nothing is written.
// The first account's key is right for the first account only.
func TestWrongKeyChangesNothing(t *testing.T) {
	t.Parallel()
	i := install(t)
	proxied := with(i.env, "SWITCHBOARD_PROXY", "socks5://u:hunter2@127.0.0.1:1")
	must(t, proxied, session(t), "accounts", "add", "alice", "--session", "-")
	first := filepath.Join(t.TempDir(), "first.json")
	data, err := os.ReadFile(i.key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(first, data, 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, i.env, "", "key", "add", i.key)
	must(t, i.env, "", "key", "promote", i.key)
	must(t, i.env, session(t), "accounts", "add", "bob", "--session", "-")
	other, garbage := filepath.Join(t.TempDir(), "other.json"), filepath.Join(t.TempDir(), "garbage.json")
	must(t, nil, "", "key", "new", other)
	if err := os.WriteFile(garbage, []byte(`{"primaryKeyId":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "session.json")
	if err := os.WriteFile(file, []byte(session(t)), 0o600); err != nil {
		t.Fatal(err)
	}

	before := i.rows(t)
	hash := with(i.env, "SWITCHBOARD_TELEGRAM_API_HASH", "0123456789abcdef")
	for _, key := range []string{first, other, garbage, "/nowhere/key.json", ""} {
		for _, args := range [][]string{
			{"run"},
			{"accounts", "add", "eve", "--session", file},
			{"accounts", "import", "eve", file, "--no-verify"},
			{"accounts", "login", "eve", "--phone", "15550100"},
			{"accounts", "set", "bob", "--proxy-file", file},
			{"accounts", "set", "bob", "--device-model", "x"},
			{"accounts", "rotate-key"},
		} {
			got := runIn(t.Context(), with(hash, "SWITCHBOARD_KEY_FILE", key), "", args...)
			if got.code != cli.ExitFailed && got.code != cli.ExitUsage {
				t.Errorf("key %q, worker %s: exit %d: %s", key, strings.Join(args, " "), got.code, got.stderr)
			}
			if strings.Contains(got.stderr, "hunter2") {
				t.Errorf("worker %s tells too much: %s", strings.Join(args, " "), got.stderr)
			}
		}
	}
	if after := i.rows(t); !slices.Equal(before, after) {
		t.Errorf("rows have changed:\n%s\nwere\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
	}
	for key, want := range map[string]int{first: 1, other: 3} {
		if got := i.check(t, key, cli.ExitFailed); len(got.Unopened) != want {
			t.Errorf("%s: %+v does not open; want %d", filepath.Base(key), got.Unopened, want)
		}
	}
	if got := i.check(t, i.key, cli.ExitOK); got.Opened != 3 {
		t.Errorf("with the right key: %+v", got)
	}
}

// rows is all that is stored of accounts.
func (i installation) rows(t *testing.T) (all []string) {
	t.Helper()
	store, err := db.Open(t.Context(), i.env["SWITCHBOARD_DATABASE"], db.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	as, err := store.Accounts().Accounts(t.Context(), "", 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range as {
		sealed, err := store.Accounts().Session(t.Context(), a.ID)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%+v %x", a, sealed))
	}
	return all
}

// A KMS that cannot be asked stops everything, and says what is missing.
func TestKeyURI(t *testing.T) {
	t.Parallel()
	i := install(t)
	i.refused(t, "VAULT_TOKEN", "run", "--key-uri", "hcvault://127.0.0.1:1/transit/keys/k")
	i.refused(t, "hcvault://", "run", "--key-uri", "pkcs11:token")
	i.env["VAULT_TOKEN"] = "hvs.hunter2"
	wrapped := filepath.Join(t.TempDir(), "wrapped.json")
	i.refused(t, "127.0.0.1:1", "key", "wrap", i.key, wrapped, "--key-uri", "hcvault://127.0.0.1:1/transit/keys/k")
	if _, err := os.Stat(wrapped); !os.IsNotExist(err) {
		t.Errorf("a file is left: %v", err)
	}
	i.refused(t, "worker key wrap", "run", "--key-uri", "hcvault://127.0.0.1:1/transit/keys/k")
}

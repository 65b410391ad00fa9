package db

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tgswitchboard/switchboard/accounts"
)

func TestCursors(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice")
		c, lease := d.Cursors(), hold(t, d, "w#1")["alice"]
		check := func(what, job, want string) {
			t.Helper()
			got, err := c.Load(t.Context(), job)
			if err != nil || string(got) != want || (got == nil) != (want == "") {
				t.Errorf("%s: %q, %v; want %q", what, got, err, want)
			}
		}
		save := func(job, cursor string) {
			t.Helper()
			if err := c.Save(t.Context(), lease, job, json.RawMessage(cursor)); err != nil {
				t.Fatal(err)
			}
		}
		check("before", "j", "")
		first := `{"b":1, "a":"'x' @y ? € ` + strings.Repeat("x", 40_000) + `"}`
		save("j", first)
		check("saved", "j", first) // byte by byte
		save("j", `{"a":2}`)
		save("k", `{"a":3}`)
		check("replaced", "j", `{"a":2}`)
		if err := c.Forget(t.Context(), "j"); err != nil {
			t.Fatal(err)
		}
		if err := c.Forget(t.Context(), "never"); err != nil {
			t.Errorf("nothing to forget: %v", err)
		}
		check("forgotten", "j", "")
		check("another job", "k", `{"a":3}`)
		d.exec(t, "DELETE FROM accounts")
		check("without its account", "k", "")
	})
}

func TestCursorsFenced(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice", "bob")
		c, lease := d.Cursors(), hold(t, d, "w#1")["alice"]
		if err := c.Save(t.Context(), lease, "j", json.RawMessage(`1`)); err != nil {
			t.Fatal(err)
		}
		for what, by := range map[string]accounts.Lease{
			"other token":  {Account: "alice", Token: lease.Token + 1, Worker: "w#1"},
			"other worker": {Account: "alice", Token: lease.Token, Worker: "w#2"},
			"zero":         {Account: "alice"},
		} {
			wantErr(t, what, c.Save(t.Context(), by, "j", json.RawMessage(`2`)), accounts.ErrLeaseLost)
		}
		d.exec(t, "DELETE FROM workers")
		next := hold(t, d, "w#2")["alice"]
		wantErr(t, "after a successor", c.Save(t.Context(), lease, "j", json.RawMessage(`2`)), accounts.ErrLeaseLost)
		if got, err := c.Load(t.Context(), "j"); err != nil || string(got) != "1" {
			t.Errorf("the successor finds %s, %v; want 1", got, err)
		}
		if err := c.Save(t.Context(), next, "j", json.RawMessage(`3`)); err != nil {
			t.Errorf("the successor saves: %v", err)
		}
	})
}

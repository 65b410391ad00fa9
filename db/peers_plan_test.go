package db

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/peers"
)

// Every table of peers is read by lookups, however many rows an account has.
func TestPeersPlans(t *testing.T) {
	t.Parallel()
	d := open(t, testenv.Postgres(t))
	addAccounts(t, d, "alice")
	for _, stmt := range []string{
		`INSERT INTO peers SELECT 'alice', 1, i, 1, i % 2 = 0, '["user' || i || '"]', i, 'T', 0, NULL FROM generate_series(1, 50000) AS i`,
		`INSERT INTO peer_usernames SELECT 'alice', 'user' || i, 1, i FROM generate_series(1, 50000) AS i`,
		`INSERT INTO peer_messages SELECT 'alice', 1, i, CASE WHEN i % 100 = 0 THEN 1 ELSE 3 END, 1 + i % 500, i FROM generate_series(2, 50000, 2) AS i`,
		"ANALYZE",
	} {
		d.exec(t, stmt)
	}
	var seen []peers.Peer
	for i := range int64(1000) {
		p := user(40001+i, fmt.Sprint("user", 40002+i))
		if i%3 == 0 {
			p = minimal(p)
		}
		seen = append(seen, p)
	}
	b, err := fold(sighted("alice", seen...)).batch(d.dialect)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := b.param()
	if err != nil {
		t.Fatal(err)
	}
	s := d.Peers()
	for _, stmt := range []struct {
		sql  string
		args []any
	}{
		{s.save[0], []any{map[string]any{"batch": rows}}},
		{s.forget, []any{map[string]any{"batch": `[[3,1,6],[3,1,0],[0,0,6]]`, "account": "alice"}}},
		{s.find + findByKey, []any{"alice", 1, 5}},
		{s.find + findByName(d.dialect), []any{"alice", "user5"}},
		{s.find + findByPhone, []any{"alice", "5", 1}},
	} {
		var plan []string
		if err := d.run(t.Context()).Raw("EXPLAIN "+stmt.sql, stmt.args...).Scan(&plan).Error; err != nil {
			t.Fatal(err)
		}
		if all := strings.Join(plan, "\n"); strings.Contains(all, "Seq Scan on peer") {
			t.Errorf("%s\n%s", stmt.sql, all)
		}
	}
}

// The plan that is best for tables with a few rows reads all of them for every row
// of a batch. It must not be kept while they grow.
func TestFlushesArePlannedAnew(t *testing.T) {
	t.Parallel()
	d, err := Open(t.Context(), testenv.Postgres(t), Config{MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	addAccounts(t, d, "alice")
	for range 10 {
		seePeers(t, d, "alice", user(1))
		if _, err := d.Peers().ForgetMessages(t.Context(), "alice", []peers.Message{{ID: 1}}); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Peers().Peer(t.Context(), "alice", user(1).Key); err != nil {
			t.Fatal(err)
		}
	}
	var kept []string
	d.run(t.Context()).Raw("SELECT statement FROM pg_prepared_statements WHERE statement LIKE '%peer%' AND statement NOT LIKE '%pg_prepared%'").Scan(&kept)
	if len(kept) != 1 || !strings.HasPrefix(kept[0], "SELECT p.kind") {
		t.Errorf("prepared statements %q, want that of Peer alone", kept)
	}
}

// Workers of the version before write peers without what they do not know.
func TestPeersOfTheVersionBefore(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice")
		p := user(1, "a")
		p.MigratedTo = 3
		seePeers(t, d, "alice", p)
		d.exec(t, `INSERT INTO peers (account, kind, id, access_hash, is_min, usernames, phone, title, flags, seen_at)
			VALUES ('alice', 1, 1, 5, false, '["a"]', '', 'U', 1, NULL), ('alice', 1, 2, 6, true, '["b"]', '', 'V', 0, NULL)
			ON CONFLICT (account, kind, id) DO UPDATE SET access_hash = excluded.access_hash, is_min = excluded.is_min,
				usernames = excluded.usernames, phone = excluded.phone, title = excluded.title, flags = excluded.flags,
				seen_at = excluded.seen_at`)
		d.exec(t, "INSERT INTO peer_usernames (account, username, kind, id) VALUES ('alice', 'b', 1, 2)")
		for _, want := range []peers.Peer{
			{Key: user(1).Key, AccessHash: 5, Usernames: []string{"a"}, Title: "U", Bot: true, MigratedTo: 3},
			{Key: user(2).Key, AccessHash: 6, MinHash: true, Usernames: []string{"b"}, Title: "V"},
		} {
			got, err := d.Peers().PeerByUsername(t.Context(), "alice", want.Usernames[0])
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%s (-want +got): %v\n%s", want.Key, err, diff)
			}
		}
		seePeers(t, d, "alice", user(2))
		if _, err := d.Peers().PeerByUsername(t.Context(), "alice", "b"); err == nil {
			t.Error("a name that was given up is found")
		}
	})
}

package db

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// forEachDB runs f on an empty, migrated Postgres and SQLite.
func forEachDB(t *testing.T, f func(*testing.T, *DB)) {
	t.Parallel()
	for name, newURL := range map[string]func(testing.TB) string{
		"postgres": testenv.Postgres,
		"sqlite":   sqliteURL,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, open(t, newURL(t)))
		})
	}
}

func sqliteURL(t testing.TB) string { return "sqlite:" + filepath.Join(t.TempDir(), "switchboard.db") }

// open opens and migrates the database, and closes it with the test.
func open(t testing.TB, url string) *DB {
	t.Helper()
	d := openAs(t, url)
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatalf("migrate: %v", err)
	}
	return d
}

func openAs(t testing.TB, url string) *DB {
	t.Helper()
	d, err := Open(t.Context(), url, Config{})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return d
}

func (d *DB) exec(t testing.TB, stmt string, args ...any) {
	t.Helper()
	if err := d.run(t.Context()).Exec(stmt, args...).Error; err != nil {
		t.Fatalf("%s: %v", stmt, err)
	}
}

// count returns the number that a statement selects.
func (d *DB) count(t testing.TB, stmt string, args ...any) (n int) {
	t.Helper()
	if err := d.run(t.Context()).Raw(stmt, args...).Scan(&n).Error; err != nil {
		t.Fatalf("%s: %v", stmt, err)
	}
	return n
}

// addAccounts creates active accounts with sessions.
func addAccounts(t testing.TB, d *DB, ids ...accounts.ID) {
	t.Helper()
	for _, id := range ids {
		a := accounts.Account{ID: id, Kind: accounts.User, Status: accounts.Active, DC: 2}
		if err := d.Accounts().CreateAccount(t.Context(), a, []byte("sealed "+id)); err != nil {
			t.Fatalf("create account %s: %v", id, err)
		}
	}
}

// hold gives the worker a lease of every account that is free.
func hold(t testing.TB, d *DB, worker string) map[accounts.ID]accounts.Lease {
	t.Helper()
	signUp(t, d, worker)
	grants, err := d.Leases().Claim(t.Context(), worker, every(t, d), 1000)
	if err != nil {
		t.Fatalf("claim: %v", err)
	}
	held := map[accounts.ID]accounts.Lease{}
	for _, g := range grants {
		held[g.Account] = accounts.Lease{Account: g.Account, Token: g.Token, Worker: worker}
	}
	return held
}

func wantErr(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got error %v, want %v", what, got, want)
	}
}

func TestOpenUnavailable(t *testing.T) {
	t.Parallel()
	pg := testenv.Postgres(t)
	change := func(f func(u *url.URL)) string {
		u, err := url.Parse(pg)
		if err != nil {
			t.Fatal(err)
		}
		f(u)
		return u.String()
	}
	const secret = "hunter2-s3cret"
	dir := t.TempDir()
	notDB := filepath.Join(dir, "notes.txt")
	if err := os.WriteFile(notDB, []byte(strings.Repeat("this is no database. ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	// A port that nobody listens on, and one that accepts and never answers.
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()

	tests := []struct {
		name, url string
		want      []string
	}{
		{"refused", "postgres://u:" + secret + "@" + closed.Addr().String() + "/shop",
			[]string{`database "shop" at ` + closed.Addr().String(), "refused"}},
		{"silent", "postgres://u:" + secret + "@" + silent.Addr().String() + "/shop?sslmode=disable",
			[]string{`database "shop" at ` + silent.Addr().String(), "did not answer in time"}},
		{"no such host", "postgres://u:" + secret + "@db.invalid:5432/shop",
			[]string{`database "shop" at db.invalid:5432`, "not known"}},
		{"wrong password", change(func(u *url.URL) { u.User = url.UserPassword("postgres", secret) }),
			[]string{"password authentication failed"}},
		{"no such database", change(func(u *url.URL) { u.Path = "/nowhere" }),
			[]string{`database "nowhere" at`, "does not exist"}},
		{"not SQLite", "sqlite:" + notDB, []string{notDB, "not a SQLite database"}},
		{"no directory", "sqlite:" + filepath.Join(dir, "no/such/file.db"), []string{"no such file or directory"}},
		{"directory", "sqlite:" + dir, []string{dir, "is a directory"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Open(t.Context(), tt.url, Config{ConnectTimeout: time.Second})
			if !errors.Is(err, ErrUnavailable) {
				t.Fatalf("got %v, want ErrUnavailable", err)
			}
			text := fmt.Sprintf("%v %+v", err, err)
			for _, want := range tt.want {
				if !strings.Contains(text, want) {
					t.Errorf("%q does not say %q", text, want)
				}
			}
			deep := text
			for e := err; e != nil; e = errors.Unwrap(e) {
				deep += fmt.Sprintf(" %+v %#v", e, e)
			}
			if strings.Contains(deep, secret) {
				t.Errorf("the password is in the error %q", err)
			}
			if strings.ContainsAny(err.Error(), "\n") {
				t.Errorf("%q is more than one line", err)
			}
		})
	}
}

func TestOpenURL(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		"", "sqlite:", "sqlite://", "mysql://u:s3cret@host/db", "postgres://u:s3cret@host:port/db", "postgres://u:s3/cret@host/db",
		"postgres://u:s3cret@host/db?sslmode=perhaps", "postgres://u:s3cret%zz@host/db",
	} {
		_, err := Open(t.Context(), bad, Config{})
		if err == nil {
			t.Errorf("Open(%q) succeeded", bad)
			continue
		}
		if errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), "s3") {
			t.Errorf("Open(%q): %v", bad, err)
		}
	}
	path := filepath.Join(t.TempDir(), "odd name %41?x=y#z.db")
	for _, u := range []string{"sqlite:" + path, "sqlite://" + path} {
		open(t, u)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("file %q: %v, %v; want mode 0600", path, info, err)
	}
}

func TestOpenEndsWithContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Open(ctx, testenv.Postgres(t), Config{})
	wantErr(t, "open", err, context.Canceled)
}

// Statements are prepared once per connection, whatever the size of a batch.
func TestPreparedStatements(t *testing.T) {
	t.Parallel()
	u := testenv.Postgres(t)
	d, err := Open(t.Context(), u, Config{MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	l := d.Ledger(LedgerConfig{})
	for n := 1; n < 20; n++ {
		if _, err := l.find(t.Context(), make([]string, n)); err != nil {
			t.Fatal(err)
		}
	}
	if n := d.count(t, "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%FROM outcomes%' AND statement NOT LIKE '%pg_prepared%'"); n != 1 {
		t.Errorf("%d prepared statements for one query, want 1", n)
	}
}

// A database that goes away is told from one that refuses a statement, and is
// used again once it is back.
func TestUnavailableLater(t *testing.T) {
	t.Parallel()
	srv := testenv.PostgresServer(t)
	d := open(t, srv.URL())
	addAccounts(t, d, "alice")
	srv.Kill()
	_, err := d.Accounts().Account(t.Context(), "alice")
	wantErr(t, "without a server", err, ErrUnavailable)
	_, err = d.Ledger(LedgerConfig{}).Outcome(t.Context(), "x")
	wantErr(t, "without a server", err, ErrUnavailable)
	srv.Restart()
	if _, err := d.Accounts().Account(t.Context(), "alice"); err != nil {
		t.Errorf("after the restart: %v", err)
	}
}

// Two programs write to one SQLite file as fast as they can.
func TestSQLiteTwoPrograms(t *testing.T) {
	t.Parallel()
	u := sqliteURL(t)
	ds := []*DB{open(t, u), open(t, u)}
	const writers, writes = 4, 50
	var wg sync.WaitGroup
	for i, d := range ds {
		for w := range writers {
			wg.Go(func() {
				worker := fmt.Sprintf("worker-%d-%d", i, w)
				if err := d.Leases().Register(t.Context(), accounts.Worker{ID: worker}, time.Hour); err != nil {
					t.Error(err)
				}
				for n := range writes {
					id := accounts.ID(fmt.Sprintf("a-%d-%d-%d", i, w, n))
					a := accounts.Account{ID: id, Kind: accounts.User, Status: accounts.Active, DC: 1}
					if err := d.Accounts().CreateAccount(t.Context(), a, []byte("x")); err != nil {
						t.Error(err)
					}
					if _, err := d.Leases().Claim(t.Context(), worker, []string{"null"}, n); err != nil {
						t.Error(err)
					}
					if err := d.Leases().Renew(t.Context(), worker, time.Hour); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	if n := ds[0].count(t, "SELECT count(*) FROM accounts"); n != 2*writers*writes {
		t.Errorf("%d accounts, want %d", n, 2*writers*writes)
	}
}

// A context that ends in the middle of a statement is what the caller gets, not
// the driver's word for it.
func TestContextEndsStatement(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		slow := "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000) SELECT count(*) FROM n"
		err := d.fail(ctx, "count", d.run(ctx).Exec(slow).Error)
		wantErr(t, "slow statement", err, context.DeadlineExceeded)
		if errors.Is(err, ErrUnavailable) {
			t.Errorf("%v matches ErrUnavailable", err)
		}
		if err := d.Ping(t.Context()); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

package db

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
)

// done is the outcome of a job of alice.
func done(id string) jobs.Result {
	return jobs.Result{ID: id, Account: "alice", Kind: jobs.KindSend, State: jobs.Succeeded,
		Result: json.RawMessage(`{"message_id":1}`), Attempts: 1, FinishedAt: epoch, Worker: "w"}
}

func TestOutcomeRoundTrip(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice")
		l, lease := d.Ledger(LedgerConfig{}), hold(t, d, "w#1")["alice"]
		at := time.Date(2026, 5, 6, 7, 8, 9, 123456789, time.FixedZone("", -7200))
		full := jobs.Result{
			ID: "full", Account: "alice", Kind: jobs.KindResolve, State: jobs.Failed,
			// Not what any database would write: order, spaces, doubles, NUL, a big number.
			Result:   json.RawMessage(`{"z":1, "a" : [1.0,18446744073709551615], "z":"\u0000 \ud800 'x' @y ?"}`),
			Error:    &jobs.Error{Code: 420, Name: "FLOOD_WAIT", Message: "wait \"\x00\" €", RetryAfter: 30},
			Attempts: 3, EnqueuedAt: at, StartedAt: at.Add(time.Second), FinishedAt: at.Add(time.Minute), Worker: "w", Payload: []byte{0, 255, '\''},
		}
		bare := jobs.Result{ID: "bare", Account: "alice", State: jobs.Unknown, FinishedAt: epoch}
		for _, r := range []jobs.Result{full, bare} {
			recorded, err := l.Record(t.Context(), lease, r)
			if err != nil {
				t.Fatal(err)
			}
			want := r
			want.EnqueuedAt, want.StartedAt, want.FinishedAt = exact(r.EnqueuedAt), exact(r.StartedAt), exact(r.FinishedAt)
			if diff := cmp.Diff(want, recorded); diff != "" {
				t.Errorf("recorded %s (-want +got):\n%s", r.ID, diff)
			}
			got, err := l.Outcome(t.Context(), r.ID)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("outcome %s (-want +got): %v\n%s", r.ID, err, diff)
			}
			again, err := l.Record(t.Context(), lease, r)
			if diff := cmp.Diff(want, again); err != nil || diff != "" {
				t.Errorf("recorded again %s (-want +got): %v\n%s", r.ID, err, diff)
			}
		}
		for _, id := range []string{"none", "", "\x00", "\xff"} {
			_, err := l.Outcome(t.Context(), id)
			wantErr(t, fmt.Sprintf("outcome %q", id), err, jobs.ErrNotFound)
		}
	})
}

func TestRecordKeepsTheFirst(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice")
		l, lease := d.Ledger(LedgerConfig{}), hold(t, d, "w#1")["alice"]
		first := done("j")
		if _, err := l.Record(t.Context(), lease, first); err != nil {
			t.Fatal(err)
		}
		second := first
		second.State, second.Result = jobs.Unknown, nil
		lost := lease
		lost.Token++
		for what, by := range map[string]accounts.Lease{"holder": lease, "one without lease": lost} {
			got, err := l.Record(t.Context(), by, second)
			if diff := cmp.Diff(first, got); err != nil || diff != "" {
				t.Errorf("second outcome by the %s (-want +got): %v\n%s", what, err, diff)
			}
		}
	})
}

// TestRecordSupersedes is a job that is run again although it has an outcome.
func TestRecordSupersedes(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice", "bob")
		l, held := d.Ledger(LedgerConfig{}), hold(t, d, "w#1")
		record := func(lease accounts.Lease, r jobs.Result) (jobs.Result, error) {
			t.Helper()
			return l.Record(t.Context(), lease, r)
		}
		stored := func(what string, want jobs.Result) {
			t.Helper()
			got, err := l.Outcome(t.Context(), want.ID)
			want.Supersedes = time.Time{}
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%s (-want +got): %v\n%s", what, err, diff)
			}
		}
		first := done("job")
		first.State, first.Payload = jobs.Failed, []byte(`{"v":1}`)
		if _, err := record(held["alice"], first); err != nil {
			t.Fatal(err)
		}
		second := done("job")
		second.FinishedAt = first.FinishedAt.Add(time.Minute)
		early, late, foreign := second, second, second
		early.Supersedes = first.FinishedAt.Add(-time.Microsecond)
		if got, err := record(held["alice"], early); err != nil || got.State != jobs.Failed {
			t.Errorf("an outcome that supersedes nothing: %+v, %v", got, err)
		}
		foreign.Account, foreign.Supersedes = "bob", first.FinishedAt
		if got, err := record(held["bob"], foreign); err != nil || got.Account != "alice" {
			t.Errorf("another account's outcome: %+v, %v", got, err)
		}
		late.Supersedes = first.FinishedAt
		_, err := record(accounts.Lease{Account: "alice", Token: held["alice"].Token - 1, Worker: "w#1"}, late)
		wantErr(t, "under a lease that is lost", err, accounts.ErrLeaseLost)
		stored("before", first)
		for range 2 { // a second time it is there already
			got, err := record(held["alice"], late)
			if diff := cmp.Diff(second, got); err != nil || diff != "" {
				t.Errorf("recorded (-want +got): %v\n%s", err, diff)
			}
		}
		stored("afterwards", second)
		if got, err := record(held["alice"], first); err != nil || got.State != jobs.Succeeded {
			t.Errorf("a late record of the first run: %+v, %v", got, err)
		}
		third := first
		third.Supersedes, third.FinishedAt = second.FinishedAt, second.FinishedAt.Add(time.Minute)
		if got, err := record(held["alice"], third); err != nil || got.State != jobs.Succeeded {
			t.Errorf("an outcome that would take the place of a success: %+v, %v", got, err)
		}
	})
}

func TestRecordFenced(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice", "bob")
		l, held := d.Ledger(LedgerConfig{}), hold(t, d, "w#1")
		lease := held["alice"]
		for what, by := range map[string]accounts.Lease{
			"other token":  {Account: "alice", Token: lease.Token + 1, Worker: "w#1"},
			"other worker": {Account: "alice", Token: lease.Token, Worker: "w#2"},
			"zero":         {Account: "alice"},
		} {
			_, err := l.Record(t.Context(), by, done(what))
			wantErr(t, what, err, accounts.ErrLeaseLost)
			_, err = l.Outcome(t.Context(), what)
			wantErr(t, what+" afterwards", err, jobs.ErrNotFound)
		}
		d.exec(t, "DELETE FROM workers")
		if _, err := l.Record(t.Context(), lease, done("before a successor")); err != nil {
			t.Errorf("before a successor: %v", err)
		}
		hold(t, d, "w#2")
		_, err := l.Record(t.Context(), lease, done("after a successor"))
		wantErr(t, "after a successor", err, accounts.ErrLeaseLost)
	})
}

func TestRecordRefuses(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice")
		l, lease := d.Ledger(LedgerConfig{}), hold(t, d, "w")["alice"]
		change := func(f func(*jobs.Result)) jobs.Result {
			r := done("j")
			f(&r)
			return r
		}
		for what, r := range map[string]jobs.Result{
			"no id":           change(func(r *jobs.Result) { r.ID = "" }),
			"no outcome":      change(func(r *jobs.Result) { r.State = jobs.Running }),
			"other account":   change(func(r *jobs.Result) { r.Account = "bob" }),
			"not JSON":        change(func(r *jobs.Result) { r.Result = json.RawMessage(`{"a"`) }),
			"NUL in an id":    change(func(r *jobs.Result) { r.ID = "a\x00b" }),
			"kind not UTF-8":  change(func(r *jobs.Result) { r.Kind = "\xff" }),
			"too many trials": change(func(r *jobs.Result) { r.Attempts = 1 << 40 }),
		} {
			if what == "too many trials" && d.lite {
				continue // fits there
			}
			if got, err := l.Record(t.Context(), lease, r); err == nil {
				t.Errorf("%s was recorded: %+v", what, got)
			}
		}
		odd := change(func(r *jobs.Result) { r.ID, r.Result, r.FinishedAt = "odd", json.RawMessage("\"\xff\""), time.Time{} })
		got, err := l.Record(t.Context(), lease, odd)
		if err != nil || string(got.Result) != "\"\uFFFD\"" || time.Since(got.FinishedAt) > time.Minute {
			t.Errorf("got %+v, %v", got, err)
		}
		if stored, err := l.Outcome(t.Context(), "odd"); err != nil || !cmp.Equal(stored, got) {
			t.Errorf("stored %+v, %v; recorded %+v", stored, err, got)
		}
	})
}

// One batch with everything in it: each caller gets what it would get alone.
func TestRecordMixedBatch(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice")
		l, lease := d.Ledger(LedgerConfig{}), hold(t, d, "w")["alice"]
		lost := lease
		lost.Token--
		if _, err := l.Record(t.Context(), lease, done("old")); err != nil {
			t.Fatal(err)
		}
		bad := done("bad")
		bad.Attempts = 1 << 40 // Postgres refuses it
		other := done("twice")
		other.Attempts = 2
		var recs []*record
		for _, r := range []struct {
			by accounts.Lease
			r  jobs.Result
		}{{lease, done("new")}, {lost, done("twice")}, {lease, done("old")}, {lost, done("lost")}, {lease, done("twice")}, {lease, other}, {lease, bad}} {
			rec, err := newRecord(r.by, r.r)
			if err != nil {
				t.Fatal(err)
			}
			recs = append(recs, rec)
		}
		as, err := l.record(t.Context(), recs)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, a := range as {
			s := "error"
			if a.err == nil {
				s = a.value.ID
			}
			got = append(got, s)
		}
		want := []string{"new", "error", "old", "error", "twice", "twice", "error"}
		if d.lite {
			want[6] = "bad"
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("answers (-want +got):\n%s", diff)
		}
		wantErr(t, "without the lease", as[1].err, accounts.ErrLeaseLost)
		wantErr(t, "without the lease", as[3].err, accounts.ErrLeaseLost)
		if as[5].value.Attempts != 1 {
			t.Errorf("the second outcome of a job in one batch won: %+v", as[5].value)
		}
	})
}

// Many callers, some of whom leave; what was acknowledged is stored once.
func TestRecordConcurrently(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, numbered(10)...)
		l, held := d.Ledger(LedgerConfig{MaxBatch: 16}), hold(t, d, "w")
		var wg sync.WaitGroup
		for c := range 40 {
			wg.Go(func() {
				for i := range 10 {
					r := done(fmt.Sprintf("job-%d", c/2*100+i)) // every job has two callers
					r.Account = accounts.ID(fmt.Sprintf("a%03d", c/2%10))
					ctx, cancel := context.WithCancel(t.Context())
					if i%5 == 4 {
						cancel()
						_, _ = l.Record(ctx, held[r.Account], r)
						continue
					}
					if _, err := l.Record(ctx, held[r.Account], r); err != nil {
						t.Error(err)
					}
					if got, err := l.Outcome(ctx, r.ID); err != nil || got.ID != r.ID || got.Account != r.Account {
						t.Errorf("outcome %s: %+v, %v", r.ID, got, err)
					}
					cancel()
				}
			})
		}
		wg.Wait()
		if n := d.count(t, "SELECT count(*) FROM outcomes WHERE id NOT LIKE '%4' AND id NOT LIKE '%9'"); n != 160 {
			t.Errorf("%d outcomes, want 160", n)
		}
	})
}

func TestList(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice", "bob")
		l, held := d.Ledger(LedgerConfig{}), hold(t, d, "w")
		states := []jobs.State{jobs.Succeeded, jobs.Failed, jobs.Unknown, jobs.Cancelled}
		for i := range 12 {
			r := done(fmt.Sprintf("j%02d", i))
			r.State = states[i%4]
			r.FinishedAt = epoch.Add(time.Duration(i/3) * time.Microsecond) // three at a time
			if i%2 == 1 {
				r.Account = "bob"
			}
			if _, err := l.Record(t.Context(), held[r.Account], r); err != nil {
				t.Fatal(err)
			}
		}
		pages := func(f OutcomeFilter) (all []string) {
			for {
				rs, next, err := l.List(t.Context(), f)
				if err != nil {
					t.Fatal(err)
				}
				var ids []string
				for _, r := range rs {
					ids = append(ids, strings.TrimPrefix(r.ID, "j"))
				}
				all = append(all, strings.Join(ids, " "))
				if next.IsZero() {
					return all
				}
				if f.Before, err = ParseCursor(next.String()); err != nil || f.Before != next {
					t.Fatalf("cursor %q: %v, %v", next, f.Before, err)
				}
			}
		}
		for what, tt := range map[string]struct {
			filter OutcomeFilter
			want   []string
		}{
			"all":     {OutcomeFilter{}, []string{"11 10 09 08 07 06 05 04 03 02 01 00"}},
			"pages":   {OutcomeFilter{Limit: 5}, []string{"11 10 09 08 07", "06 05 04 03 02", "01 00"}},
			"exact":   {OutcomeFilter{Limit: 6}, []string{"11 10 09 08 07 06", "05 04 03 02 01 00"}},
			"account": {OutcomeFilter{Account: "bob", Limit: 4}, []string{"11 09 07 05", "03 01"}},
			"states":  {OutcomeFilter{States: []jobs.State{jobs.Failed, jobs.Unknown}, Limit: 4}, []string{"10 09 06 05", "02 01"}},
			"both":    {OutcomeFilter{Account: "alice", States: []jobs.State{jobs.Unknown}}, []string{"10 06 02"}},
			"nothing": {OutcomeFilter{Account: "carol"}, []string{""}},
		} {
			if diff := cmp.Diff(tt.want, pages(tt.filter)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}
	})
}

func TestParseCursor(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"x", "1", "1.", ".id", "1x.id"} {
		if c, err := ParseCursor(bad); err == nil {
			t.Errorf("ParseCursor(%q) = %v", bad, c)
		}
	}
	if c, err := ParseCursor(""); err != nil || !c.IsZero() || c.String() != "" {
		t.Errorf("the zero cursor: %v, %v", c, err)
	}
	if c, err := ParseCursor("12.a.b"); err != nil || c.String() != "12.a.b" {
		t.Errorf("an id with a dot: %v, %v", c, err)
	}
}

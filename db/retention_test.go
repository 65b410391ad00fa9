package db

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/jobs"
)

// ids lists what a filter chooses.
func (l *Ledger) ids(t *testing.T, f OutcomeFilter) (ids []string) {
	t.Helper()
	rs, _, err := l.List(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rs {
		ids = append(ids, r.ID)
	}
	if n, err := l.Count(t.Context(), f); err != nil || n != int64(len(ids)) {
		t.Errorf("Count: %d, %v; listed %d", n, err, len(ids))
	}
	return ids
}

func TestPrune(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice")
		l, lease := d.Ledger(LedgerConfig{}), hold(t, d, "w")["alice"]
		for days, states := range map[int][]jobs.State{1: {jobs.Succeeded, jobs.Failed}, 40: {jobs.Succeeded, jobs.Cancelled, jobs.Failed, jobs.Unknown}, 100: {jobs.Failed}} {
			for _, state := range states {
				r := done(fmt.Sprintf("%s %d", state, days))
				r.State, r.FinishedAt = state, time.Now().Add(-time.Duration(days)*24*time.Hour)
				if _, err := l.Record(t.Context(), lease, r); err != nil {
					t.Fatal(err)
				}
			}
		}
		prune := func(keep Retention, want int) {
			t.Helper()
			d.exec(t, "UPDATE upkeep SET due_at = ?", d.time(epoch))
			if n, err := l.Prune(t.Context(), keep, time.Hour); n != want || err != nil {
				t.Errorf("%+v: deleted %d, %v; want %d", keep, n, err, want)
			}
		}
		const day = 24 * time.Hour
		if n, err := l.Prune(t.Context(), Retention{}, time.Hour); n != 0 || err != nil {
			t.Errorf("kept for ever: deleted %d, %v", n, err)
		}
		if n, err := l.Prune(t.Context(), Retention{All: time.Nanosecond, Failed: time.Nanosecond}, time.Hour); n != 0 || err != nil {
			t.Errorf("a moment after another worker: deleted %d, %v", n, err)
		}
		prune(Retention{All: 30 * day, Failed: 90 * day}, 3)
		want := []string{"succeeded 1", "failed 1", "unknown 40", "failed 40"}
		got := l.ids(t, OutcomeFilter{})
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("left (-want +got):\n%s", diff)
		}
		prune(Retention{Failed: 30 * day}, 2)
	})
}

func TestPruneMany(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		const many = deleteBatch + 5
		d.exec(t, `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
			INSERT INTO outcomes (id, account, kind, state, attempts, finished_at, worker, holder, token)
			SELECT 'job' || i, 'alice', 'send', 'succeeded', 1, ?, 'w', 'w', 1 FROM n`, many, d.time(epoch))
		if n, err := d.Ledger(LedgerConfig{}).Prune(t.Context(), Retention{All: time.Hour}, time.Minute); n != many || err != nil {
			t.Errorf("deleted %d, %v; want %d", n, err, many)
		}
	})
}

func TestDelete(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice")
		l, lease := d.Ledger(LedgerConfig{}), hold(t, d, "w")["alice"]
		var rs []jobs.Result
		for i := range 250 {
			r := done(fmt.Sprint("j", i))
			r.State, r.FinishedAt = jobs.Failed, epoch.Add(time.Duration(i)*time.Second)
			r, err := l.Record(t.Context(), lease, r)
			if err != nil {
				t.Fatal(err)
			}
			rs = append(rs, r)
		}
		for _, job := range []string{"j0", "j1", "other"} {
			if err := d.Progress().SaveCalls(t.Context(), lease, job, map[int]jobs.CallResult{0: {State: jobs.Unknown}}); err != nil {
				t.Fatal(err)
			}
			if err := d.Cursors().Save(t.Context(), lease, job, []byte("{}")); err != nil {
				t.Fatal(err)
			}
		}
		again := done("j1") // it was run again since it was listed
		again.Supersedes, again.FinishedAt = rs[1].FinishedAt, rs[1].FinishedAt.Add(time.Hour)
		if _, err := l.Record(t.Context(), lease, again); err != nil {
			t.Fatal(err)
		}
		o := &Outcomes{d: d, ledger: l}
		gone, err := o.Delete(t.Context(), append(rs, jobs.Result{ID: "'"}))
		if err != nil || len(gone) != 249 || !gone["j0"] || gone["j1"] || gone["'"] {
			t.Errorf("deleted %d, %v", len(gone), err)
		}
		if got := l.ids(t, OutcomeFilter{}); !slices.Equal(got, []string{"j1"}) {
			t.Errorf("left %v", got)
		}
		for _, table := range []string{"batch_calls", "sync_cursors"} {
			if n := d.count(t, "SELECT count(*) FROM "+table+" WHERE job IN ('j1', 'other')"); n != 2 || d.count(t, "SELECT count(*) FROM "+table) != 2 {
				t.Errorf("%s has %d rows of jobs that were not deleted", table, n)
			}
		}
		there, err := o.Accounts(t.Context(), []accounts.ID{"alice", "bob"})
		if diff := cmp.Diff(map[accounts.ID]bool{"alice": true}, there); err != nil || diff != "" {
			t.Errorf("accounts: %v\n%s", err, diff)
		}
	})
}

func TestListFilters(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice")
		l, lease := d.Ledger(LedgerConfig{}), hold(t, d, "w")["alice"]
		for i, name := range []string{"A", "B", "A", ""} {
			r := done(fmt.Sprint(i))
			r.FinishedAt = epoch.Add(time.Duration(i) * time.Second)
			if i == 2 {
				r.Kind = jobs.KindResolve
			}
			if name != "" {
				r.State, r.Error = jobs.Failed, &jobs.Error{Name: name}
			}
			if _, err := l.Record(t.Context(), lease, r); err != nil {
				t.Fatal(err)
			}
		}
		for _, tt := range []struct {
			f    OutcomeFilter
			want string
		}{
			{OutcomeFilter{Error: "A"}, "2 0"},
			{OutcomeFilter{Error: "A", Kind: jobs.KindResolve}, "2"},
			{OutcomeFilter{Since: epoch.Add(time.Second), Until: epoch.Add(3 * time.Second)}, "2 1"},
			{OutcomeFilter{States: []jobs.State{jobs.Failed}, Error: "C"}, ""},
		} {
			if got := strings.Join(l.ids(t, tt.f), " "); got != tt.want {
				t.Errorf("%+v: %q, want %q", tt.f, got, tt.want)
			}
		}
	})
}

// TestErrorNames: what names an error is its name, whatever its texts hold.
func TestErrorNames(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice")
		l, lease := d.Ledger(LedgerConfig{}), hold(t, d, "w")["alice"]
		for i, e := range []jobs.Error{
			{Name: "FLOOD_WAIT"}, {Name: "FLOOD_WAIT_3"}, {Name: "internal", Message: `"name":"FLOOD_WAIT"`},
			{Name: `a"b`, Message: "\x00"}, {Code: 403, Name: "CHAT_%"},
		} {
			r := done(fmt.Sprint(i))
			r.State, r.Error, r.FinishedAt = jobs.Failed, &e, epoch.Add(time.Duration(i)*time.Second)
			if _, err := l.Record(t.Context(), lease, r); err != nil {
				t.Fatal(err)
			}
		}
		for name, want := range map[string]string{
			"FLOOD_WAIT": "0", "FLOOD*": "1 0", `a"b`: "3", `a"*`: "3", "CHAT_%": "4", "%": "", "\xff\x00": "", "*": "4 3 2 1 0",
		} {
			if got := strings.Join(l.ids(t, OutcomeFilter{Error: name}), " "); got != want {
				t.Errorf("%q: %q, want %q", name, got, want)
			}
		}
		for want, states := range map[string][]jobs.State{"": {jobs.Running}, "4 3 2 1 0": {jobs.Running, jobs.Failed}} {
			if got := strings.Join(l.ids(t, OutcomeFilter{States: states}), " "); got != want {
				t.Errorf("%v: %q, want %q", states, got, want)
			}
		}
	})
}

// TestPruneGoesOn: what finished late, in a database that had been swept, is met by the
// next process; failures that are kept longer do not hold the others up.
func TestPruneGoesOn(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		const some = deleteBatch + 5
		for state, at := range map[jobs.State]time.Time{jobs.Failed: epoch, jobs.Succeeded: epoch.Add(time.Second)} {
			d.exec(t, `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
				INSERT INTO outcomes (id, account, kind, state, attempts, finished_at, worker, holder, token)
				SELECT CAST(? AS text) || i, 'alice', 'send', CAST(? AS text), 1, ?, 'w', 'w', 1 FROM n`, some, state, state, d.time(at))
		}
		l := d.Ledger(LedgerConfig{})
		prune := func(l *Ledger, want int) {
			t.Helper()
			d.exec(t, "UPDATE upkeep SET due_at = ?", d.time(epoch))
			if n, err := l.Prune(t.Context(), Retention{All: time.Hour}, time.Minute); n != want || err != nil {
				t.Errorf("deleted %d, %v; want %d", n, err, want)
			}
		}
		prune(l, some)
		late := "INSERT INTO outcomes (id, account, kind, state, attempts, finished_at, worker, holder, token) VALUES ('late', 'alice', 'send', 'succeeded', 1, ?, 'w', 'w', 1)"
		d.exec(t, late, d.time(epoch))
		prune(l, 0)
		prune(d.Ledger(LedgerConfig{}), 1)
		if n := d.count(t, "SELECT count(*) FROM outcomes"); n != some {
			t.Errorf("%d outcomes are left, want those that failed", n)
		}
	})
}

// TestOutcomePlans: lists and retention read what they return, and little more, in the
// order of an index, also once their plans are kept.
func TestOutcomePlans(t *testing.T) {
	t.Parallel()
	d := open(t, testenv.Postgres(t))
	d.exec(t, `INSERT INTO outcomes (id, account, kind, state, error, attempts, finished_at, worker, holder, token)
		SELECT 'j' || i, 'a' || i % 7, 'send', CASE WHEN i % 100 < 2 THEN 'failed' WHEN i % 1000 = 999 THEN 'unknown' ELSE 'succeeded' END,
			CASE WHEN i % 100 < 2 THEN '{"name":"internal"}'::json END, 1, timestamptz '2026-01-01' + i * interval '1 second', 'w', 'w', 1
		FROM generate_series(1, 100000) AS i`)
	d.exec(t, "ANALYZE outcomes")
	at := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	planOf := func(stmt string, args ...any) string {
		t.Helper()
		var lines []string
		if err := d.run(t.Context()).Raw("EXPLAIN "+stmt, args...).Scan(&lines).Error; err != nil {
			t.Fatal(err)
		}
		return strings.Join(lines, "\n")
	}
	for _, tt := range []struct {
		filter OutcomeFilter
		index  string
	}{
		{OutcomeFilter{}, "outcomes_finished"},
		{OutcomeFilter{States: []jobs.State{jobs.Succeeded}, Before: Cursor{at, "j"}}, "outcomes_finished"},
		{OutcomeFilter{States: []jobs.State{jobs.Failed}}, "outcomes_state"},
		{OutcomeFilter{States: []jobs.State{jobs.Failed}, Since: at, Until: at.Add(time.Hour), Before: Cursor{at.Add(time.Minute), "j"}}, "outcomes_state"},
		{OutcomeFilter{States: []jobs.State{jobs.Unknown}, Error: "internal"}, "outcomes_state"},
		{OutcomeFilter{States: []jobs.State{jobs.Cancelled}, Kind: jobs.KindSend}, "outcomes_state"},
		{OutcomeFilter{Account: "a1"}, "outcomes_account"},
		{OutcomeFilter{Account: "a1", States: []jobs.State{jobs.Failed}}, "outcomes_account_state"},
	} {
		stmt := tt.filter.list(d.dialect, d.run(t.Context()).Session(&gorm.Session{DryRun: true}), 101).Find(&[]outcomeRow{}).Statement
		got := planOf(stmt.SQL.String(), stmt.Vars...)
		if !strings.Contains(got, "using "+tt.index+" on") || strings.Contains(got, "Sort") {
			t.Errorf("%+v is not read in the order of %s:\n%s", tt.filter, tt.index, got)
		}
	}
	for state, index := range map[jobs.State]string{
		jobs.Succeeded: "outcomes_finished", jobs.Failed: "outcomes_state", jobs.Unknown: "outcomes_state", jobs.Cancelled: "outcomes_state",
	} {
		got := planOf(d.pruneOne(state), map[string]any{"since": time.Unix(0, 0), "before": at, "most": 500})
		if !strings.Contains(got, "using "+index+" on") || !strings.Contains(got, "outcomes_pkey") ||
			strings.Contains(got, "Seq Scan") || strings.Contains(got, "Sort") {
			t.Errorf("deletion of %s jobs:\n%s", state, got)
		}
	}
	lite := open(t, sqliteURL(t))
	for state, index := range map[jobs.State]string{jobs.Failed: "outcomes_state", jobs.Succeeded: "outcomes_finished"} {
		stmt := OutcomeFilter{States: []jobs.State{state}}.list(lite.dialect, lite.run(t.Context()).Session(&gorm.Session{DryRun: true}), 101).Find(&[]outcomeRow{}).Statement
		var lines []struct{ Detail string }
		if err := lite.run(t.Context()).Raw("EXPLAIN QUERY PLAN "+stmt.SQL.String(), stmt.Vars...).Scan(&lines).Error; err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(lines); !strings.Contains(got, index) || strings.Contains(got, "TEMP B-TREE") {
			t.Errorf("SQLite: %s jobs: %s", state, got)
		}
	}
}

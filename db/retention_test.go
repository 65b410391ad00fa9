package db

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
		for _, id := range []string{"a", "b"} {
			if _, err := l.Record(t.Context(), lease, done(id)); err != nil {
				t.Fatal(err)
			}
			if err := d.Progress().SaveCalls(t.Context(), lease, id, map[int]jobs.CallResult{0: {}}); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := l.Delete(t.Context(), []string{"a", "none", "'"}); n != 1 || err != nil {
			t.Errorf("deleted %d, %v; want 1", n, err)
		}
		if diff := cmp.Diff([]string{"b"}, l.ids(t, OutcomeFilter{})); diff != "" {
			t.Error(diff)
		}
		for id, want := range map[string]int{"a": 0, "b": 1} {
			if calls, err := d.Progress().Calls(t.Context(), id); len(calls) != want || err != nil {
				t.Errorf("calls of %s: %v, %v; want %d", id, calls, err, want)
			}
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

// TestOutcomePlans: lists and retention do not read all of a large table.
func TestOutcomePlans(t *testing.T) {
	t.Parallel()
	d := open(t, testenv.Postgres(t))
	d.exec(t, `INSERT INTO outcomes (id, account, kind, state, attempts, finished_at, worker, holder, token)
		SELECT 'job' || i, 'a' || i % 100, 'send', CASE WHEN i % 500 = 0 THEN 'failed' ELSE 'succeeded' END, 1,
			timestamptz '2026-01-01' + i * interval '1 second', 'w', 'w', 1 FROM generate_series(1, 50000) AS i`)
	d.exec(t, "ANALYZE outcomes")
	for _, stmt := range []string{
		"SELECT * FROM outcomes WHERE state IN ('failed') ORDER BY finished_at DESC, id DESC LIMIT 101",
		"SELECT * FROM outcomes WHERE account = 'a7' AND state IN ('failed') ORDER BY finished_at DESC, id DESC LIMIT 101",
		"SELECT count(*) FROM outcomes WHERE state IN ('failed', 'unknown')",
		"SELECT id FROM outcomes WHERE state IN ('succeeded', 'cancelled') AND finished_at < timestamptz '2026-01-01 01:00:00' ORDER BY finished_at, id LIMIT 1000",
		"SELECT id FROM outcomes WHERE state IN ('failed', 'unknown') AND finished_at < timestamptz '2026-01-01 01:00:00' ORDER BY finished_at, id LIMIT 1000",
	} {
		var plan []string
		if err := d.run(t.Context()).Raw("EXPLAIN " + stmt).Scan(&plan).Error; err != nil {
			t.Fatal(err)
		}
		if text := strings.Join(plan, "\n"); strings.Contains(text, "Seq Scan") {
			t.Errorf("%s\n%s", stmt, text)
		}
	}
}

package db

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/jobs"
)

// odd is what a worker's name may have that means something in SQL or in an array.
const odd = `o'x"\,{}  NULL ü`

// copyBatch is outcomes, each unlike the one before it, of the accounts in turns.
func copyBatch(t *testing.T, n int, leases ...accounts.Lease) (recs []*record) {
	t.Helper()
	states := []jobs.State{jobs.Succeeded, jobs.Failed, jobs.Unknown, jobs.Cancelled}
	for i := range n {
		r := done(fmt.Sprintf("copied-%02d", i))
		lease := leases[i%len(leases)]
		r.Account, r.State, r.Attempts, r.Worker = lease.Account, states[i%4], i, odd
		r.FinishedAt = epoch.Add(time.Duration(i) * 1001 * time.Microsecond)
		if i%2 == 1 {
			r.EnqueuedAt, r.StartedAt = r.FinishedAt.Add(-time.Hour), time.Date(1999, 1, 1, 0, 0, 0, 1000, time.UTC)
		}
		if r.State.Retryable() {
			r.Result, r.Error, r.Payload = nil, &jobs.Error{Code: 400, Name: "NO", Message: "a \x00 'b'"}, jobs.TaskPayload("\x00\xff")
		} else if i%8 == 0 {
			r.Result = json.RawMessage(`{"a" : "\u0000", "a":1e999}`)
		}
		rec, err := newRecord(lease, r)
		if err != nil {
			t.Fatal(err)
		}
		recs = append(recs, rec)
	}
	return recs
}

func all(recs []*record) (pick []int) {
	for i := range recs {
		pick = append(pick, i)
	}
	return pick
}

func TestCopied(t *testing.T) {
	t.Parallel()
	d := open(t, testenv.Postgres(t))
	addAccounts(t, d, numbered(3)...)
	held := hold(t, d, odd)
	l := d.Ledger(LedgerConfig{})
	recs := copyBatch(t, 50, held["a000"], held["a001"], held["a002"])
	if err := l.copied(t.Context(), recs, all(recs)); err != nil {
		t.Fatal(err)
	}
	for _, rec := range recs {
		if got, err := l.Outcome(t.Context(), rec.result.ID); err != nil || !cmp.Equal(got, rec.result) {
			t.Errorf("stored %+v, %v; recorded %+v", got, err, rec.result)
		}
	}
	// What an insert writes is the same, in every column.
	const rows = "SELECT string_agg(md5(CAST(o AS text)), ',' ORDER BY id) FROM outcomes AS o"
	read := func() (sum string) {
		t.Helper()
		if err := d.pool.QueryRowContext(t.Context(), rows).Scan(&sum); err != nil {
			t.Fatal(err)
		}
		return sum
	}
	copied := read()
	if _, err := d.pool.ExecContext(t.Context(), "DELETE FROM outcomes"); err != nil {
		t.Fatal(err)
	}
	if n, err := l.insert(t.Context(), recs, all(recs)); n != len(recs) || err != nil {
		t.Fatalf("insert: %d, %v", n, err)
	}
	if read() != copied {
		t.Error("copied outcomes differ from those that are inserted")
	}
}

// In a batch that is copied each caller gets what it would get alone.
func TestCopiedMixedBatch(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(rec *record){
		"no lease":       func(rec *record) { rec.lease.Token-- },
		"another worker": func(rec *record) { rec.lease.Worker += "'" },
		"bad row":        func(rec *record) { rec.result.Attempts = 1 << 40 },
		"known":          nil,
		"superseded":     func(rec *record) { rec.supersedes = epoch },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t, testenv.Postgres(t))
			addAccounts(t, d, "a000")
			l, lease := d.Ledger(LedgerConfig{}), hold(t, d, odd)["a000"]
			recs := copyBatch(t, 20, lease)
			const at = 7
			want := recs[at].result
			if spoil != nil {
				spoil(recs[at])
			} else {
				want.Attempts = 99
				if _, err := l.Record(t.Context(), lease, want); err != nil {
					t.Fatal(err)
				}
			}
			if recs[at].copyable() {
				if err := l.copied(t.Context(), recs, all(recs)); !isBadRow(err) {
					t.Errorf("copied: %v", err)
				}
			}
			as, err := l.record(t.Context(), recs)
			if err != nil {
				t.Fatal(err)
			}
			for i, a := range as {
				wrong := i == at && (name != "known" && name != "superseded")
				switch {
				case (a.err != nil) != wrong:
					t.Errorf("outcome %d: %v", i, a.err)
				case i == at && !wrong && !cmp.Equal(*a.value, want):
					t.Errorf("outcome %d is %+v, want %+v", i, a.value, want)
				}
			}
			if name == "no lease" {
				wantErr(t, name, as[at].err, accounts.ErrLeaseLost)
			}
			if n, most := d.count(t, "SELECT count(*) FROM outcomes"), len(recs); n != most && (n != most-1 || as[at].err == nil) {
				t.Errorf("%d outcomes are stored", n)
			}
		})
	}
}

func TestArrayLiteral(t *testing.T) {
	t.Parallel()
	d := open(t, testenv.Postgres(t))
	for _, want := range [][]string{{}, {""}, {odd, "", "NULL", "'", `\'`, `"`, "a,b"}} {
		var text string
		if err := d.pool.QueryRowContext(t.Context(), "SELECT CAST(to_json(CAST("+arrayLiteral(want)+" AS text[])) AS text)").Scan(&text); err != nil {
			t.Errorf("%q: %v", want, err)
			continue
		}
		got := []string{}
		if err := json.Unmarshal([]byte(text), &got); err != nil || !cmp.Equal(got, want) {
			t.Errorf("%q comes back as %s, %v", want, text, err)
		}
	}
}

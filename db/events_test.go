package db

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/testenv"
)

func addTo(t testing.TB, d *DB, id accounts.ID, kind accounts.EventKind, reason string) {
	t.Helper()
	if err := d.Events().Add(t.Context(), accounts.Event{Account: id, Kind: kind, Reason: reason}); err != nil {
		t.Fatal(err)
	}
}

func reasons(es []accounts.Event) (rs []string) {
	for _, e := range es {
		rs = append(rs, e.Reason)
	}
	return rs
}

// Of each account the latest 100 events of each kind are kept.
func TestEventsAreBounded(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice", "bob")
		addTo(t, d, "bob", accounts.EventFlood, "bob's")
		addTo(t, d, "alice", accounts.EventAlarm, "alarm")
		for i := range 105 {
			addTo(t, d, "alice", accounts.EventFlood, fmt.Sprint(i))
		}
		for i := range 105 { // changes of the status are bounded alike
			s := []accounts.Status{accounts.Paused, accounts.Active}[i%2]
			if err := d.Accounts().SetStatus(t.Context(), "alice", s, fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		kept := map[accounts.EventKind][]string{}
		for _, e := range events(t, d, EventFilter{Account: "alice"}) {
			kept[e.Kind] = append(kept[e.Kind], e.Reason)
		}
		var last []string
		for i := range 100 {
			last = append(last, fmt.Sprint(i+5))
		}
		want := map[accounts.EventKind][]string{
			accounts.EventAdded: {""}, accounts.EventAlarm: {"alarm"}, accounts.EventFlood: last, accounts.EventStatus: last,
		}
		if diff := cmp.Diff(want, kept); diff != "" {
			t.Errorf("kept (-want +got):\n%s", diff)
		}
		if got := reasons(events(t, d, EventFilter{Account: "bob"})); !slices.Equal(got, []string{"", "bob's"}) {
			t.Errorf("another account's events are %q", got)
		}
		wantErr(t, "event of nobody", d.Events().Add(t.Context(), accounts.Event{Account: "nobody"}), accounts.ErrNotFound)
	})
}

func TestListEvents(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice")
		now := time.Now()
		for i := range 5 {
			e := accounts.Event{Account: "alice", Kind: accounts.EventAlarm, At: now.Add(time.Duration(i-4) * time.Hour), Reason: fmt.Sprint(i)}
			if err := d.Events().Add(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		if got := reasons(events(t, d, EventFilter{Since: now.Add(-150 * time.Minute)})); !slices.Equal(got, []string{"", "2", "3", "4"}) {
			t.Errorf("since two and a half hours: %q", got)
		}
		if got := reasons(events(t, d, EventFilter{Limit: 2})); !slices.Equal(got, []string{"3", "4"}) {
			t.Errorf("the latest two: %q", got)
		}
	})
}

// next is what the tail has found since.
func (t *Tail) found(tb testing.TB) []string {
	tb.Helper()
	es, err := t.Next(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return reasons(es)
}

// untilSettled wants the floor to rise to the last event, which is then neither read nor
// remembered, once the transactions of other tests have ended as well.
func (t *Tail) untilSettled(tb testing.TB, last int) {
	tb.Helper()
	for limit := time.Now().Add(time.Minute); t.floor != int64(last); {
		if got := t.found(tb); len(got) != 0 {
			tb.Fatalf("found %q again", got)
		}
		if time.Now().After(limit) {
			tb.Fatalf("the floor is %d, want %d", t.floor, last)
		}
	}
	if len(t.told) != 0 {
		tb.Errorf("%d events are remembered", len(t.told))
	}
}

func TestTail(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice", "bob")
		addTo(t, d, "alice", accounts.EventAlarm, "old")
		tail, all, alice := d.Events().Tail(EventFilter{}), d.Events().Tail(EventFilter{Since: time.Unix(0, 0)}), d.Events().Tail(EventFilter{Account: "alice"})
		for _, tl := range []*Tail{tail, all, alice} {
			tl.settle = 0
		}
		check := func(what string, tl *Tail, want ...string) {
			t.Helper()
			if got := tl.found(t); !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		check("from now", tail)
		check("from the beginning", all, "", "", "old")
		check("one account", alice)
		for i := range 20 {
			name := fmt.Sprint(i)
			addTo(t, d, "alice", accounts.EventAlarm, "a"+name)
			addTo(t, d, "bob", accounts.EventAlarm, "b"+name)
			check("from now", tail, "a"+name, "b"+name)
			check("from the beginning", all, "a"+name, "b"+name)
			check("one account", alice, "a"+name)
			check("again", tail)
		}
		tail.untilSettled(t, d.count(t, "SELECT max(id) FROM account_events"))
	})
}

// An event whose transaction commits late is found, although others with larger numbers
// were found before, and however long that takes.
func TestTailFindsLateCommits(t *testing.T) {
	t.Parallel()
	d := open(t, testenv.Postgres(t))
	addAccounts(t, d, "alice")
	begin := func(reason string) (commit func()) {
		t.Helper()
		tx := d.gorm.Begin()
		t.Cleanup(func() { tx.Rollback() })
		if err := d.addEvent(tx.WithContext(context.WithoutCancel(t.Context())), accounts.Event{Account: "alice", Kind: accounts.EventAlarm, Reason: reason}); err != nil {
			t.Fatal(err)
		}
		return func() {
			t.Helper()
			if err := tx.Commit().Error; err != nil {
				t.Fatal(err)
			}
		}
	}
	early := begin("began before the tail")
	tail := d.Events().Tail(EventFilter{})
	tail.settle = 0
	check := func(want ...string) {
		t.Helper()
		if got := tail.found(t); !slices.Equal(got, want) {
			t.Errorf("found %q, want %q", got, want)
		}
	}
	check()
	addTo(t, d, "alice", accounts.EventAlarm, "1")
	slow := begin("slow")
	slower := begin("slower")
	for i := range 10 { // many looks, each of which might think that all is settled
		addTo(t, d, "alice", accounts.EventAlarm, fmt.Sprint("after ", i))
		if i == 0 {
			check("1", "after 0")
			continue
		}
		check(fmt.Sprint("after ", i))
	}
	slow()
	check("slow")
	addTo(t, d, "alice", accounts.EventAlarm, "2")
	check("2")
	check()
	slower()
	early()
	check("began before the tail", "slower")
	tail.untilSettled(t, d.count(t, "SELECT max(id) FROM account_events"))
}

// Writers and a tail at the same time: each event is found once.
func TestTailUnderLoad(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		ids := numbered(8)
		addAccounts(t, d, ids...)
		tail := d.Events().Tail(EventFilter{})
		tail.settle = 0
		if got := tail.found(t); len(got) != 0 {
			t.Fatalf("found %q", got)
		}
		const each = 60
		done := make(chan error, len(ids))
		for _, id := range ids {
			go func() {
				for i := range each {
					if err := d.Events().Add(t.Context(), accounts.Event{Account: id, Kind: accounts.EventAlarm, Reason: fmt.Sprint(id, i)}); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		found := map[string]int{}
		for left := len(ids); left > 0; {
			select {
			case err := <-done:
				if err != nil {
					t.Fatal(err)
				}
				left--
			default:
			}
			for _, r := range tail.found(t) {
				found[r]++
			}
		}
		for _, r := range tail.found(t) {
			found[r]++
		}
		for r, n := range found {
			if n != 1 {
				t.Errorf("%s was found %d times", r, n)
			}
		}
		if len(found) != len(ids)*each {
			t.Errorf("%d events were found, want %d", len(found), len(ids)*each)
		}
	})
}

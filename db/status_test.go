package db

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/testenv"
)

// plainEvents compares events without their numbers and times.
var plainEvents = cmpopts.IgnoreFields(accounts.Event{}, "ID", "At")

func events(t testing.TB, d *DB, f EventFilter) []accounts.Event {
	t.Helper()
	es, err := d.Events().List(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return es
}

// Every change from every status does what the table of package accounts says, and
// leaves the event that goes with it.
func TestSetStatus(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		s := d.Accounts().By("w")
		for _, from := range accounts.Statuses() {
			for _, to := range accounts.Statuses() {
				id := accounts.ID(from + "-" + to)
				long := time.Now().Add(-time.Hour)
				a := accounts.Account{ID: id, Kind: accounts.User, Status: from, Reason: "before", DC: 2, CreatedAt: long}
				if err := s.CreateAccount(t.Context(), a, []byte("x")); err != nil {
					t.Fatal(err)
				}
				err := s.SetStatus(t.Context(), id, to, "after")
				a, rerr := s.Account(t.Context(), id)
				if rerr != nil {
					t.Fatal(rerr)
				}
				allowed := slices.Contains(to.Befores(), from)
				var refused *accounts.StatusError
				switch {
				case allowed && (err != nil || a.Status != to || a.Reason != "after"):
					t.Errorf("%s: %s for %q, %v", id, a.Status, a.Reason, err)
				case !allowed && (a.Status != from || a.Reason != "before"):
					t.Errorf("%s: it is %s for %q now", id, a.Status, a.Reason)
				case !allowed && from != to && !to.Verdict() && (!errors.As(err, &refused) || *refused != accounts.StatusError{Account: id, Has: from, Wants: to}):
					t.Errorf("%s: %v, want a *StatusError", id, err)
				case !allowed && (from == to || to.Verdict()) && err != nil:
					t.Errorf("%s: %v", id, err)
				}
				if recent := time.Since(a.Since) < time.Minute; recent != (allowed && from != to) {
					t.Errorf("%s: it is so since %v", id, a.Since)
				}
				var want []accounts.Event
				if allowed {
					want = []accounts.Event{{Account: id, Kind: accounts.EventStatus, From: from, To: to, Reason: "after", Who: "w"}}
				} else if from != to && to.Verdict() {
					want = []accounts.Event{{Account: id, Kind: accounts.EventVerdict, From: from, To: to, Reason: "after", Who: "w"}}
				}
				got := events(t, d, EventFilter{Account: id})[1:] // the first is that it was added
				if diff := cmp.Diff(want, got, plainEvents, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("%s: events (-want +got):\n%s", id, diff)
				}
				for _, e := range got {
					if !e.At.Equal(a.Since) && allowed && from != to {
						t.Errorf("%s: the event is of %v, the status since %v", id, e.At, a.Since)
					}
				}
			}
		}
		wantErr(t, "status of nobody", s.SetStatus(t.Context(), "nobody", accounts.Banned, ""), accounts.ErrNotFound)
	})
}

// A verdict that an account's pause outlives is written down once, however many calls
// bring it.
func TestVerdictWhilePaused(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice")
		set := func(who string, s accounts.Status, reason string) {
			t.Helper()
			if err := d.Accounts().By(who).SetStatus(t.Context(), "alice", s, reason); err != nil {
				t.Fatal(err)
			}
		}
		set("ann@desk", accounts.Paused, "holiday")
		for range 3 {
			set("w1", accounts.Banned, "USER_DEACTIVATED\x00\xff") // what Postgres refuses
		}
		set("ann@desk", accounts.Active, "")
		want := []accounts.Event{
			{Account: "alice", Kind: accounts.EventAdded, To: accounts.Active},
			{Account: "alice", Kind: accounts.EventStatus, From: accounts.Active, To: accounts.Paused, Reason: "holiday", Who: "ann@desk"},
			{Account: "alice", Kind: accounts.EventVerdict, From: accounts.Paused, To: accounts.Banned, Reason: "USER_DEACTIVATED\uFFFD", Who: "w1"},
			{Account: "alice", Kind: accounts.EventStatus, From: accounts.Paused, To: accounts.Active, Who: "ann@desk"},
		}
		if diff := cmp.Diff(want, events(t, d, EventFilter{}), plainEvents); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

// An operator's pause and a verdict that race leave the pause in force, whoever is
// first, and the log tells the status that the account has.
func TestPauseRacesVerdicts(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		ids := numbered(30)
		addAccounts(t, d, ids...)
		var wg sync.WaitGroup
		for _, id := range ids {
			for _, s := range []accounts.Status{accounts.Restricted, accounts.Restricted, accounts.Paused} {
				wg.Go(func() {
					if err := d.Accounts().SetStatus(t.Context(), id, s, ""); err != nil {
						t.Errorf("%s to %s: %v", id, s, err)
					}
				})
			}
		}
		wg.Wait()
		for _, id := range ids {
			a, err := d.Accounts().Account(t.Context(), id)
			if err != nil || a.Status != accounts.Paused {
				t.Errorf("%s is %s, %v", id, a.Status, err)
			}
			has := accounts.Status("")
			for _, e := range events(t, d, EventFilter{Account: id}) {
				if e.From != has {
					t.Errorf("%s: an event from %s while it was %s", id, e.From, has)
				}
				if e.Kind != accounts.EventVerdict {
					has = e.To
				}
			}
			if has != a.Status {
				t.Errorf("%s is %s, and %s by its events", id, a.Status, has)
			}
		}
	})
}

// A verdict that waits for a pause that is under way sees it. (In SQLite there is one
// writer at a time.)
func TestVerdictWaitsForPause(t *testing.T) {
	t.Parallel()
	d := open(t, testenv.Postgres(t))
	addAccounts(t, d, "alice")
	pause, err := d.pool.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer pause.Rollback()
	if _, err := pause.Exec("UPDATE accounts SET status = 'paused'"); err != nil {
		t.Fatal(err)
	}
	set := make(chan error, 1)
	go func() { set <- d.Accounts().SetStatus(t.Context(), "alice", accounts.NeedsLogin, "late") }()
	for waiting := 0; waiting == 0 && len(set) == 0; {
		waiting = d.count(t, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
	}
	if err := pause.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-set; err != nil {
		t.Fatal(err)
	}
	a, err := d.Accounts().Account(t.Context(), "alice")
	if err != nil || a.Status != accounts.Paused {
		t.Errorf("it is %s (%v), want the pause to stay", a.Status, err)
	}
	es := events(t, d, EventFilter{})
	if last := es[len(es)-1]; last.Kind != accounts.EventVerdict || last.From != accounts.Paused || last.To != accounts.NeedsLogin {
		t.Errorf("the last event is %+v", last)
	}
}

// A change that fails leaves neither half.
func TestStatusAndEventTogether(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "alice")
		d.forbidWrites(t, "account_events")
		if err := d.Accounts().SetStatus(t.Context(), "alice", accounts.Banned, ""); err == nil {
			t.Error("a change was made that could not be written down")
		}
		a := accounts.Account{ID: "bob", Kind: accounts.User, Status: accounts.Active, DC: 2}
		if err := d.Accounts().CreateAccount(t.Context(), a, []byte("x")); err == nil {
			t.Error("an account was added that could not be written down")
		}
		d.allowWrites(t, "account_events")
		if a, err := d.Accounts().Account(t.Context(), "alice"); err != nil || a.Status != accounts.Active {
			t.Errorf("the account is %s, %v", a.Status, err)
		}
		if _, err := d.Accounts().Account(t.Context(), "bob"); !errors.Is(err, accounts.ErrNotFound) {
			t.Errorf("half an account: %v", err)
		}
		var all []string
		for _, e := range events(t, d, EventFilter{}) {
			all = append(all, string(e.Account)+" "+string(e.Kind))
		}
		if strings.Join(all, ", ") != "alice added" {
			t.Errorf("events: %v", all)
		}
	})
}

package db

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/accounts"
)

func TestReplaceSession(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		s := d.Accounts().By("op@desk")
		long := time.Now().Add(-time.Hour)
		for _, status := range accounts.Statuses() {
			id := accounts.ID(status)
			a := accounts.Account{ID: id, Kind: accounts.User, Status: status, Reason: "before", UserID: 7, DC: 2, CreatedAt: long}
			if err := s.CreateAccount(t.Context(), a, []byte("old")); err != nil {
				t.Fatal(err)
			}
			err := s.ReplaceSession(t.Context(), accounts.Account{ID: id, UserID: 8, DC: 4}, []byte("another's"))
			var refused *accounts.StatusError
			switch needs := status == accounts.NeedsLogin; {
			case needs && !errors.Is(err, accounts.ErrOtherUser):
				t.Errorf("%s, another user: %v", id, err)
			case !needs && (!errors.As(err, &refused) || refused.Has != status):
				t.Errorf("%s: %v, want a *StatusError", id, err)
			}
			if sealed, err := s.Session(t.Context(), id); err != nil || string(sealed) != "old" {
				t.Errorf("%s: the session is %q now, %v", id, sealed, err)
			}
		}

		const id = accounts.ID(accounts.NeedsLogin)
		if err := s.ReplaceSession(t.Context(), accounts.Account{ID: id, UserID: 7, KeyID: "aa", DC: 4}, []byte("new")); err != nil {
			t.Fatal(err)
		}
		a, err := s.Account(t.Context(), id)
		if err != nil || a.Status != accounts.Active || a.Reason != "" || a.DC != 4 || a.KeyID != "aa" || a.UserID != 7 || time.Since(a.Since) > time.Minute || a.Since.Before(long) {
			t.Errorf("the account is %+v, %v", a, err)
		}
		if sealed, err := s.Session(t.Context(), id); err != nil || string(sealed) != "new" {
			t.Errorf("the session is %q, %v", sealed, err)
		}
		want := []accounts.Event{
			{Account: id, Kind: accounts.EventAdded, To: accounts.NeedsLogin, Reason: "before", Who: "op@desk"},
			{Account: id, Kind: accounts.EventStatus, From: accounts.NeedsLogin, To: accounts.Active, Reason: "logged in", Who: "op@desk"},
		}
		if diff := cmp.Diff(want, events(t, d, EventFilter{Account: id}), plainEvents); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}

		// Nobody has asked yet whose this one is.
		if err := s.CreateAccount(t.Context(), accounts.Account{ID: "fresh", Kind: accounts.User, Status: accounts.NeedsLogin, DC: 2}, []byte("old")); err != nil {
			t.Fatal(err)
		}
		if err := s.ReplaceSession(t.Context(), accounts.Account{ID: "fresh", UserID: 9, DC: 2}, []byte("new")); err != nil {
			t.Fatal(err)
		}
		if a, err := s.Account(t.Context(), "fresh"); err != nil || a.UserID != 9 {
			t.Errorf("the user id is %d, %v", a.UserID, err)
		}
		if err := s.ReplaceSession(t.Context(), accounts.Account{ID: "nobody", UserID: 9, DC: 2}, []byte("new")); !errors.Is(err, accounts.ErrNotFound) {
			t.Errorf("an unknown name: %v", err)
		}
		if err := s.ReplaceSession(t.Context(), accounts.Account{ID: "fresh", UserID: 9, DC: 2}, nil); err == nil {
			t.Error("an empty session was stored")
		}
	})
}

package accounts_test

import (
	"slices"
	"testing"

	"github.com/tgswitchboard/switchboard/accounts"
)

// TestTransitions is what may become what. Rows are before, columns after.
func TestTransitions(t *testing.T) {
	t.Parallel()
	after := []accounts.Status{accounts.Active, accounts.Paused, accounts.Restricted, accounts.Frozen, accounts.NeedsLogin, accounts.Banned}
	table := map[accounts.Status]string{
		// by an operator: active, paused; verdicts: restricted, frozen, needs_login, banned
		accounts.Active:     "-p rfnb",
		accounts.Paused:     "ap ----", // a pause outlives every verdict
		accounts.Restricted: "ap -fnb",
		accounts.Frozen:     "a- --nb", // what is parked by Telegram need not be paused
		accounts.NeedsLogin: "a- ---b",
		accounts.Banned:     "a- ----",
	}
	if !slices.Equal(after, accounts.Statuses()) {
		t.Errorf("the table is about %v, there are %v", after, accounts.Statuses())
	}
	for before, row := range table {
		columns := []byte(row[:2] + row[3:])
		for i, s := range after {
			if got, want := slices.Contains(s.Befores(), before), columns[i] != '-'; got != want {
				t.Errorf("%s to %s: allowed %t, want %t", before, s, got, want)
			}
		}
	}
	for _, s := range after {
		verdict := s != accounts.Active && s != accounts.Paused
		parked := s != accounts.Active && s != accounts.Restricted
		if s.Verdict() != verdict || s.Parked() != parked {
			t.Errorf("%s: verdict %t, parked %t", s, s.Verdict(), s.Parked())
		}
		if got, err := accounts.ParseStatus(string(s)); got != s || err != nil {
			t.Errorf("ParseStatus(%q) = %q, %v", s, got, err)
		}
	}
	if got, err := accounts.ParseStatus("Active"); err == nil {
		t.Errorf("ParseStatus takes Active for %q", got)
	}
}

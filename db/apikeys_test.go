package db

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/apikey"
)

func (d *DB) producers() *Outcomes { return &Outcomes{d: d, ledger: d.Ledger(LedgerConfig{})} }

func TestAPIKeys(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		ctx, keys := t.Context(), d.producers().APIKeys()
		k := apikey.Key{
			Name: "shop", Hash: apikey.NewSecret().Hash(), Rate: 2.5, CreatedBy: "root@host", ExpiresAt: exact(time.Now().Add(time.Hour)),
			Scope: apikey.Scope{Accounts: []string{"support-*"}, Kinds: []jobs.Kind{jobs.KindSend, jobs.KindInvoke}, Methods: []string{"messages.*"}},
		}
		if err := keys.Create(ctx, k); err != nil {
			t.Fatal(err)
		}
		other := k
		other.Hash = apikey.NewSecret().Hash()
		wantErr(t, "a name again", keys.Create(ctx, other), apikey.ErrExists)
		other.Name, other.Rate = "", 1
		if err := keys.Create(ctx, other); err == nil {
			t.Error("a key without a name was created")
		}
		live, err := keys.Live(ctx)
		if err != nil || len(live) != 1 {
			t.Fatal(live, err)
		}
		if age := time.Since(live[0].CreatedAt); age < -time.Minute || age > 10*time.Minute {
			t.Errorf("created %v ago", age)
		}
		live[0].CreatedAt = time.Time{}
		if diff := cmp.Diff(k, live[0]); diff != "" {
			t.Error(diff)
		}

		wantErr(t, "revoke nothing", keys.Revoke(ctx, "nobody", "x"), apikey.ErrNotFound)
		for _, by := range []string{"alice@host", "bob@host"} {
			if err := keys.Revoke(ctx, "shop", by); err != nil {
				t.Fatal(err)
			}
		}
		if live, err := keys.Live(ctx); err != nil || len(live) != 0 {
			t.Errorf("live after its end: %v, %v", live, err)
		}
		all, err := keys.List(ctx)
		if err != nil || len(all) != 1 || all[0].RevokedBy != "alice@host" || all[0].Valid(time.Now()) {
			t.Errorf("%+v, %v", all, err)
		}
		k.Hash = apikey.NewSecret().Hash()
		wantErr(t, "a revoked name again", keys.Create(ctx, k), apikey.ErrExists)
	})
}

func TestProducersStandings(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "a", "b", "c")
		if err := d.Accounts().SetStatus(t.Context(), "b", accounts.Paused, "x"); err != nil {
			t.Fatal(err)
		}
		got, err := d.producers().Standings(t.Context(), "a", 1)
		if err != nil || len(got) != 1 || got[0].ID != "b" || got[0].Status != accounts.Paused || got[0].Kind != accounts.User || got[0].Since.IsZero() {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestSince(t *testing.T) {
	forEachDB(t, func(t *testing.T, d *DB) {
		addAccounts(t, d, "a", "b")
		held := hold(t, d, "w1")
		at := exact(time.Now())
		for _, r := range []jobs.Result{
			{ID: "2", Account: "a", FinishedAt: at.Add(time.Second)},
			{ID: "1", Account: "a", FinishedAt: at.Add(time.Second)},
			{ID: "0", Account: "a", FinishedAt: at},
			{ID: "3", Account: "b", FinishedAt: at.Add(time.Second)},
			{ID: "4", Account: "a", FinishedAt: at.Add(2 * time.Second)},
		} {
			r.Kind, r.State = jobs.KindSend, jobs.Succeeded
			if _, err := d.Ledger(LedgerConfig{}).Record(t.Context(), held[r.Account], r); err != nil {
				t.Fatal(err)
			}
		}
		o := d.producers()
		var ids []string
		for place := (Cursor{finished: at, id: "0"}); ; {
			page, err := o.Since(t.Context(), "a", place, 2)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			for _, r := range page {
				ids = append(ids, r.ID)
				place = Cursor{finished: r.FinishedAt, id: r.ID}
			}
		}
		if diff := cmp.Diff([]string{"1", "2", "4"}, ids); diff != "" {
			t.Error(diff)
		}
	})
}

// TestGatewayRole has a role with the rights that docs/http.md gives: it does what the
// gateway does, and no more.
func TestGatewayRole(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(testenv.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	owner := open(t, u.String())
	addAccounts(t, owner, "a")
	role := strings.TrimPrefix(u.Path, "/") + "_gateway" // roles are the server's
	owner.exec(t, "CREATE ROLE "+role+" LOGIN PASSWORD 'x'")
	t.Cleanup(func() {
		if _, err := owner.pool.Exec("DROP OWNED BY " + role + "; DROP ROLE " + role); err != nil {
			t.Error(err)
		}
	})
	owner.exec(t, "GRANT SELECT ON outcomes, api_keys TO "+role)
	owner.exec(t, "GRANT SELECT (id, kind, status, status_since) ON accounts TO "+role)
	u.User = url.UserPassword(role, "x")
	o, err := OpenOutcomes(t.Context(), u.String(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	ctx := t.Context()
	_, err1 := o.APIKeys().Live(ctx)
	_, err2 := o.Standings(ctx, "", 10)
	_, err3 := o.Since(ctx, "a", Cursor{finished: time.Now(), id: "x"}, 10)
	_, _, err4 := o.List(ctx, OutcomeFilter{})
	_, err5 := o.Accounts(ctx, []accounts.ID{"a"})
	_, err6 := o.Outcome(ctx, "x")
	if errors.Is(err6, jobs.ErrNotFound) {
		err6 = nil
	}
	if err := errors.Join(err1, err2, err3, err4, err5, err6, o.Ping(ctx)); err != nil {
		t.Error(err)
	}
	if err := o.d.run(ctx).Exec("SELECT sealed FROM sessions").Error; err == nil {
		t.Error("the role can read sessions")
	}
	if err := o.APIKeys().Revoke(ctx, "x", "y"); err == nil || errors.Is(err, apikey.ErrNotFound) {
		t.Errorf("the role can revoke keys: %v", err)
	}
}

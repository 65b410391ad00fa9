package accounts_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/db"
)

// rotation is accounts that an old key has sealed, and the keysets of the way to a new
// one.
type rotation struct {
	db            *db.DB
	old, both, is accounts.Keyset // both: the old key seals; is: the new one does
}

const secretProxy = accounts.Proxy("socks5://u:hunter2@127.0.0.1:1")

// eachRotation has n accounts, the first of which has secret settings as well.
func eachRotation(t *testing.T, n int, test func(*testing.T, *rotation)) {
	t.Parallel()
	forEachDB(t, 0, func(t *testing.T, d *db.DB) {
		r := &rotation{db: d, old: newKeys(t)}
		var id uint32
		var err error
		if r.both, id, err = r.old.Add(); err != nil {
			t.Fatal(err)
		}
		if r.is, err = r.both.Promote(id); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			a := accounts.Account{ID: accounts.ID(fmt.Sprintf("a%02d", i))}
			if i == 0 {
				a.Proxy = secretProxy
			}
			if _, err := r.registry(r.old).Add(t.Context(), a, sessionOf(t, a.ID)); err != nil {
				t.Fatal(err)
			}
		}
		test(t, r)
	})
}

func (r *rotation) registry(keys accounts.Keyset) *accounts.Registry {
	return accounts.NewRegistry(r.db.Accounts().By("op@desk"), keys)
}

// wantAll wants the sessions of n accounts as they were, opened by keys.
func (r *rotation) wantAll(t *testing.T, keys accounts.Keyset, n int) {
	t.Helper()
	for i := range n {
		id := accounts.ID(fmt.Sprintf("a%02d", i))
		got, err := r.registry(keys).Session(t.Context(), id)
		if err != nil || !bytes.Equal(got.Key.Bytes(), sessionOf(t, id).Key.Bytes()) {
			t.Errorf("session of %s: %v", id, err)
		}
	}
	if a, err := r.registry(keys).Account(t.Context(), "a00"); err != nil || a.Proxy != secretProxy {
		t.Errorf("settings of a00: %v, %v", a.Proxy, err)
	}
}

// stored is all that is sealed.
func (r *rotation) stored(t *testing.T) (all []accounts.Sealed) {
	t.Helper()
	for _, kind := range accounts.SealedKinds {
		some, err := r.db.Accounts().Sealed(t.Context(), kind, nil, "", 1000)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, some...)
	}
	return all
}

func TestReseal(t *testing.T) {
	eachRotation(t, 25, func(t *testing.T, r *rotation) {
		ctx := t.Context()
		var seen []string
		report, err := r.registry(r.is).Reseal(ctx, accounts.ResealConfig{Batch: 10, Progress: func(done, total int) { seen = append(seen, fmt.Sprint(done, "/", total)) }})
		if err != nil || report.Resealed[accounts.SealedSession] != 25 || report.Resealed[accounts.SealedSettings] != 1 || report.Before != 0 || report.Changed != 0 || len(report.Unopened) != 0 {
			t.Errorf("report %+v, %v", report, err)
		}
		if want := []string{"0/26", "10/26", "20/26", "25/26", "26/26"}; !slices.Equal(seen, want) {
			t.Errorf("progress %q, want %q", seen, want)
		}
		less, err := r.is.Remove(r.old.IDs()[0])
		if err != nil {
			t.Fatal(err)
		}
		r.wantAll(t, less, 25)
		es, err := r.db.Events().List(ctx, db.EventFilter{Limit: 1})
		want := fmt.Sprintf("26 sealed anew with key %d, before with %d", r.is.IDs()[0], r.old.IDs()[0])
		if err != nil || len(es) != 1 || es[0].Kind != accounts.EventRotated || es[0].Account != "" || es[0].Reason != want || es[0].Who != "op@desk" {
			t.Errorf("event %+v, %v; want %q", es, err, want)
		}

		before := r.stored(t)
		report, err = r.registry(r.is).Reseal(ctx, accounts.ResealConfig{})
		if err != nil || report.Total() != 0 || report.Before != 26 {
			t.Errorf("once more: %+v, %v", report, err)
		}
		if !slices.EqualFunc(before, r.stored(t), func(a, b accounts.Sealed) bool { return bytes.Equal(a.Sealed, b.Sealed) }) {
			t.Error("what is sealed with the key was sealed anew")
		}
		if es, err := r.db.Events().List(ctx, db.EventFilter{}); err != nil || len(es) != 26 { // 25 were added
			t.Errorf("%d events, %v; want 26", len(es), err)
		}
	})
}

// meddling is a store in which somebody is busy between what Reseal reads and writes.
type meddling struct {
	accounts.Store
	meddle func(kind accounts.SealedKind)
}

func (m meddling) Sealed(ctx context.Context, kind accounts.SealedKind, not []byte, after accounts.ID, limit int) ([]accounts.Sealed, error) {
	got, err := m.Store.Sealed(ctx, kind, not, after, limit)
	if len(got) > 0 {
		m.meddle(kind)
	}
	return got, err
}

// What workers and operators store meanwhile is not overwritten, and is sealed anew as
// well.
func TestResealMeanwhile(t *testing.T) {
	eachRotation(t, 3, func(t *testing.T, r *rotation) {
		ctx := t.Context()
		h := newHolder()
		hold(t, r.db.Leases(), "worker", h, accounts.LeasesConfig{Keys: r.both.IDs(), TTL: time.Minute})
		var lease accounts.Lease
		for lease.Account != "a01" {
			lease = <-h.gained
		}
		meddled := map[accounts.SealedKind]bool{}
		store := meddling{r.db.Accounts().By("op@desk"), func(kind accounts.SealedKind) {
			if meddled[kind] {
				return
			}
			meddled[kind] = true
			switch kind {
			case accounts.SealedSession: // by a worker that seals with the old key
				s := sessionOf(t, "a01")
				s.Salt = 77
				if err := r.registry(r.both).SaveSession(ctx, lease, s); err != nil {
					t.Error(err)
				}
			case accounts.SealedSettings:
				if _, err := r.registry(r.both).Set(ctx, "a00", "proxy", func(a *accounts.Account) error { a.Proxy = secretProxy + "2"; return nil }); err != nil {
					t.Error(err)
				}
			}
		}}
		registry := accounts.NewRegistry(store, r.is)
		var lagging *accounts.LaggingError
		if _, err := registry.Reseal(ctx, accounts.ResealConfig{}); !errors.As(err, &lagging) || !slices.Equal(lagging.Workers, []string{"worker"}) || len(meddled) > 0 {
			t.Fatalf("with a worker that seals with the old key: %v", err)
		}
		report, err := registry.Reseal(ctx, accounts.ResealConfig{Lagging: true})
		if err != nil || report.Changed != 2 || report.Total() != 4 || len(report.Unopened) != 0 {
			t.Errorf("report %+v, %v; want 2 that others have changed", report, err)
		}
		less, err := r.is.Remove(r.old.IDs()[0])
		if err != nil {
			t.Fatal(err)
		}
		if s, err := r.registry(less).Session(ctx, "a01"); err != nil || s.Salt != 77 {
			t.Errorf("the session that a worker has stored meanwhile: %+v, %v", s, err)
		}
		if a, err := r.registry(less).Account(ctx, "a00"); err != nil || a.Proxy != secretProxy+"2" {
			t.Errorf("the proxy that was set meanwhile: %q, %v", string(a.Proxy), err)
		}
	})
}

// A rotation that stops in the middle goes on where it was, and has opened sessions at
// any moment.
func TestResealStopped(t *testing.T) {
	eachRotation(t, 12, func(t *testing.T, r *rotation) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		report, err := r.registry(r.is).Reseal(ctx, accounts.ResealConfig{Batch: 5, Progress: func(done, _ int) {
			if done == 5 {
				cancel()
			}
		}})
		if !errors.Is(err, context.Canceled) || report.Total() != 5 {
			t.Fatalf("stopped: %+v, %v", report, err)
		}
		r.wantAll(t, r.both, 12) // half of it is the new key's
		if es, err := r.db.Events().List(t.Context(), db.EventFilter{Limit: 1}); err != nil || !strings.HasPrefix(es[0].Reason, "5 sealed anew") {
			t.Errorf("event %+v, %v", es, err)
		}
		report, err = r.registry(r.is).Reseal(t.Context(), accounts.ResealConfig{Batch: 5})
		if err != nil || report.Before != 5 || report.Total() != 8 {
			t.Errorf("the rest: %+v, %v", report, err)
		}
		r.wantAll(t, r.is, 12)
	})
}

// With a keyset that does not open everything nothing is overwritten.
func TestResealWrongKey(t *testing.T) {
	eachRotation(t, 3, func(t *testing.T, r *rotation) {
		ctx := t.Context()
		before := r.stored(t)
		other := newKeys(t)
		if _, err := r.registry(r.is).Add(ctx, accounts.Account{ID: "mixed"}, sessionOf(t, "mixed")); err != nil {
			t.Fatal(err)
		}
		for what, keys := range map[string]accounts.Keyset{"another key": other, "one of two keys": r.old} {
			var wrong *accounts.WrongKeyError
			if _, err := r.registry(keys).Reseal(ctx, accounts.ResealConfig{}); !errors.As(err, &wrong) || !errors.Is(err, accounts.ErrWrongKey) {
				t.Errorf("%s: %v, want a *WrongKeyError", what, err)
			} else if !strings.Contains(err.Error(), fmt.Sprint(keys.IDs()[0])) {
				t.Errorf("%s: %q does not say which keys there are", what, err)
			}
		}
		if got := r.stored(t); !slices.EqualFunc(before, slices.DeleteFunc(got, func(s accounts.Sealed) bool { return s.Account == "mixed" }), func(a, b accounts.Sealed) bool { return bytes.Equal(a.Sealed, b.Sealed) }) {
			t.Error("something was overwritten")
		}

		// What is damaged behind its first bytes is found, left, and told of.
		some, err := r.db.Accounts().Sealed(ctx, accounts.SealedSession, nil, "a01", 1)
		if err != nil {
			t.Fatal(err)
		}
		damaged := bytes.Clone(some[0].Sealed)
		damaged[len(damaged)-1] ^= 1
		if n, err := r.db.Accounts().Reseal(ctx, accounts.SealedSession, []accounts.Resealed{{Account: "a02", Was: some[0].Sealed, Is: damaged}}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		report, err := r.registry(r.is).Reseal(ctx, accounts.ResealConfig{})
		want := []accounts.Unopened{{Kind: accounts.SealedSession, Account: "a02"}}
		if err != nil || !slices.Equal(report.Unopened, want) || report.Total() != 3 {
			t.Errorf("report %+v, %v; want that a02 does not open", report, err)
		}
		if got, err := r.db.Accounts().Session(ctx, "a02"); err != nil || !bytes.Equal(got, damaged) {
			t.Errorf("what does not open was changed, %v", err)
		}
		state, err := r.registry(r.is).LookAtSealed(ctx)
		if err != nil || !slices.Equal(state.Unopened, want) || state.Opened != 4 {
			t.Errorf("a look: %d opened, %v not, %v", state.Opened, state.Unopened, err)
		}
	})
}

// CheckKey looks at all that is stored, and at the keys of workers.
func TestCheckKey(t *testing.T) {
	eachRotation(t, 3, func(t *testing.T, r *rotation) {
		ctx := t.Context()
		check := func(what string, keys accounts.Keyset, want any) {
			t.Helper()
			err := r.registry(keys).CheckKey(ctx)
			if want == nil && err != nil || want != nil && !errors.As(err, want) {
				t.Errorf("%s: %v, want %T", what, err, want)
			}
		}
		var (
			wrong  *accounts.WrongKeyError
			differ *accounts.KeysDifferError
		)
		check("the key", r.old, nil)
		check("one key more", r.both, nil)
		check("another key", newKeys(t), &wrong)
		if _, err := r.registry(r.is).Add(ctx, accounts.Account{ID: "z"}, sessionOf(t, "z")); err != nil {
			t.Fatal(err)
		}
		check("the first account's key only", r.old, &wrong)
		check("both keys", r.both, nil)

		register := func(worker string, keys accounts.KeyIDs, ttl time.Duration) {
			t.Helper()
			if err := r.db.Leases().Register(ctx, accounts.Worker{ID: worker, Weight: 1, Capacity: 1, Keys: keys}, ttl); err != nil {
				t.Fatal(err)
			}
		}
		register("w#1", r.both.IDs(), time.Hour)
		check("as the worker has it", r.both, nil)
		check("the other one seals", r.is, nil)
		third, id, err := r.both.Add()
		if err != nil {
			t.Fatal(err)
		}
		check("one key more than the worker", third, nil)
		promoted, err := third.Promote(id)
		if err != nil {
			t.Fatal(err)
		}
		check("one that the worker lacks seals", promoted, &differ)
		if differ == nil || differ.Worker != "w" || !strings.HasPrefix(differ.Error(), "worker w could not open what is sealed with key "+fmt.Sprint(id)) {
			t.Errorf("error %v", differ)
		}
		register("w#1", promoted.IDs(), time.Hour)
		check("the worker seals with one that this lacks", r.both, &differ)
		if !strings.HasPrefix(differ.Error(), "this keyset could not open") {
			t.Errorf("error %v", differ)
		}
		register("w#1", promoted.IDs(), 0)
		check("the worker is gone", r.both, nil)
		register("old#1", nil, time.Hour)
		check("a worker that does not tell", r.both, nil)
	})
}

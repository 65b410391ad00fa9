package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/login"
	"github.com/tgswitchboard/switchboard/accounts/sessionfile"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/peers"
)

// importer takes sessions over from other clients.
type importer struct {
	database databaseFlag
	key      keyFlags
	telegram telegramFlags
	noVerify bool
	second   bool
	settings settingsFlags
	template accounts.Account // what the accounts have in common

	env   *cli.Env
	cfg   login.Config
	store *db.DB
	keys  accounts.Keyset
}

func (im *importer) register(cmd *cobra.Command) {
	im.database.register(cmd)
	fs := cmd.Flags()
	im.key.register(fs)
	im.telegram.registerServers(cmd)
	im.settings.register(fs)
	fs.BoolVar(&im.noVerify, "no-verify", false, "do not ask Telegram whose the session is, and whether it accepts it")
	fs.BoolVar(&im.second, "second-session", false, "take a session of a user who has an account here already: two accounts then share that user's limits")
}

// open reads what the flags name. Nothing was asked of Telegram yet.
func (im *importer) open(ctx context.Context, env *cli.Env) (err error) {
	im.env = env
	if err := im.settings.apply(&im.template); err != nil {
		return err
	}
	fresh(&im.template)
	if !im.noVerify {
		if im.cfg, err = im.telegram.config(env); err != nil {
			return err
		}
	}
	if im.store, im.keys, err = openSealed(ctx, env, &im.database, &im.key); err != nil {
		return err
	}
	registry := accounts.NewRegistry(im.store.Accounts().By(cli.Operator()), im.keys)
	if err := checkKey(ctx, registry); err != nil { // one installation, one key
		return errors.Join(err, im.store.Close())
	}
	twice, err := registry.FillKeyIDs(ctx)
	if err != nil {
		return errors.Join(reached(err), im.store.Close())
	}
	for _, id := range twice {
		env.Log.Warn("the account has the same auth key as another one: Telegram ends a session that is used from two places; remove one of them", "account", id)
	}
	return nil
}

// entrant is a session that was found, as it becomes an account.
type entrant struct {
	sessionfile.Found
	self     login.Self // zero: not verified
	verified bool
}

// check asks Telegram whose the session is. One that is here already is not used: its
// worker may be connected.
func (im *importer) check(ctx context.Context, found sessionfile.Found) (entrant, error) {
	e := entrant{Found: found}
	has, err := im.store.Accounts().OfKey(ctx, found.Session.Key.IDText())
	if err == nil {
		return e, &accounts.DuplicateError{Account: has}
	}
	if !errors.Is(err, accounts.ErrNotFound) {
		return e, err
	}
	if im.noVerify {
		return e, nil
	}
	if found.Test && len(im.cfg.DCs) == 0 {
		return e, &refusal{errors.New("the session is of Telegram's test servers; name their addresses with --telegram.dc")}
	}
	e.self, e.Session, err = login.Verify(ctx, as(im.cfg, im.template), found.Session)
	switch {
	case ctx.Err() != nil:
		return e, ctx.Err()
	case errors.Is(err, accounts.ErrNeedsLogin):
		return e, &refusal{fmt.Errorf("the session is not accepted any more by Telegram (%w); log in again", err)}
	case err != nil:
		return e, &refusal{err}
	case found.UserID != 0 && found.UserID != e.self.UserID:
		return e, &refusal{fmt.Errorf("the file says that the session is user %d's, Telegram says user %d's: the file was put together from two", found.UserID, e.self.UserID)}
	}
	e.verified = true
	return e, nil
}

// refusal is why one session does not become an account. Others may.
type refusal struct{ err error }

func (e *refusal) Error() string { return e.err.Error() }
func (e *refusal) Unwrap() error { return e.err }

// add stores the account with its session and peers.
func (im *importer) add(ctx context.Context, id accounts.ID, e entrant) (accounts.Account, error) {
	a := im.template
	a.ID, a.UserID, a.Kind = id, e.UserID, e.kind()
	told := "imported from " + string(e.Format)
	if e.verified {
		a.UserID, a.Kind = e.self.UserID, e.self.Kind()
	} else {
		told += ", not verified"
	}
	store := im.store.Accounts().By(cli.Operator()).From(db.Origin{Told: told, Peers: e.known(a.UserID), SecondSession: im.second})
	added, err := accounts.NewRegistry(store, im.keys).Add(ctx, a, e.Session)
	if errors.Is(err, accounts.ErrExists) {
		return added, &refusal{fmt.Errorf("the name %s is taken by another account", id)}
	}
	return added, err
}

func (e entrant) kind() accounts.Kind {
	if e.Bot != nil && *e.Bot {
		return accounts.Bot
	}
	return accounts.User
}

// known is what the file says of peers, those that it learned last at the end: of two
// with one name it is theirs. The client that the file comes from would use them as they
// are, so they count as seen now.
func (e entrant) known(self int64) []peers.Peer {
	ps := slices.Clone(e.Peers)
	slices.SortStableFunc(ps, func(a, b peers.Peer) int { return a.SeenAt.Compare(b.SeenAt) })
	now := time.Now()
	for i := range ps {
		ps[i].SeenAt = now
		ps[i].Self = self != 0 && ps[i].Key == peers.Key{Kind: peers.User, ID: self}
	}
	return ps
}

// nth is the name of the nth account, from 0, of a file that has several.
func nth(name string, n int) string {
	if n == 0 {
		return name
	}
	return name + "-" + strconv.Itoa(n+1)
}

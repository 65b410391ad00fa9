package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
)

// setting is one run of `accounts set`.
type setting struct {
	database databaseFlag
	key      keyFlags
	settingsFlags
	noProxy, noApp bool
	noLabels       []string
	wait           time.Duration
}

func accountsSet(env *cli.Env) *cobra.Command {
	var s setting
	cmd := &cobra.Command{
		Use:   "set NAME",
		Short: "Change an account's proxy, application, device and labels",
		Long: `Change an account's settings; what no flag names stays as it is.

A new proxy, application or device is for the next connection, so the worker that holds
the account gives it back first, once its jobs in flight have ended, and a worker takes
it again at once: nothing is lost, and no two connections use the session. Labels take
effect by themselves: a worker that no longer serves them hands the account over.`,
		Example: `  worker accounts set alice --label region=eu --no-label trial
  SWITCHBOARD_PROXY=socks5://user:password@10.0.0.7:1080 worker accounts set alice
  worker accounts set alice --no-proxy`,
		Args: s.args(cli.Args("NAME")),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := accounts.ParseID(args[0])
			if err != nil {
				return cli.Usage("%w", err)
			}
			return s.run(cmd.Context(), env, id)
		},
	}
	s.database.register(cmd)
	fs := cmd.Flags()
	s.key.register(fs)
	s.register(fs)
	fs.BoolVar(&s.noProxy, "no-proxy", false, "connect directly")
	fs.BoolVar(&s.noApp, "no-app", false, "use the application of the worker")
	fs.StringArrayVar(&s.noLabels, "no-label", nil, "take the label with this `key` away; may be repeated")
	fs.DurationVar(&s.wait, "handover", 2*time.Minute, "wait this long at most for the worker to give the account back")
	return cmd
}

// change puts the flags into an account.
func (s *setting) change(a *accounts.Account) error {
	switch {
	case s.noProxy && (s.proxy != "" || s.proxyFile != ""):
		return cli.Usage("give a proxy or --no-proxy, not both")
	case s.noApp && (s.apiID != 0 || s.apiHashFile != ""):
		return cli.Usage("give an application or --no-app, not both")
	}
	if s.noProxy {
		a.Proxy = ""
	}
	if s.noApp {
		a.APIID, a.APIHash = 0, ""
	}
	if err := removeLabels(a, s.noLabels); err != nil {
		return err
	}
	return s.apply(a)
}

func (s *setting) run(ctx context.Context, env *cli.Env, id accounts.ID) error {
	if s.wait <= 0 {
		return cli.Usage("--handover=%v: give a time above 0", s.wait)
	}
	store, keys, err := openSealed(ctx, env, &s.database, &s.key)
	if err != nil {
		return err
	}
	defer store.Close()
	registry := accounts.NewRegistry(store.Accounts().By(cli.Operator()), keys)
	if err := registry.CheckKey(ctx); err != nil {
		return err // one installation, one key
	}
	was, err := registry.Account(ctx, id)
	if err != nil {
		return unknownAccount(ctx, store, string(id), err)
	}
	is := was
	if err := s.change(&is); err != nil {
		return err
	}
	names, connect := changed(was, is)
	if len(names) == 0 {
		return cli.Usage("account %s has these settings already; give a flag that changes one", id)
	}
	set := func(ctx context.Context) error {
		is, err = registry.Set(ctx, id, strings.Join(names, "; "), s.change)
		return err
	}
	if connect {
		err = s.borrowed(ctx, store, id, set)
	} else {
		err = set(ctx)
	}
	if err != nil {
		return fmt.Errorf("account %s was not changed: %w", id, err)
	}
	return printAccount(env, view(is))
}

// borrowed runs set while no worker holds the account.
func (s *setting) borrowed(ctx context.Context, store *db.DB, id accounts.ID, set func(context.Context) error) error {
	err := accounts.Borrow(ctx, store.Leases(), cli.Operator(), id, accounts.BorrowConfig{Wait: s.wait}, set)
	if errors.Is(err, accounts.ErrReserved) {
		return errors.New("it is used by another command; try again when that has ended, or in a few minutes")
	}
	return err
}

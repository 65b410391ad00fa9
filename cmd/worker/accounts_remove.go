package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/login"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs"
)

// removal is one `accounts remove`.
type removal struct {
	database databaseFlag
	redis    string
	key      keyFlags
	telegram telegramFlags

	logOut   bool
	withJobs bool
	yes      bool
	reason   string
	wait     time.Duration

	env     *cli.Env
	store   *db.DB
	jobs    *jobs.Client
	account accounts.Account
	session func(ctx context.Context) error // ends the session at Telegram; nil: it goes on there
	left    int                             // jobs on the line at last
}

// removed is what a removal prints.
type removed struct {
	Account   accounts.ID `json:"account"`
	UserID    int64       `json:"user_id,omitempty"`
	LoggedOut bool        `json:"logged_out"`
	Jobs      int         `json:"jobs_cancelled"`
	Left      int         `json:"jobs_left,omitempty"`
}

func accountsRemove(env *cli.Env) *cobra.Command {
	r := removal{env: env}
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove an account, its session and all that it knows of peers",
		Long: `Remove an account: its session, its settings, its access hashes and its flood waits.
Outcomes of its jobs stay as long as outcomes are kept, and so does what was done with
the account in 'worker accounts events'. There is no way back: keep the session with
'worker accounts export' first.

An account that has jobs on its line is not removed, unless --with-jobs cancels them
first: the account is paused, the worker that holds it gives every job its outcome,
and only then the account goes. Jobs that are being run end as they do when an account
is paused.

The session goes on at Telegram, unless --log-out ends it there. That waits until no
worker uses the session. If Telegram cannot be reached or refuses, the account stays.`,
		Example: "  worker accounts remove alice\n  worker accounts remove alice --log-out --with-jobs --yes",
		Args:    cli.Args("NAME"),
		RunE:    func(cmd *cobra.Command, args []string) error { return r.run(cmd.Context(), accounts.ID(args[0])) },
	}
	r.database.register(cmd)
	fs := cmd.Flags()
	cli.RedisVar(fs, &r.redis)
	fs.BoolVar(&r.logOut, "log-out", false, "end the session at Telegram, too; needs the key and --telegram.api-id")
	fs.BoolVar(&r.withJobs, "with-jobs", false, "cancel the jobs on the account's line")
	fs.BoolVar(&r.yes, "yes", false, "do not ask")
	fs.StringVar(&r.reason, "reason", "", "`text` that stays in the account's events")
	fs.DurationVar(&r.wait, "wait", 2*time.Minute, "how long to wait for the account's worker to end jobs, and to give the account back")
	r.key.register(fs)
	r.telegram.registerServers(cmd)
	return cmd
}

func (r *removal) run(ctx context.Context, id accounts.ID) (err error) {
	if r.wait <= 0 {
		return cli.Usage("--wait has to be more than 0, such as 2m")
	}
	cfg, keys, err := r.secrets(ctx)
	if err != nil {
		return err
	}
	if r.store, err = r.database.openCurrent(ctx, r.env); err != nil {
		return err
	}
	defer r.store.Close()
	if r.account, err = r.store.Accounts().Account(ctx, id); err != nil {
		return unknownAccount(ctx, r.store, string(id), err)
	}
	if r.logOut {
		registry := accounts.NewRegistry(r.store.Accounts(), keys)
		if r.account, err = registry.Account(ctx, id); err != nil { // with its proxy
			return err
		}
		s, err := registry.Session(ctx, id)
		if err != nil {
			return err
		}
		r.session = func(ctx context.Context) error { return login.LogOut(ctx, as(cfg, r.account), s) }
	}
	rdb, err := openRedis(ctx, r.env, r.redis) // without it nobody knows what is on the line
	if err != nil {
		return err
	}
	defer rdb.Close()
	r.jobs = jobs.NewClient(rdb)
	defer r.jobs.Close()

	if err := r.mayGo(ctx); err != nil {
		return err
	}
	if err := r.confirm(ctx); err != nil {
		return err
	}
	done := removed{Account: id, UserID: r.account.UserID, LoggedOut: r.logOut}
	if r.left > 0 {
		if done.Jobs, err = r.endJobs(ctx); err != nil {
			return err
		}
	}
	if err := r.remove(ctx); err != nil {
		return err
	}
	return r.report(ctx, done)
}

// secrets reads what a log-out needs.
func (r *removal) secrets(ctx context.Context) (cfg login.Config, keys accounts.Keyset, err error) {
	if !r.logOut {
		return cfg, keys, nil
	}
	if cfg, err = r.telegram.config(r.env); err != nil {
		return cfg, keys, err
	}
	keys, err = r.key.load(ctx, r.env, r.database.devKey())
	return cfg, keys, err
}

// mayGo refuses an account that has jobs, unless they are to be cancelled and somebody
// is there to do it.
func (r *removal) mayGo(ctx context.Context) error {
	id := r.account.ID
	on, err := r.jobs.List(ctx, jobs.Filter{Account: id, Limit: aLook})
	if err != nil {
		return err
	}
	r.left = len(on)
	switch {
	case r.left == 0:
		return nil
	case !r.withJobs:
		return fmt.Errorf("account %s has %s on its line, see 'enqueue list --account %s'; wait for them, or cancel them with --with-jobs", id, atLeastJobs(r.left), id)
	}
	seen, err := lookAt(ctx, r.store)
	if err != nil {
		return err
	}
	vs, err := seen.views(ctx, []accounts.Account{r.account})
	if err != nil {
		return err
	}
	if why := vs[0].Unserved; why != "" {
		return fmt.Errorf("account %s has %s on its line, and nobody can give them an outcome: %s; start a worker that serves it", id, atLeastJobs(r.left), why)
	}
	return nil
}

// aLook is how many jobs of a line are looked at.
const aLook = 100

// atLeastJobs counts what one look at a line shows.
func atLeastJobs(n int) string {
	if n >= aLook {
		return fmt.Sprintf("%d jobs or more", n)
	}
	return plural(n, "job")
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// confirm wants the account's name once more.
func (r *removal) confirm(ctx context.Context) error {
	if r.yes {
		return nil
	}
	id := r.account.ID
	if !cli.IsTerminal(r.env.Stdin) {
		return cli.Usage("removing account %s cannot be undone; --yes says that you mean it", id)
	}
	known, err := r.store.Peers().CountPeers(ctx, id)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("Remove account %s, user %s, which knows %d peers", id, cmp.Or(number(r.account.UserID), "unknown"), known)
	if r.logOut {
		what += ", and log it out"
	}
	fmt.Fprintf(r.env.Stderr, "%s?\nThis cannot be undone. Type the account's name: ", what)
	line, err := readLine(ctx, r.env.Stdin)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil || line != string(id):
		return fmt.Errorf("account %s was not removed: its name was not confirmed", id)
	}
	return nil
}

// endJobs pauses the account and cancels its jobs, until its worker has given all of
// them their outcome. It returns how many it has cancelled.
func (r *removal) endJobs(ctx context.Context) (cancelled int, err error) {
	id := r.account.ID
	if !r.account.Status.Parked() {
		if err := r.store.Accounts().By(cli.Operator()).SetStatus(ctx, id, accounts.Paused, "it is being removed"); err != nil {
			return 0, err
		}
		defer func() {
			if err != nil {
				err = fmt.Errorf("%w; account %s stays, paused", err, id)
			}
		}()
	}
	limit := time.NewTimer(r.wait)
	defer limit.Stop()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for first := true; ; first = false {
		n, left, err := r.jobs.CancelAll(ctx, id)
		cancelled += n
		if err != nil || left == 0 {
			return cancelled, err
		}
		if first {
			r.env.Log.Info("waiting for the account's worker to end its jobs", "account", id)
		}
		select {
		case <-ctx.Done():
			return cancelled, ctx.Err()
		case <-limit.C:
			return cancelled, fmt.Errorf("account %s still has %d jobs on its line after %v; look at them with 'enqueue list --account %s'", id, left, r.wait, id)
		case <-tick.C:
		}
	}
}

// remove ends the session, if that is wanted, and then the account.
func (r *removal) remove(ctx context.Context) error {
	id := r.account.ID
	told := r.reason
	if !r.logOut {
		return r.store.Accounts().By(cli.Operator()).Remove(ctx, id, told)
	}
	told = strings.TrimPrefix(told+"; logged out at Telegram", "; ")
	var held *accounts.HeldError
	err := accounts.Borrow(ctx, r.store.Leases(), cli.Operator(), id, accounts.BorrowConfig{Wait: r.wait}, func(ctx context.Context) error {
		if err := r.session(ctx); err != nil {
			return fmt.Errorf("account %s was not logged out, and stays: %w", id, err)
		}
		// Its session is worth nothing now, whatever happens to this program.
		err := r.store.Accounts().By(cli.Operator()).Remove(context.WithoutCancel(ctx), id, told)
		if err != nil {
			return fmt.Errorf("account %s is logged out but was not removed: %w", id, err)
		}
		return nil
	})
	switch {
	case errors.Is(err, accounts.ErrReserved):
		return fmt.Errorf("account %s is used by another command; try again when that has ended, or in a few minutes", id)
	case errors.As(err, &held):
		return fmt.Errorf("account %s was not logged out, and stays: %w", id, held)
	}
	return err
}

// report tells what was done, and what is left to do.
func (r *removal) report(ctx context.Context, done removed) error {
	id := done.Account
	if err := r.jobs.Forget(ctx, id); err != nil {
		r.env.Log.Warn("producers are not told yet that the account is gone", "account", id, "error", err)
	}
	on, err := r.jobs.List(ctx, jobs.Filter{Account: id, Limit: aLook})
	if err != nil {
		r.env.Log.Warn("the account's line was not looked at again", "account", id, "error", err)
	}
	done.Left = len(on)
	if done.Left > 0 {
		r.env.Log.Warn("jobs came while the account was removed; they wait until there is an account of this name again", "account", id, "jobs", atLeastJobs(done.Left))
	}
	if err := r.env.Out.Object(done); err != nil {
		return err
	}
	text := fmt.Sprintf("removed account %s", id)
	if done.Jobs > 0 {
		text += "; cancelled " + plural(done.Jobs, "job")
	}
	if done.LoggedOut {
		text += "; it is logged out"
	} else {
		text += "; its session goes on at Telegram, until it is ended there (Settings, Devices)"
	}
	return r.env.Out.Printf("%s\n", text)
}

// as is cfg for an account: through its proxy, and as its worker shows it.
func as(cfg login.Config, a accounts.Account) login.Config {
	cfg.Proxy, cfg.Device = a.Proxy, a.Device
	if a.APIID != 0 {
		cfg.APIID, cfg.APIHash = a.APIID, cmp.Or(string(a.APIHash), cfg.APIHash)
	}
	cfg.Device.AppVersion = cmp.Or(cfg.Device.AppVersion, cli.ReadVersion().Version)
	return cfg
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
)

func accountsCommand(env *cli.Env) *cobra.Command {
	cmd := &cobra.Command{Use: "accounts", Short: "Add, log in, list, show, pause, resume and pace accounts, and what happened to them"}
	cmd.AddCommand(
		accountsAdd(env),
		accountsLogin(env),
		accountsList(env),
		accountsShow(env),
		accountsEvents(env),
		accountsSetStatus(env, "pause", "Let an account's jobs wait", accounts.Paused),
		accountsSetStatus(env, "resume", "Let an account's jobs run again", accounts.Active),
		accountsPace(env),
		accountsRotateKey(env),
		accountsSet(env),
		accountsImport(env),
		accountsExport(env),
		accountsRemove(env),
	)
	return cmd
}

func accountsAdd(env *cli.Env) *cobra.Command {
	var (
		database databaseFlag
		key      keyFlags
		session  string
		kind     string
		settings settingsFlags
		a        accounts.Account
	)
	cmd := &cobra.Command{
		Use:   "add NAME --session FILE",
		Short: "Add an account with a prepared session",
		Long: `Add an account whose session exists already, as the JSON file that gotd's
session.FileStorage writes. '-' reads it from stdin.

The session is stored sealed with the key of --key-file; a worker that runs picks
the account up within seconds.`,
		Example: "  worker accounts add alice --session alice.json --label region=eu",
		Args:    settings.args(cli.Args("NAME")),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := accounts.ParseID(args[0])
			if err != nil {
				return cli.Usage("%w", err)
			}
			a.ID = id
			if a.Kind, err = accounts.ParseKind(kind); err != nil {
				return cli.Usage("--kind: %w", err)
			}
			if err := settings.apply(&a); err != nil {
				return err
			}
			fresh(&a)
			s, err := readSession(env, session)
			if err != nil {
				return cli.Usage("--session %s: %w", session, err)
			}
			store, keys, err := openSealed(cmd.Context(), env, &database, &key)
			if err != nil {
				return err
			}
			defer store.Close()
			registry := accounts.NewRegistry(store.Accounts().By(cli.Operator()), keys)
			if err := registry.CheckKey(cmd.Context()); err != nil {
				return err // one installation, one key
			}
			added, err := registry.Add(cmd.Context(), a, s)
			if err != nil {
				return err
			}
			return printAccount(env, view(added))
		},
	}
	database.register(cmd)
	fs := cmd.Flags()
	key.register(fs)
	fs.StringVar(&session, "session", "", "`file` with the prepared session (gotd's JSON), or - for stdin")
	fs.StringVar(&kind, "kind", string(accounts.User), "user or bot")
	settings.register(fs)
	_ = cmd.MarkFlagRequired("session")
	return cmd
}

// readSession takes a file of at most a few kilobytes.
func readSession(env *cli.Env, file string) (accounts.Session, error) {
	in := env.Stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return accounts.Session{}, err
		}
		defer f.Close()
		in = f
	}
	const limit = 64 << 10
	data, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err != nil {
		return accounts.Session{}, err
	}
	defer clear(data)
	if len(data) > limit {
		return accounts.Session{}, fmt.Errorf("it is larger than %d KiB, so it is no session", limit>>10)
	}
	return accounts.ParseSession(data)
}

func accountsList(env *cli.Env) *cobra.Command {
	var (
		database databaseFlag
		status   string
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List accounts",
		Args:  cli.Args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if status != "" {
				if _, err := accounts.ParseStatus(status); err != nil {
					return cli.Usage("--status: %w", err)
				}
			}
			store, err := database.openCurrent(ctx, env)
			if err != nil {
				return err
			}
			defer store.Close()
			seen, err := lookAt(ctx, store)
			if err != nil {
				return err
			}
			table := env.Out.Table("ACCOUNT", "KIND", "STATUS", "USER ID", "DC", "LABELS", "WORKER", "REASON")
			for after := accounts.ID(""); ; {
				page, err := store.Accounts().Accounts(ctx, after, 1000)
				if err != nil {
					return err
				}
				vs, err := seen.views(ctx, page)
				if err != nil {
					return err
				}
				for _, a := range vs {
					after = a.ID
					if status != "" && a.Status != accounts.Status(status) {
						continue
					}
					if err := env.Out.Object(a); err != nil {
						return err
					}
					table.Row(string(a.ID), string(a.Kind), a.status(), number(a.UserID), strconv.Itoa(a.DC), accounts.Labels(a.Labels).String(), a.Worker, cmp.Or(a.Reason, a.Unserved))
				}
				if len(page) < 1000 {
					return table.Flush()
				}
			}
		},
	}
	database.register(cmd)
	cmd.Flags().StringVar(&status, "status", "", "list only accounts that are `active`, paused, restricted, frozen, needs_login or banned")
	return cmd
}

func accountsShow(env *cli.Env) *cobra.Command {
	var database databaseFlag
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show one account, its flood waits, its latest events and how many peers it knows",
		Args:  cli.Args("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			store, err := database.openCurrent(ctx, env)
			if err != nil {
				return err
			}
			defer store.Close()
			a, err := store.Accounts().Account(ctx, accounts.ID(args[0]))
			if err != nil {
				return unknownAccount(ctx, store, args[0], err)
			}
			known, err := store.Peers().CountPeers(ctx, a.ID)
			if err != nil {
				return err
			}
			seen, err := lookAt(ctx, store)
			if err != nil {
				return err
			}
			vs, err := seen.views(ctx, []accounts.Account{a})
			if err != nil {
				return err
			}
			vs[0].KnownPeers = known
			if vs[0].Floods, err = store.Floods().Floods(ctx, a.ID); err != nil {
				return err
			}
			if vs[0].Events, err = store.Events().List(ctx, db.EventFilter{Account: a.ID, Limit: shownEvents}); err != nil {
				return err
			}
			if err := printAccount(env, vs[0]); err != nil {
				return err
			}
			for _, f := range vs[0].Floods {
				if err := env.Out.Printf("flood wait: %s until %s (%s)\n", f.What(), cli.Time(f.Until), f.Error); err != nil {
					return err
				}
			}
			table := env.Out.Table()
			for _, e := range vs[0].Events {
				table.Row(eventCells(e)...)
			}
			return table.Flush()
		},
	}
	database.register(cmd)
	return cmd
}

// shownEvents is how many events are shown with an account.
const shownEvents = 10

func accountsSetStatus(env *cli.Env, verb, short string, status accounts.Status) *cobra.Command {
	var (
		database databaseFlag
		reason   string
	)
	cmd := &cobra.Command{
		Use:   verb + " NAME",
		Short: short,
		Long:  short + ". The worker that holds the account acts within seconds; nothing is lost.",
		Args:  cli.Args("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			store, err := database.openCurrent(ctx, env)
			if err != nil {
				return err
			}
			defer store.Close()
			id := accounts.ID(args[0])
			var refused *accounts.StatusError
			err = store.Accounts().By(cli.Operator()).SetStatus(ctx, id, status, reason)
			if errors.As(err, &refused) {
				return fmt.Errorf("account %s is %s already: its jobs wait until 'worker accounts resume %s'", id, refused.Has, id)
			}
			if err != nil {
				return unknownAccount(ctx, store, args[0], err)
			}
			a, err := store.Accounts().Account(ctx, id)
			if err != nil {
				return err
			}
			return printAccount(env, view(a))
		},
	}
	database.register(cmd)
	if status != accounts.Active {
		cmd.Flags().StringVar(&reason, "reason", "", "`text` that is shown with the account")
	}
	return cmd
}

// unknownAccount adds to ErrNotFound which accounts there are.
func unknownAccount(ctx context.Context, store *db.DB, name string, err error) error {
	if !errors.Is(err, accounts.ErrNotFound) {
		return err
	}
	some, lerr := store.Accounts().Accounts(ctx, "", 6)
	if lerr != nil {
		return lerr
	}
	if len(some) == 0 {
		return fmt.Errorf("there is no account %q, nor any other; add one with 'worker accounts add'", name)
	}
	var names []string
	for _, a := range some[:min(len(some), 5)] {
		names = append(names, string(a.ID))
	}
	if len(some) > 5 {
		names = append(names, "…")
	}
	return fmt.Errorf("there is no account %q; there are %s", name, strings.Join(names, ", "))
}

// accountView is an account as it is shown, with what else is known of it.
type accountView struct {
	accounts.Account
	KnownPeers int    `json:"known_peers,omitempty"`
	Worker     string `json:"worker,omitempty"`   // that holds it
	Unserved   string `json:"unserved,omitempty"` // why no worker will

	Events       []accounts.Event `json:"events,omitempty"`       // the latest
	FloodedUntil time.Time        `json:"flooded_until,omitzero"` // all its calls wait until then
	Floods       []accounts.Flood `json:"floods,omitempty"`       // in `show`
}

// flooded shows an active account whose calls all wait.
func (v *accountView) flooded(f accounts.Flood) {
	if v.Status == accounts.Active && !f.Until.IsZero() {
		v.Status, v.Reason, v.FloodedUntil = accounts.Flooded, cmp.Or(v.Reason, f.Error), f.Until
	}
}

// status is as tables show it.
func (v accountView) status() string {
	if v.FloodedUntil.IsZero() {
		return string(v.Status)
	}
	return string(v.Status) + " until " + cli.Time(v.FloodedUntil)
}

func view(a accounts.Account) accountView {
	return accountView{Account: a}
}

// look is one look at who holds accounts.
type look struct {
	leases   *db.Leases
	floods   *db.Floods
	unserved func(accounts.Account) string
}

func lookAt(ctx context.Context, store *db.DB) (look, error) {
	fleet, err := store.Leases().Fleet(ctx, "a list of accounts")
	return look{leases: store.Leases(), floods: store.Floods(), unserved: fleet.WhyUnserved()}, err
}

// views shows accounts that were listed by name.
func (l look) views(ctx context.Context, as []accounts.Account) ([]accountView, error) {
	if len(as) == 0 {
		return nil, nil
	}
	holders, err := l.leases.Holders(ctx, as[0].ID, as[len(as)-1].ID)
	if err != nil {
		return nil, err
	}
	floods, err := l.floods.Flooded(ctx, as[0].ID, as[len(as)-1].ID)
	if err != nil {
		return nil, err
	}
	vs := make([]accountView, len(as))
	for i, a := range as {
		vs[i] = view(a)
		worker := holders[a.ID]
		vs[i].Worker = worker[:max(0, strings.LastIndexByte(worker, '#'))] // less its incarnation
		if vs[i].Worker == "" {
			vs[i].Unserved = l.unserved(a)
		}
		vs[i].flooded(floods[a.ID])
	}
	return vs, nil
}

func printAccount(env *cli.Env, a accountView) error {
	if env.Out.JSON {
		return env.Out.Object(a)
	}
	t := env.Out.Table()
	for _, row := range [][2]string{
		{"account", string(a.ID)}, {"kind", string(a.Kind)}, {"status", a.status()}, {"since", cli.Time(a.Since)}, {"reason", a.Reason},
		{"worker", a.Worker}, {"unserved", a.Unserved},
		{"user id", number(a.UserID)}, {"auth key id", a.KeyID}, {"data center", strconv.Itoa(a.DC)}, {"proxy", a.Proxy.String()}, {"application", number(int64(a.APIID))}, {"device", deviceText(a.Device)},
		{"labels", accounts.Labels(a.Labels).String()}, {"pace", a.Pace.String()}, {"known peers", number(int64(a.KnownPeers))}, {"added", cli.Time(a.CreatedAt)},
	} {
		if row[1] != "" {
			t.Row(row[0], row[1])
		}
	}
	return t.Flush()
}

func number(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

func printMigrations(ctx context.Context, env *cli.Env, store *db.DB) error {
	status, err := store.MigrationStatus(ctx)
	if err != nil {
		return err
	}
	table := env.Out.Table("VERSION", "MIGRATION", "APPLIED")
	for _, m := range status {
		if err := env.Out.Object(m); err != nil {
			return err
		}
		applied := "no"
		if !m.AppliedAt.IsZero() {
			applied = m.AppliedAt.Local().Format(time.DateTime)
		}
		table.Row(strconv.FormatInt(m.Version, 10), m.Name, applied)
	}
	return table.Flush()
}

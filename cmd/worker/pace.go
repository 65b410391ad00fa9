package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/internal/cli"
)

// paceFlags say how fast accounts may be that have no pace of their own.
type paceFlags struct{ users, bots paceValue }

func (f *paceFlags) register(fs *pflag.FlagSet) {
	f.users.Pace, f.bots.Pace = accounts.DefaultPace(accounts.User), accounts.DefaultPace(accounts.Bot)
	fs.Var(&f.bots, "pace-bots", "how fast bots may be, as 'messages=10/s chat=off'; of all, messages, chat, group and resolves what is not named stays")
	fs.Var(&f.users, "pace-users", "the same for users (default: no limits)")
}

func (f *paceFlags) config(cfg *pool.Config) { cfg.PaceUsers, cfg.PaceBots = f.users.Pace, f.bots.Pace }

// paceValue is a pace as a flag. What is set goes on top of what it has.
type paceValue struct{ accounts.Pace }

var _ pflag.Value = (*paceValue)(nil)

// Set implements pflag.Value.
func (v *paceValue) Set(text string) (err error) {
	v.Pace, err = v.With(text)
	return err
}

// Type implements pflag.Value.
func (*paceValue) Type() string { return "pace" }

func accountsPace(env *cli.Env) *cobra.Command {
	var database databaseFlag
	cmd := &cobra.Command{
		Use:   "pace NAME [LIMIT...|default]",
		Short: "Set how fast an account may be",
		Long: `Set how fast an account may be, in place of what its worker's --pace-bots or
--pace-users says. A LIMIT is one of

  messages=5/s    messages that are sent, forwarded or edited
  chat=20/m       of these, those of each private chat; Saved Messages are not limited
  group=20/m:5    of these, those of each group and channel; up to 5 at once
  resolves=10/m   questions about usernames, phones and invites
  all=10/s        calls of any kind

for each s, m, h or d, or NAME=off for no limit, or NAME=default for the worker's. What
is not named stays as it is; 'default' alone takes all back. Without a LIMIT the account
is shown. The worker that holds the account acts within seconds, and nothing is lost:
jobs that wait already may do so for up to 5 minutes more.`,
		Example: "  worker accounts pace newsbot messages=10/s group=off",
		Args: func(cmd *cobra.Command, args []string) error {
			return cli.Args("NAME")(cmd, args[:min(len(args), 1)])
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			limits := strings.Join(args[1:], " ")
			if _, err := accounts.ParsePace(limits); err != nil {
				return cli.Usage("%w", err)
			}
			store, err := database.openCurrent(ctx, env)
			if err != nil {
				return err
			}
			defer store.Close()
			a, err := store.Accounts().Account(ctx, accounts.ID(args[0]))
			if err != nil {
				return unknownAccount(ctx, store, args[0], err)
			}
			if limits != "" {
				if a.Pace, err = a.Pace.With(limits); err != nil {
					return cli.Usage("%w", err)
				}
				if err := store.Accounts().SetPace(ctx, a.ID, a.Pace); err != nil {
					return unknownAccount(ctx, store, args[0], err)
				}
			}
			return printAccount(env, view(a))
		},
	}
	database.register(cmd)
	return cmd
}

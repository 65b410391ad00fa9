package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/cli"
)

// resealed is the report of `accounts rotate-key`.
type resealed struct {
	Key      uint32     `json:"key"`
	Sessions int        `json:"sessions"` // sealed anew
	Settings int        `json:"settings"`
	Before   int        `json:"already"` // were sealed with the key before
	Changed  int        `json:"changed_meanwhile"`
	Unopened []unopened `json:"unopened,omitempty"`
}

func accountsRotateKey(env *cli.Env) *cobra.Command {
	var (
		database databaseFlag
		key      keyFlags
		despite  bool
	)
	cmd := &cobra.Command{
		Use:   "rotate-key",
		Short: "Seal all sessions and settings anew with the key that seals now",
		Long: `Seal everything that is sealed in the database anew, with the key of the keyset that
seals: see 'worker key add' and 'worker key promote', which come first. Workers go on
meanwhile, and no account is interrupted. It can be stopped, and goes on where it was.

Nothing is changed if the keyset does not open what is stored, or a worker runs that
seals with another key.`,
		Example: "  worker accounts rotate-key --key-file /etc/switchboard/key.json",
		Args:    cli.Args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			store, keys, err := openSealed(ctx, env, &database, &key)
			if err != nil {
				return err
			}
			defer store.Close()
			cfg := accounts.ResealConfig{Lagging: despite}
			bar, end := countBar(env, "sealed", 0)
			if bar != nil {
				cfg.Progress = func(done, total int) {
					bar.SetTotal(int64(total), false)
					bar.SetCurrent(int64(done))
				}
			}
			report, err := accounts.NewRegistry(store.Accounts().By(cli.Operator()), keys).Reseal(ctx, cfg)
			end()
			var lagging *accounts.LaggingError
			if errors.As(err, &lagging) {
				return fmt.Errorf("%w, or give --despite-workers and run this again afterwards", err)
			}
			if errors.Is(err, accounts.ErrWrongKey) {
				return fmt.Errorf("%w; nothing was changed", err)
			}
			if err != nil && report.Total() == 0 {
				return reached(err)
			}
			return errors.Join(reached(err), printResealed(env, report))
		},
	}
	database.register(cmd)
	key.register(cmd.Flags())
	cmd.Flags().BoolVar(&despite, "despite-workers", false, "begin although workers seal with another key, or do not tell")
	return cmd
}

func printResealed(env *cli.Env, r accounts.ResealReport) error {
	out := resealed{Key: r.Key, Sessions: r.Resealed[accounts.SealedSession], Settings: r.Resealed[accounts.SealedSettings], Before: r.Before, Changed: r.Changed}
	var names []string
	for _, u := range r.Unopened {
		out.Unopened = append(out.Unopened, unopened(u))
		names = append(names, fmt.Sprintf("%s of %s", u.Kind, u.Account))
	}
	if err := env.Out.Object(out); err != nil {
		return err
	}
	if err := env.Out.Printf("%d sessions and %d settings sealed anew with key %d; %d were before\n", out.Sessions, out.Settings, out.Key, out.Before); err != nil {
		return err
	}
	if len(names) > 0 {
		return fmt.Errorf("%s do not open, and stay as they are: %s", strconv.Itoa(len(names)), strings.Join(names, ", "))
	}
	return nil
}

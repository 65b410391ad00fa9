package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/apikey"
)

func keysCommand(env *cli.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Make, list and revoke the API keys of the HTTP gateway",
		Long: `API keys are what producers show to "enqueue serve". The database keeps a key's
hash, what it may do, who made it and who revoked it; the key itself is shown once,
when it is made.`,
	}
	cmd.AddCommand(keysCreate(env), keysList(env), keysRevoke(env))
	return cmd
}

// keyFlags name the database that keys are in.
type keyFlags struct{ database string }

func (f *keyFlags) register(fs *pflag.FlagSet) {
	cli.DatabaseVar(fs, &f.database, "where API keys are")
}

// with runs do with the keys in the database.
func (f *keyFlags) with(ctx context.Context, env *cli.Env, do func(*db.APIKeys) error) error {
	return withDatabase(ctx, env, f.database, "API keys", func(o *db.Outcomes) error { return do(o.APIKeys()) })
}

// keyLine is a key as a line of JSON.
type keyLine struct {
	apikey.Key
	Secret string `json:"key,omitempty"` // when it is made
}

func keysCreate(env *cli.Env) *cobra.Command {
	var f keyFlags
	var accounts, kinds, methods []string
	var rate, expires, webhook string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a key, and show it once",
		Long: `Make a key that producers send to "enqueue serve" as Authorization: Bearer KEY.
A name stands for one key for good, so that logs can be read.

The key is for accounts whose names match --accounts, and for jobs of --kinds alone;
a batch needs the kinds of its calls too. Raw calls need the kind invoke and
--methods.`,
		Example: `  enqueue keys create shop --accounts 'support-*' --kinds send,resolve
  enqueue keys create crm --accounts '*' --kinds send,batch,invoke --methods 'messages.get*,users.*' --rate 20/s --expires 2160h`,
		Args: cli.Args("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			secret := apikey.NewSecret()
			k := apikey.Key{Name: args[0], Hash: secret.Hash(), CreatedBy: cli.Operator()}
			k.Accounts, k.Methods, k.Webhook = accounts, methods, webhook
			for _, kind := range kinds {
				k.Kinds = append(k.Kinds, jobs.Kind(kind))
			}
			var err error
			if k.Rate, err = perSecond(rate); err != nil {
				return err
			}
			if k.ExpiresAt, err = expiry(expires, time.Now()); err != nil {
				return err
			}
			if err := k.Validate(); err != nil {
				return cli.Usage("%w", err)
			}
			return f.with(cmd.Context(), env, func(keys *db.APIKeys) error {
				err := keys.Create(cmd.Context(), k)
				if errors.Is(err, apikey.ErrExists) {
					return fmt.Errorf("there is, or was, a key %q; give another name", k.Name)
				}
				if err != nil {
					return err
				}
				if env.Out.JSON {
					return env.Out.Object(keyLine{k, secret.Reveal()})
				}
				fmt.Fprintf(env.Stderr, "key %s; it is not shown again:\n", k.Name)
				return env.Out.Printf("%s\n", secret.Reveal())
			})
		},
	}
	f.register(cmd.Flags())
	fs := cmd.Flags()
	fs.StringSliceVar(&accounts, "accounts", nil, "`patterns` of names of accounts; * stands for any text")
	fs.StringSliceVar(&kinds, "kinds", nil, "`kinds` of jobs: send, resolve, batch, sync, invoke")
	fs.StringSliceVar(&methods, "methods", nil, "`patterns` of names of raw methods, for the kind invoke")
	fs.StringVar(&rate, "rate", "100/s", "`limit` of jobs and requests on one gateway, such as 20/s or 30/m")
	fs.StringVar(&webhook, "webhook", "", "`URL` that is told of the outcomes of its jobs, if they name none themselves")
	fs.StringVar(&expires, "expires", "", "`time` when it ends: 2027-01-31T00:00:00Z, or 720h from now; default never")
	_ = cmd.MarkFlagRequired("accounts")
	_ = cmd.MarkFlagRequired("kinds")
	return cmd
}

// perSecond reads a limit such as 20/s.
func perSecond(text string) (float64, error) {
	number, unit, _ := strings.Cut(text, "/")
	n, err := strconv.ParseFloat(number, 64)
	per := map[string]float64{"s": 1, "m": 60, "h": 3600}[unit]
	if err != nil || per == 0 || !(n > 0) {
		return 0, cli.Usage("--rate=%s: give a limit such as 20/s or 30/m", text)
	}
	return n / per, nil
}

// expiry reads a time, or how long from now it is.
func expiry(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return now.Add(d).UTC(), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || !t.After(now) || t.Year() > 9999 {
		return t, cli.Usage("--expires=%s: give a time in the future as 2027-01-31T00:00:00Z, or how long from now it is as 720h", text)
	}
	return t, nil
}

func keysList(env *cli.Env) *cobra.Command {
	var f keyFlags
	var all bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List keys",
		Example: "  enqueue keys list --all --database postgres://admin@db/switchboard",
		Args:    cli.Args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.with(cmd.Context(), env, func(keys *db.APIKeys) error {
				found, err := keys.List(cmd.Context())
				if err != nil {
					return err
				}
				now := time.Now()
				found = slices.DeleteFunc(found, func(k apikey.Key) bool { return !all && !k.Valid(now) })
				return printKeys(env.Out, found, now)
			})
		},
	}
	f.register(cmd.Flags())
	cmd.Flags().BoolVar(&all, "all", false, "those that are revoked or have expired too")
	return cmd
}

func printKeys(out *cli.Out, keys []apikey.Key, now time.Time) error {
	if len(keys) == 0 {
		return out.Printf("no keys\n")
	}
	t := out.Table("NAME", "ACCOUNTS", "KINDS", "METHODS", "RATE", "MADE", "BY", "ENDS")
	for _, k := range keys {
		if err := out.Object(keyLine{Key: k}); err != nil {
			return err
		}
		kinds := make([]string, len(k.Kinds))
		for i, kind := range k.Kinds {
			kinds[i] = string(kind)
		}
		ends := cli.Time(k.ExpiresAt)
		switch {
		case !k.RevokedAt.IsZero():
			ends = "revoked " + cli.Time(k.RevokedAt) + " by " + k.RevokedBy
		case !k.Valid(now):
			ends = "expired " + ends
		}
		t.Row(k.Name, strings.Join(k.Accounts, ","), strings.Join(kinds, ","), strings.Join(k.Methods, ","),
			strconv.FormatFloat(k.Rate, 'g', 4, 64)+"/s", cli.Time(k.CreatedAt), k.CreatedBy, ends)
	}
	return t.Flush()
}

func keysRevoke(env *cli.Env) *cobra.Command {
	var f keyFlags
	cmd := &cobra.Command{
		Use:     "revoke NAME...",
		Short:   "End keys: a second later they open nothing on any gateway",
		Example: "  enqueue keys revoke shop --database postgres://admin@db/switchboard",
		Args:    cli.Args("NAME..."),
		RunE: func(cmd *cobra.Command, names []string) error {
			return f.with(cmd.Context(), env, func(keys *db.APIKeys) error {
				for _, name := range names {
					err := keys.Revoke(cmd.Context(), name, cli.Operator())
					if errors.Is(err, apikey.ErrNotFound) {
						return fmt.Errorf("there is no key %q; `enqueue keys list` shows those that there are", name)
					}
					if err != nil {
						return err
					}
					if err := errors.Join(env.Out.Object(map[string]string{"revoked": name}), env.Out.Printf("revoked %s\n", name)); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	f.register(cmd.Flags())
	return cmd
}

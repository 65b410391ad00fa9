package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs/webhook"
)

func webhooksCommand(env *cli.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "webhooks",
		Short: "See what was told to webhooks, and tell it again",
		Long: `A job that names a webhook has its outcome told to that URL. See
docs/webhooks.md for what is sent, and how a receiver checks it.`,
	}
	cmd.AddCommand(webhooksDeliver(env), webhooksList(env), webhooksShow(env), webhooksReplay(env), webhooksSecret(env))
	return cmd
}

// webhookFlags choose deliveries.
type webhookFlags struct{ database, job, account, state string }

func (f *webhookFlags) register(fs *pflag.FlagSet) {
	f.databaseFlag(fs)
	fs.StringVar(&f.job, "job", "", "deliveries of the job with this `id` only")
	fs.StringVar(&f.account, "account", "", "deliveries of jobs of the account with this `name` only")
	var states []string
	for _, s := range webhook.States() {
		states = append(states, string(s))
	}
	cli.ChoiceVar(fs, &f.state, "state", "", "deliveries in this state only", states...)
}

func (f *webhookFlags) databaseFlag(fs *pflag.FlagSet) {
	cli.DatabaseVar(fs, &f.database, "where deliveries are written down")
}

func (f *webhookFlags) filter() (w db.WebhookFilter, err error) {
	if f.account != "" {
		w.Account, err = account(f.account)
	}
	w.Job, w.State = f.job, webhook.State(f.state)
	return w, err
}

// with runs do with the deliveries in the database.
func (f *webhookFlags) with(ctx context.Context, env *cli.Env, do func(*db.Webhooks) error) error {
	return withDatabase(ctx, env, f.database, "deliveries", func(o *db.Outcomes) error { return do(o.Webhooks()) })
}

func webhooksList(env *cli.Env) *cobra.Command {
	var flags webhookFlags
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List deliveries, the newest first",
		Example: "  enqueue webhooks list --state failed --database postgres://reader@db/switchboard",
		Args:    cli.Args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return cli.Usage("--limit=%d: give 1 or more", limit)
			}
			f, err := flags.filter()
			if err != nil {
				return err
			}
			f.Limit = limit
			return flags.with(cmd.Context(), env, func(s *db.Webhooks) error {
				ds, err := s.List(cmd.Context(), f)
				if err != nil {
					return err
				}
				return printDeliveries(env.Out, ds)
			})
		},
	}
	flags.register(cmd.Flags())
	cmd.Flags().IntVar(&limit, "limit", 100, "list this many at most")
	return cmd
}

func printDeliveries(out *cli.Out, ds []webhook.Delivery) error {
	if len(ds) == 0 {
		return out.Printf("no deliveries\n")
	}
	table := out.Table("ID", "JOB", "ACCOUNT", "STATE", "ATTEMPTS", "CREATED", "DUE", "HOST")
	for _, d := range ds {
		if err := out.Object(d); err != nil {
			return err
		}
		table.Row(d.ID, d.Job, string(d.Account), string(d.State), strconv.Itoa(d.Attempts), cli.Time(d.CreatedAt), cli.Time(d.DueAt), webhook.Host(d.URL))
	}
	return table.Flush()
}

func webhooksShow(env *cli.Env) *cobra.Command {
	var flags webhookFlags
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show a delivery and each of its attempts",
		Args:  cli.Args("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return flags.with(ctx, env, func(s *db.Webhooks) error {
				ds, err := s.List(ctx, db.WebhookFilter{ID: args[0]})
				if err != nil {
					return err
				}
				if args[0] == "" || len(ds) == 0 {
					return fmt.Errorf("no delivery has the id %q; `enqueue webhooks list` shows those there are", args[0])
				}
				log, err := s.Attempts(ctx, ds[0].ID)
				if err != nil {
					return err
				}
				return printDelivery(env.Out, ds[0], log)
			})
		},
	}
	flags.databaseFlag(cmd.Flags())
	return cmd
}

// printDelivery prints the URL too: who may read the database may see it.
func printDelivery(out *cli.Out, d webhook.Delivery, log []webhook.Attempt) error {
	if out.JSON {
		return out.Object(struct {
			webhook.Delivery
			Log []webhook.Attempt `json:"log"`
		}{d, log})
	}
	t := out.Table()
	for _, row := range [][2]string{
		{"id", d.ID}, {"job", d.Job}, {"account", string(d.Account)}, {"url", d.URL}, {"signed for key", d.Key},
		{"state", string(d.State)}, {"created", cli.Time(d.CreatedAt)}, {"due", cli.Time(d.DueAt)},
	} {
		if row[1] != "" {
			t.Row(row[0], row[1])
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	t = out.Table("ATTEMPT", "AT", "TOOK", "STATUS", "ERROR")
	for _, a := range log {
		status := ""
		if a.Status > 0 {
			status = strconv.Itoa(a.Status)
		}
		t.Row(strconv.Itoa(a.N), cli.Time(a.At), (time.Duration(a.Took) * time.Millisecond).String(), status, a.Error)
	}
	return t.Flush()
}

func webhooksReplay(env *cli.Env) *cobra.Command {
	var flags webhookFlags
	var yes bool
	cmd := &cobra.Command{
		Use:   "replay [ID...]",
		Short: "Have deliveries sent again",
		Long: `Have deliveries sent again, whatever became of them: those whose ids are given, or all
that --state, --account and --job choose. They keep their ids, so a receiver that has
had one knows it.`,
		Example: `  enqueue webhooks replay msg_5890be70df0c3e84ac569ee4597cb9f1 --database postgres://operator@db/switchboard
  enqueue webhooks replay --state failed --account alice --yes`,
		Args: cli.Args("[ID]..."),
		RunE: func(cmd *cobra.Command, ids []string) error {
			chooses := flags.state != "" || flags.account != "" || flags.job != ""
			switch {
			case len(ids) > 0 && chooses:
				return cli.Usage("give ids, or flags that choose deliveries, not both")
			case len(ids) == 0 && !chooses:
				return cli.Usage("give the ids of the deliveries to send again, or --state, --account or --job to choose them")
			}
			f, err := flags.filter()
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			return flags.with(ctx, env, func(s *db.Webhooks) error {
				n, err := replay(ctx, s, ids, f, yes)
				return errors.Join(err, env.Out.Object(map[string]int64{"replayed": n}), env.Out.Printf("to be sent again: %d\n", n))
			})
		},
	}
	flags.register(cmd.Flags())
	cmd.Flags().BoolVar(&yes, "yes", false, "send them again without a question, however many there are")
	return cmd
}

// replay has deliveries sent again by their ids, or else those that f chooses.
func replay(ctx context.Context, s *db.Webhooks, ids []string, f db.WebhookFilter, yes bool) (sum int64, err error) {
	if len(ids) == 0 {
		n, err := s.Count(ctx, f)
		switch {
		case err != nil:
			return 0, err
		case n > 0 && !yes:
			return 0, fmt.Errorf("%d deliveries would be sent again; nothing was done: give --yes to do it", n)
		}
		return s.Replay(ctx, f)
	}
	var errs []error
	for _, id := range ids {
		n := int64(0)
		if id != "" { // which would choose all
			if n, err = s.Replay(ctx, db.WebhookFilter{ID: id}); err != nil {
				return sum, err
			}
		}
		if n == 0 {
			errs = append(errs, fmt.Errorf("no delivery has the id %q", id))
		}
		sum += n
	}
	return sum, errors.Join(errs...)
}

func webhooksSecret(env *cli.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "secret",
		Short: "Make the secret that signs webhooks, and show what receivers need of it",
	}
	var key string
	show := &cobra.Command{
		Use:   "show FILE",
		Short: "Show the secret with which a receiver checks what it gets",
		Long: `Show the secret with which a receiver checks what it gets: that of the API key that
its jobs come by, or the installation's own for jobs that come by none. Secrets of keys
are made from the one in FILE, so that nobody can forge what another key's receiver is
told.`,
		Example: "  enqueue webhooks secret show /etc/switchboard/webhooks.secret --key shop",
		Args:    cli.Args("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := readWebhookSecret(args[0])
			if err != nil {
				return err
			}
			text := s.For(key).Reveal()
			if err := env.Out.Object(map[string]string{"secret": text}); err != nil {
				return err
			}
			return env.Out.Printf("%s\n", text)
		},
	}
	show.Flags().StringVar(&key, "key", "", "`name` of the API key; default the installation's own secret")
	cmd.AddCommand(show, &cobra.Command{
		Use:     "new FILE",
		Short:   "Write a new secret to FILE, which must not exist",
		Example: "  enqueue webhooks secret new /etc/switchboard/webhooks.secret",
		Args:    cli.Args("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := cli.WriteSecret(args[0], []byte(webhook.NewSecret().Reveal()+"\n")); err != nil {
				return err
			}
			if err := env.Out.Object(map[string]string{"secret_file": args[0]}); err != nil {
				return err
			}
			return env.Out.Printf("wrote a new secret to %s; receivers have to learn it, so keep a copy\n", args[0])
		},
	})
	return cmd
}

// readWebhookSecret reads the secret that signs webhooks from its file.
func readWebhookSecret(file string) (webhook.Secret, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return webhook.Secret{}, cli.Usage("there is no file %s; make one with 'enqueue webhooks secret new %s'", file, file)
	}
	if err != nil {
		return webhook.Secret{}, cli.Usage("the webhook secret cannot be read: %w", err)
	}
	s, err := webhook.ParseSecret(string(data))
	if err != nil {
		return webhook.Secret{}, cli.Usage("%s: %w; make one with 'enqueue webhooks secret new FILE'", file, err)
	}
	return s, nil
}

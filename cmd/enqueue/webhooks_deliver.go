package main

import (
	"context"
	"net/netip"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs/webhook"
)

// delivering is what has to be said to deliver webhooks.
type delivering struct {
	secret string
	allow  []string
	keep   time.Duration
}

func (d *delivering) register(fs *pflag.FlagSet) {
	fs.StringVar(&d.secret, "webhook-secret-file", "", "`file` with the secret that signs webhooks; make one with 'enqueue webhooks secret new FILE'")
	fs.StringArrayVar(&d.allow, "webhook-allow", nil, "deliver to this `network` too though it is not public, such as 10.1.2.0/24; may be repeated")
	fs.DurationVar(&d.keep, "keep-webhooks", 30*24*time.Hour, "delete deliveries that are done after this time; 0 keeps them")
}

// runner returns what delivers until its context ends.
func (d *delivering) runner(env *cli.Env, s *db.Webhooks) (func(context.Context) error, error) {
	secret, err := readWebhookSecret(d.secret)
	if err != nil {
		return nil, err
	}
	if d.keep < 0 {
		return nil, cli.Usage("--keep-webhooks=%v is negative; give how long deliveries are kept, or 0 for ever", d.keep)
	}
	var cfg webhook.Config
	for _, text := range d.allow {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, cli.Usage("--webhook-allow=%s: give a network such as 10.1.2.0/24", text)
		}
		cfg.Allow = append(cfg.Allow, p)
	}
	return func(ctx context.Context) error {
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return webhook.NewDeliverer(s, secret, cfg, env.Log).Run(ctx) })
		g.Go(func() error { return d.prune(ctx, env, s) })
		return g.Wait()
	}, nil
}

// pruneEvery is how often deliveries are looked at that may be deleted.
const pruneEvery = time.Hour

// prune deletes what is old until ctx ends. Each who delivers does it: there is little
// to do, and nobody minds what another has deleted.
func (d *delivering) prune(ctx context.Context, env *cli.Env, s *db.Webhooks) error {
	if d.keep == 0 {
		return nil
	}
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		for n := int64(1); n > 0; {
			var err error
			if n, err = s.Prune(ctx, d.keep); err != nil && ctx.Err() == nil {
				env.Log.Warn("old deliveries stay for now", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func webhooksDeliver(env *cli.Env) *cobra.Command {
	var flags webhookFlags
	var d delivering
	cmd := &cobra.Command{
		Use:   "deliver --database URL --webhook-secret-file FILE",
		Short: "Deliver webhooks until stopped",
		Long: `Deliver webhooks until stopped: what is due is sent, as docs/webhooks.md says. Any
number of these may run; each delivery is sent by one at a time. A signal lets what is
on its way end, within half a minute.`,
		Args: cli.Args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.with(cmd.Context(), env, func(s *db.Webhooks) error {
				run, err := d.runner(env, s)
				if err != nil {
					return err
				}
				return run(cmd.Context())
			})
		},
	}
	flags.databaseFlag(cmd.Flags())
	d.register(cmd.Flags())
	_ = cmd.MarkFlagRequired("webhook-secret-file")
	return cmd
}

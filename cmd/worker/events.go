package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
)

// loggedFloods writes flood waits into the accounts' events too.
type loggedFloods struct {
	pool.FloodStore
	events *db.Events
	who    string
	log    *slog.Logger
}

func (f loggedFloods) SaveFlood(ctx context.Context, flood accounts.Flood) error {
	if err := f.FloodStore.SaveFlood(ctx, flood); err != nil {
		return err
	}
	err := f.events.Add(ctx, accounts.Event{
		Account: flood.Account, Kind: accounts.EventFlood, Who: f.who,
		Reason: fmt.Sprintf("%s until %s", flood.What(), flood.Until.UTC().Format(time.RFC3339)),
	})
	if err != nil { // it is in force all the same
		f.log.Warn("a flood wait is not in the account's events", "account", flood.Account, "error", err)
	}
	return nil
}

// alarms writes what an operator should know into the accounts' events.
type alarms struct {
	events *db.Events
	who    string
	log    *slog.Logger
}

func (a alarms) raise(ctx context.Context, id accounts.ID, text string) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := a.events.Add(ctx, accounts.Event{Account: id, Kind: accounts.EventAlarm, Reason: text, Who: a.who})
	if err != nil {
		a.log.Error("an alarm is not in the account's events", "account", id, "alarm", text, "error", err)
	}
}

const (
	eventsSince = 24 * time.Hour
	followEvery = time.Second
)

func accountsEvents(env *cli.Env) *cobra.Command {
	var (
		database databaseFlag
		follow   bool
		since    time.Duration
	)
	cmd := &cobra.Command{
		Use:   "events [NAME]",
		Short: "Show what happened to one account, or to all",
		Long: `Show what happened to one account, or to all, the oldest first: when it was added,
each change of its status with the reason and who made it, what Telegram said of it
that changed nothing, flood waits and alarms, and when its session was exported and the
account removed. Of each account the latest 100 events of each kind are kept, and of one
that was removed what was done with it.

--follow goes on with what happens next until interrupted, and shows what has
happened before only with --since. It looks once a second.`,
		Example: "  worker accounts events --follow --json\n  worker accounts events alice --since 168h",
		Args:    cli.Args("[NAME]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if since < 0 {
				return cli.Usage("--since %v lies in the future; give how long ago, such as 1h, or 0 for all", since)
			}
			ctx := cmd.Context()
			store, err := database.openCurrent(ctx, env)
			if err != nil {
				return err
			}
			defer store.Close()
			var filter db.EventFilter
			if len(args) > 0 {
				filter.Account = accounts.ID(args[0])
				if err := knownEvents(ctx, store, filter.Account); err != nil {
					return err
				}
			}
			if asked := cmd.Flags().Changed("since"); asked && since == 0 {
				filter.Since = time.Unix(0, 0)
			} else if asked || !follow {
				filter.Since = time.Now().Add(-since)
			}
			if follow {
				return followEvents(ctx, env, store.Events().Tail(filter))
			}
			events, err := store.Events().List(ctx, filter)
			if err != nil {
				return err
			}
			table := env.Out.Table(eventColumns...)
			for _, e := range events {
				if err := env.Out.Object(e); err != nil {
					return err
				}
				table.Row(eventCells(e)...)
			}
			return table.Flush()
		},
	}
	database.register(cmd)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens next")
	cmd.Flags().DurationVar(&since, "since", eventsSince, "how long ago the first event may lie; 0 is all there are")
	return cmd
}

// knownEvents wants an account that exists, or did once.
func knownEvents(ctx context.Context, store *db.DB, id accounts.ID) error {
	_, err := store.Accounts().Account(ctx, id)
	if !errors.Is(err, accounts.ErrNotFound) {
		return err
	}
	past, lerr := store.Events().List(ctx, db.EventFilter{Account: id, Limit: 1})
	if lerr != nil || len(past) > 0 {
		return lerr
	}
	return unknownAccount(ctx, store, string(id), err)
}

// followEvents prints what a tail finds until ctx is done. It outlasts a database that
// goes away: what happens meanwhile is found later.
func followEvents(ctx context.Context, env *cli.Env, tail *db.Tail) error {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	away := false
	for {
		events, err := tail.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, db.ErrUnavailable):
			if !away {
				env.Log.Warn("the database does not answer; trying again", "error", err)
			}
		case err != nil:
			return err
		}
		away = err != nil
		for _, e := range events {
			if err := env.Out.Object(e); err != nil {
				return err
			}
			if err := env.Out.Printf("%s\n", eventLine(e)); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

var eventColumns = []string{"TIME", "ACCOUNT", "EVENT", "BY", "REASON"}

func eventCells(e accounts.Event) []string {
	return []string{cli.Time(e.At), string(e.Account), eventText(e), e.Who, e.Reason}
}

func eventLine(e accounts.Event) string {
	line := fmt.Sprintf("%s  %s  %s  %s", cli.Time(e.At), e.Account, eventText(e), e.Who)
	if e.Reason != "" {
		line += "  " + e.Reason
	}
	return cli.Clean(line)
}

// eventText is what happened, for people.
func eventText(e accounts.Event) string {
	switch e.Kind {
	case accounts.EventStatus:
		return fmt.Sprintf("%s -> %s", e.From, e.To)
	case accounts.EventVerdict:
		return fmt.Sprintf("%s, stays %s", e.To, e.From)
	case accounts.EventAdded:
		return fmt.Sprintf("added, %s", e.To)
	case accounts.EventRemoved:
		return fmt.Sprintf("removed, was %s", e.From)
	}
	return string(e.Kind)
}

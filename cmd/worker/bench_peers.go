package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/peers"
	"github.com/tgswitchboard/switchboard/peers/resolver"
)

const (
	// membersAtOnce are met with each call of the harvest: Telegram shows 200.
	membersAtOnce = 200
	// harvestEvery makes 10,000 new peers a second of them.
	harvestEvery = 20 * time.Millisecond
	// lookupsOfMemory is how often a peer is looked up where it is fast.
	lookupsOfMemory = 500_000
)

// benchFound is what a task about peers measured.
type benchFound struct {
	Memory, Store float64 // microseconds for one known peer
	Calls         int     // of Telegram while they were looked up
	Violations    int
	PeakMB        float64

	P50, P99 float64 // milliseconds of one call that brings peers
	New      int     // peers that came
	Stored   int     // and are in the database
	Seconds  float64 // from the first call to the last
	Lag      float64 // milliseconds after that until all were stored
}

// peers measures how peers are looked up, or how they are met.
func (t *benchTask) peers(ctx context.Context, env *cli.Env) (f benchFound, err error) {
	err = t.install(ctx, env, func(ctx context.Context, w *benchWorker) error {
		if t.Mode == benchHarvest {
			err = t.harvest(ctx, env, w, &f)
		} else {
			err = t.resolve(ctx, env, w, &f)
		}
		if err != nil {
			return err
		}
		f.PeakMB, err = peakMB()
		return err
	})
	return f, err
}

// members has a page of the group's members listed. inv may harvest.
func members(ctx context.Context, inv tg.Invoker, group *tg.InputChannel, offset int) (int, error) {
	var out tg.ChannelsChannelParticipantsBox
	err := inv.Invoke(ctx, &tg.ChannelsGetParticipantsRequest{
		Channel: group, Filter: &tg.ChannelParticipantsSearch{}, Offset: offset, Limit: membersAtOnce,
	}, &out)
	if err != nil {
		return 0, err
	}
	got, ok := out.ChannelParticipants.(*tg.ChannelsChannelParticipants)
	if !ok {
		return 0, fmt.Errorf("the list of members is a %T", out.ChannelParticipants)
	}
	return len(got.Participants), nil
}

// running runs a resolver until stop, which returns once all it learned is stored.
func running(ctx context.Context, r *resolver.Resolver) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }() // stop waits for it
	return func() error { cancel(); return <-ended }
}

// resolve meets the members of the group, and looks each up by name and by id: in a
// memory that has them, and in one that is empty, so that the store is asked.
func (t *benchTask) resolve(ctx context.Context, env *cli.Env, w *benchWorker, f *benchFound) error {
	conn, err := w.pool.Acquire(ctx, w.leases[0])
	if err != nil {
		return err
	}
	r := resolver.New(w.store.Peers(), resolver.Config{}, env.Log)
	stop := running(ctx, r)
	inv := r.Harvesting(w.leases[0].Account, conn)
	refs, err := meet(ctx, r, conn.Account(), inv, t.Channel)
	if err = errors.Join(err, stop()); err != nil {
		return err
	}
	before, err := t.Control.stats(ctx)
	if err != nil {
		return err
	}
	all := func(r *resolver.Resolver, n int, source string) (float64, error) {
		began := time.Now()
		for i := range n {
			found, err := r.Resolve(ctx, conn.Account(), inv, refs[i%len(refs)], resolver.Ask{})
			if err == nil && found.Source != source {
				err = fmt.Errorf("%s was found in %s, not in %s", refs[i%len(refs)], found.Source, source)
			}
			if err != nil {
				return 0, err
			}
		}
		return float64(time.Since(began).Nanoseconds()) / 1e3 / float64(n), nil
	}
	if f.Memory, err = all(r, lookupsOfMemory, resolver.FromMemory); err != nil {
		return err
	}
	// Each peer once, half of them by name: a second time it is in memory.
	empty := resolver.New(w.store.Peers(), resolver.Config{}, env.Log)
	if f.Store, err = all(empty, len(refs), resolver.FromStore); err != nil {
		return err
	}
	after, err := t.Control.stats(ctx)
	f.Calls, f.Violations = after.Calls-before.Calls, after.Violations
	return err
}

// meet makes the account know the members of a group, and returns references to them.
func meet(ctx context.Context, r *resolver.Resolver, a accounts.Account, inv tg.Invoker, name string) ([]peers.Ref, error) {
	group, err := r.Resolve(ctx, a, inv, peers.UsernameRef(name), resolver.Ask{})
	if err != nil {
		return nil, err
	}
	var refs []peers.Ref
	for offset := 0; ; {
		res, err := tg.NewClient(inv).ChannelsGetParticipants(ctx, &tg.ChannelsGetParticipantsRequest{
			Channel: group.InputChannel(), Filter: &tg.ChannelParticipantsSearch{}, Offset: offset, Limit: membersAtOnce,
		})
		if err != nil {
			return nil, err
		}
		page, ok := res.(*tg.ChannelsChannelParticipants)
		if !ok {
			return nil, fmt.Errorf("the list of members is a %T", res)
		}
		for i, u := range page.Users {
			u, ok := u.(*tg.User)
			switch {
			case !ok || u.Self || u.Username == "":
			case i%2 == 0:
				refs = append(refs, peers.UsernameRef(u.Username))
			default:
				refs = append(refs, peers.UserRef(u.ID))
			}
		}
		if offset += len(page.Participants); offset >= page.Count || len(page.Participants) == 0 {
			return refs, nil
		}
	}
}

// harvest has every account list the members of the group, at a steady rate: each
// call brings so many peers that are new to its account. Without t.Harvest the calls
// are the same, and nobody looks at what they bring.
func (t *benchTask) harvest(ctx context.Context, env *cli.Env, w *benchWorker, f *benchFound) error {
	r := resolver.New(w.store.Peers(), resolver.Config{}, env.Log)
	stop := running(ctx, r)
	took, err := t.harvestAt(ctx, env, r, w, f)
	ended := time.Now()
	if err = errors.Join(err, stop()); err != nil {
		return err
	}
	f.Lag = time.Since(ended).Seconds() * 1e3
	slices.Sort(took)
	f.P50, f.P99 = took[len(took)/2].Seconds()*1e3, took[len(took)*99/100].Seconds()*1e3
	for _, l := range w.leases {
		n, err := w.store.Peers().CountPeers(ctx, l.Account)
		if err != nil {
			return err
		}
		f.Stored += n
	}
	st, err := t.Control.stats(ctx)
	f.Violations = st.Violations
	return err
}

func (t *benchTask) harvestAt(ctx context.Context, env *cli.Env, r *resolver.Resolver, w *benchWorker, f *benchFound) (took []time.Duration, err error) {
	type lister struct {
		inv   tg.Invoker
		group *tg.InputChannel
	}
	var ls []lister
	for _, l := range w.leases {
		conn, err := w.pool.Acquire(ctx, l)
		if err != nil {
			return nil, err
		}
		// The group is looked up by the side, so that the calls of both runs are the same.
		group, err := resolver.New(w.store.Peers(), resolver.Config{}, env.Log).Resolve(ctx, conn.Account(), conn, peers.UsernameRef(t.Channel), resolver.Ask{})
		if err != nil {
			return nil, err
		}
		one := lister{inv: conn, group: &tg.InputChannel{ChannelID: group.ID, AccessHash: group.AccessHash}}
		if t.Harvest {
			one.inv = r.Harvesting(l.Account, conn)
		}
		ls = append(ls, one)
	}
	tick := time.NewTicker(harvestEvery)
	defer tick.Stop()
	began := time.Now()
	for offset := 0; ; offset += membersAtOnce {
		for _, l := range ls {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			at := time.Now()
			n, err := members(ctx, l.inv, l.group, offset)
			if err != nil {
				return nil, err
			}
			if n == 0 {
				f.Seconds = time.Since(began).Seconds()
				return took, nil
			}
			took = append(took, time.Since(at))
			f.New += n
		}
	}
}

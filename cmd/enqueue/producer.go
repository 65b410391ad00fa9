package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/jobs"
)

// afterwards limits questions that follow a time-out.
const afterwards = 2 * time.Second

// producer is a client of one Redis.
type producer struct {
	url    string
	rdb    redis.UniversalClient
	client *jobs.Client
	bar    func() *bar // nil: nothing is shown while a job runs
}

// withProducer runs do with a client of the Redis at url, and turns its error
// into one of the command line.
func withProducer(ctx context.Context, url string, do func(*producer) error) error {
	rdb, err := cli.OpenRedis(url)
	if err != nil {
		return err
	}
	defer rdb.Close()
	if err := cli.PingRedis(ctx, rdb, url); err != nil {
		return err
	}
	p := &producer{url: url, rdb: rdb, client: jobs.NewClient(rdb)}
	defer p.client.Close()
	return explain(do(p), url)
}

// explain puts the facts of package jobs in the words of the command line.
func explain(err error, url string) error {
	var exit *cli.ExitError
	var field *jobs.FieldError
	switch {
	case err == nil, errors.As(err, &exit):
		return err
	case errors.As(err, &field) && field.Code != "":
		return cli.Usage("%s: %s (%s)", flagOf(field.Path), field.Message, field.Code)
	case errors.As(err, &field):
		return cli.Usage("%s: %s", flagOf(field.Path), field.Message)
	case errors.Is(err, jobs.ErrUnavailable):
		return cli.RedisUnavailable(url, err)
	}
	return err
}

// flagOf is what a field of a job is called on the command line.
func flagOf(path string) string {
	switch path {
	case "send.to":
		return "--to"
	case "send.markup":
		return "--html or --markdown"
	case "expires_at":
		return "--expire"
	case "max_attempts":
		return "--attempts"
	case "resolve.peer":
		return "PEER"
	case "sync.what":
		return "WHAT"
	case "invoke.method":
		return "METHOD"
	case "":
		return "the job"
	}
	if param, ok := strings.CutPrefix(path, "invoke.params"); ok {
		return "params" + param // as the JSON has it
	}
	path = path[strings.LastIndex(path, ".")+1:]
	return "--" + strings.ReplaceAll(path, "_", "-")
}

// wait waits for the outcome of a job, with no limit if limit is 0. When the
// time is over it prints what is known of the job.
func (p *producer) wait(ctx context.Context, out *cli.Out, id string, limit time.Duration) (jobs.Result, error) {
	wctx := ctx
	if limit > 0 {
		var cancel context.CancelFunc
		wctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	r, err := p.watch(wctx, id)
	switch {
	case err == nil:
		return r, nil
	case ctx.Err() != nil:
		return r, fmt.Errorf("interrupted; the job goes on, so ask again with `enqueue wait %s`", id)
	case errors.Is(wctx.Err(), context.DeadlineExceeded):
		r, err = p.timedOut(ctx, out, id, limit)
	}
	if errors.Is(err, jobs.ErrUnavailable) {
		err = cli.Unavailable("%w; the job goes on, so ask again with `enqueue wait %s`", explain(err, p.url), id)
	}
	return r, err
}

// watch waits for the outcome of a job and shows how far it has come.
func (p *producer) watch(ctx context.Context, id string) (jobs.Result, error) {
	if p.bar == nil {
		return p.client.Wait(ctx, id)
	}
	b := p.bar()
	defer b.close()
	return p.client.Watch(ctx, id, b.show)
}

// timedOut prints where the job is and says how to ask again, and why it may
// take long: an account that no worker serves may not even exist. It returns the
// outcome if that came at the last moment.
func (p *producer) timedOut(ctx context.Context, out *cli.Out, id string, limit time.Duration) (jobs.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, afterwards)
	defer cancel()
	r, err := p.client.Get(ctx, id)
	if err != nil || r.State.Final() {
		return r, err
	}
	if err := printResult(out, r, false); err != nil {
		return r, err
	}
	why := ""
	if served, err := p.rdb.Exists(ctx, jobs.OwnerKey(r.Account)).Result(); err == nil && served == 0 {
		why = fmt.Sprintf("; no worker serves account %s, so check its name and that a worker runs", r.Account)
	}
	return r, cli.TimedOut("the job is %s after %s%s; ask again with `enqueue wait %s`", r.State, short(limit), why, id)
}

// finish prints an outcome. Whoever waits learns from the exit code too. asked is
// the batch that was enqueued, if it was one and is known.
func finish(out *cli.Out, r jobs.Result, asked *jobs.Batch) error {
	if err := errors.Join(printResult(out, r, false), printCalls(out, asked, r)); err != nil {
		return err
	}
	if r.State != jobs.Succeeded {
		return cli.ErrFailed
	}
	return nil
}

// account checks the name of an account before anything is sent.
func account(name string) (accounts.ID, error) {
	id, err := accounts.ParseID(name)
	if err != nil {
		return "", cli.Usage("--account: %w", err)
	}
	return id, nil
}

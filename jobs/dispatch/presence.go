package dispatch

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/encoding/protowire"
)

// What asynq's tools know of a running server, v0.26.0: `asynq server ls` shows it, and
// what it runs; `asynq task cancel` ends a handler.
const (
	serversKey    = "asynq:servers"
	workersKey    = "asynq:workers"
	cancelChannel = "asynq:cancel" // carries the ids of tasks whose handlers are to be cancelled

	beat = 5 * time.Second
)

// presence is a server as asynq's tools see it.
type presence struct {
	host        string
	pid         int
	id          string
	concurrency int
	started     time.Time
}

// announce shows asynq's tools this server, and prolongs asynq's leases of the tasks
// in flight, which inform its tools too: the right to a task is the account's lease.
func (d *Dispatcher) announce(ctx context.Context) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown-host" // as asynq has it
	}
	p := presence{host, os.Getpid(), uuid.NewString(), d.cfg.Concurrency, time.Now()}
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for ctx.Err() == nil {
		if d.health.err() == nil {
			d.health.failed(d.show(ctx, p))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	if d.health.err() == nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.cfg.StopGrace)
		defer cancel()
		if err := d.hide(ctx, p); err != nil {
			d.log.Debug("the server's state is left to expire", "error", err)
		}
	}
}

func (d *Dispatcher) show(ctx context.Context, p presence) error {
	now := time.Now()
	runs := d.roster.running()
	rows := make([]any, 0, 2*len(runs))
	leases := map[string][]redis.Z{} // by queue
	for _, r := range runs {
		rows = append(rows, r.key.id, p.worker(r))
		leases[r.key.queue] = append(leases[r.key.queue], redis.Z{Score: float64(now.Add(taskLease).Unix()), Member: r.key.id})
	}
	until := float64(now.Add(2 * beat).Unix())
	server, workers := p.keys()
	pipe := d.rdb.Pipeline()
	pipe.ZAdd(ctx, serversKey, redis.Z{Score: until, Member: server})
	pipe.ZAdd(ctx, workersKey, redis.Z{Score: until, Member: workers})
	pipe.Set(ctx, server, p.server(len(runs)), 2*beat)
	pipe.Del(ctx, workers)
	if len(rows) > 0 {
		pipe.HSet(ctx, workers, rows...)
		pipe.Expire(ctx, workers, 2*beat)
	}
	for _, queue := range slices.Sorted(maps.Keys(leases)) {
		pipe.ZAddXX(ctx, queueKeys(queue).lease, leases[queue]...)
	}
	_, err := pipe.Exec(ctx)
	return err
}

func (d *Dispatcher) hide(ctx context.Context, p presence) error {
	server, workers := p.keys()
	pipe := d.rdb.Pipeline()
	pipe.ZRem(ctx, serversKey, server)
	pipe.ZRem(ctx, workersKey, workers)
	pipe.Del(ctx, server)
	pipe.Del(ctx, workers)
	_, err := pipe.Exec(ctx)
	return err
}

func (p presence) keys() (server, workers string) {
	name := fmt.Sprintf("{%s:%d:%s}", p.host, p.pid, p.id)
	return serversKey + ":" + name, workersKey + ":" + name
}

// runs is a handler that runs.
type runs struct {
	key             flightKey
	kind            string
	payload         []byte
	began, deadline time.Time
}

func (r *roster) running() (all []runs) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.flights {
		if !f.returned {
			all = append(all, runs{f.key, f.task.kind, f.task.payload, f.landedAt, f.task.until(f.landedAt)})
		}
	}
	return all
}

// cancel ends the handlers of tasks with an id.
func (r *roster) cancel(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.flights {
		if f.key.id == id && f.started && !f.returned {
			f.cancel()
		}
	}
}

// server is asynq.proto's ServerInfo.
func (p presence) server(active int) []byte {
	queue := number(text(nil, 1, virtualQueue), 2, 1)
	b := number(text(nil, 1, p.host), 2, p.pid)
	b = number(text(b, 3, p.id), 4, p.concurrency)
	b = text(b, 5, string(queue))
	b = text(b, 7, "active")
	b = text(b, 8, string(timestamp(p.started)))
	return number(b, 9, active)
}

// virtualQueue is the only queue that asynq's tools see a server at: a worker's
// accounts are too many, and come and go.
const virtualQueue = "switchboard-dispatch"

// worker is asynq.proto's WorkerInfo.
func (p presence) worker(r runs) []byte {
	b := number(text(nil, 1, p.host), 2, p.pid)
	b = text(b, 3, p.id)
	b = text(b, 4, r.key.id)
	b = text(b, 5, r.kind)
	b = text(b, 6, string(r.payload))
	b = text(b, 7, r.key.queue)
	b = text(b, 8, string(timestamp(r.began)))
	return text(b, 9, string(timestamp(r.deadline)))
}

// timestamp is google.protobuf.Timestamp.
func timestamp(t time.Time) []byte { return number(number(nil, 1, int(t.Unix())), 2, t.Nanosecond()) }

func text(b []byte, field protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}

func number(b []byte, field protowire.Number, n int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), uint64(n))
}

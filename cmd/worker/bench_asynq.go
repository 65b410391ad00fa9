package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"time"

	"github.com/gotd/td/telegram"
	"github.com/gotd/td/tg"
	"github.com/hibiken/asynq"
	"golang.org/x/sync/errgroup"
)

// Tasks of stock clients beside whole workers.
const (
	benchThroughput = "throughput" // empty the only queue
	benchLatency    = "latency"    // one job at a time on each queue
	benchConnected  = "connected"  // connect and wait
)

// benchStockFigures is what such a task measured. Memory is this process's, in MB,
// as is CPU, in seconds.
type benchStockFigures struct{ Peak, Before, After, CPU float64 }

// asynqJob is a send as a program without switchboard has it.
type asynqJob struct {
	Account int
	Text    string
}

// stockFleet does one of these tasks with the telegram.Client of many accounts.
func (t *benchTask) stockFleet(ctx context.Context) (f benchStockFigures, err error) {
	if t.Mode == benchConnected {
		if err := pause(ctx, t.Settle); err != nil {
			return f, err
		}
		if f.Before, err = memoryMB(os.Getpid(), "VmRSS"); err != nil {
			return f, err
		}
	}
	err = t.stockClients(ctx, func(ctx context.Context, clients []*telegram.Client) (err error) {
		switch t.Mode {
		case benchThroughput:
			err = t.emptyQueue(ctx, clients)
		case benchLatency:
			err = t.oneAtATime(ctx, clients)
		default:
			if err = pause(ctx, t.Settle); err == nil {
				f.After, err = memoryMB(os.Getpid(), "VmRSS")
			}
		}
		return err
	})
	if err != nil {
		return f, err
	}
	used, err := cpuTime()
	if err != nil {
		return f, err
	}
	f.CPU = used.Seconds()
	f.Peak, err = peakMB()
	return f, err
}

// stockClients connects a telegram.Client for each session for as long as use takes.
func (t *benchTask) stockClients(ctx context.Context, use func(context.Context, []*telegram.Client) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, gctx := errgroup.WithContext(ctx)
	clients := make([]*telegram.Client, len(t.Sessions))
	connected := make(chan struct{})
	for i, session := range t.Sessions {
		var err error
		if clients[i], err = t.stockClient(ctx, session); err != nil {
			return err
		}
		g.Go(func() error {
			return clients[i].Run(gctx, func(ctx context.Context) error {
				select {
				case connected <- struct{}{}:
				case <-ctx.Done():
				}
				<-ctx.Done()
				return nil
			})
		})
	}
	for range clients {
		select {
		case <-connected:
		case <-gctx.Done():
			return g.Wait()
		}
	}
	if err := use(gctx, clients); err != nil {
		return err
	}
	cancel()
	_ = g.Wait() // clients end with the context's error
	return nil
}

// sender is the handler: it sends, and records nothing.
func sender(clients []*telegram.Client, done func()) asynq.HandlerFunc {
	return func(ctx context.Context, task *asynq.Task) error {
		var j asynqJob
		if err := json.Unmarshal(task.Payload(), &j); err != nil {
			return err
		}
		_, err := clients[j.Account].API().MessagesSendMessage(ctx, &tg.MessagesSendMessageRequest{
			Peer: &tg.InputPeerSelf{}, Message: j.Text, RandomID: rand.Int64(),
		})
		if err == nil {
			done()
		}
		return err
	}
}

// asynqEnqueue is how a producer of plain asynq makes such a job.
func asynqEnqueue(ctx context.Context, c *asynq.Client, queue string, m benchMessage) error {
	payload, err := json.Marshal(asynqJob{m.account, m.text()})
	if err != nil {
		return err
	}
	_, err = c.EnqueueContext(ctx, asynq.NewTask("send", payload), asynq.Queue(queue))
	return err
}

// emptyQueue works on one queue until all jobs are done.
func (t *benchTask) emptyQueue(ctx context.Context, clients []*telegram.Client) error {
	opt, err := asynq.ParseRedisURI(t.Redis)
	if err != nil {
		return err
	}
	var n atomic.Int64
	finished := make(chan struct{})
	srv := asynq.NewServer(opt, asynq.Config{Concurrency: 100, Queues: map[string]int{"bench": 1}, LogLevel: asynq.ErrorLevel})
	if err := srv.Start(sender(clients, func() {
		if n.Add(1) == int64(t.Calls) {
			close(finished)
		}
	})); err != nil {
		return err
	}
	defer srv.Shutdown()
	select {
	case <-finished:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%d of %d jobs are done: %w", n.Load(), t.Calls, ctx.Err())
	}
}

// oneAtATime has an asynq of its own for every account, as it comes. It looks for
// work once a second, so jobs come at any moment between two looks.
func (t *benchTask) oneAtATime(ctx context.Context, clients []*telegram.Client) error {
	opt, err := asynq.ParseRedisURI(t.Redis)
	if err != nil {
		return err
	}
	producer := asynq.NewClient(opt)
	defer producer.Close()
	g, gctx := errgroup.WithContext(ctx)
	for i := range clients {
		queue := fmt.Sprint("bench", i)
		done := make(chan struct{}, 1)
		srv := asynq.NewServer(opt, asynq.Config{Queues: map[string]int{queue: 1}, LogLevel: asynq.ErrorLevel})
		if err := srv.Start(sender(clients, func() { done <- struct{}{} })); err != nil {
			return err
		}
		defer srv.Shutdown()
		g.Go(func() error {
			for k := i; k < t.Calls; k += len(clients) {
				if err := pause(gctx, rand.N(time.Second)); err != nil {
					return err
				}
				if err := asynqEnqueue(gctx, producer, queue, numbered(k, len(clients), 1)); err != nil {
					return err
				}
				select {
				case <-done:
				case <-gctx.Done():
					return gctx.Err()
				}
			}
			return nil
		})
	}
	return g.Wait()
}

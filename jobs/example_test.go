package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"slices"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/jobs"
)

func ExampleClient_Enqueue() {
	rdb, done := exampleRedis() // such as redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	defer done()
	client := jobs.NewClient(rdb)
	defer client.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	order17 := jobs.Send{To: "@bob", Text: "Your order is on its way"}
	job, err := client.Enqueue(ctx, "alice", order17, jobs.IdempotencyKey("order-17"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(job.ID, job.Kind)

	// The same again, as after an answer that was lost.
	job, err = client.Enqueue(ctx, "alice", order17, jobs.IdempotencyKey("order-17"))
	fmt.Println(job.ID, "enqueued before:", job.Existing, err)

	// Another job with this key.
	_, err = client.Enqueue(ctx, "alice", jobs.Send{To: "@bob", Text: "Something else"}, jobs.IdempotencyKey("order-17"))
	fmt.Println(errors.Is(err, jobs.ErrConflict))

	// No job at all: nothing was sent to Redis.
	_, err = client.Enqueue(ctx, "alice", jobs.Send{To: "@bob"})
	var field *jobs.FieldError
	if errors.As(err, &field) {
		fmt.Println(field.Path, field.Message)
	}
	// Output:
	// 6dcecba0-13a1-53b1-b5d4-84b614512440 send
	// 6dcecba0-13a1-53b1-b5d4-84b614512440 enqueued before: true <nil>
	// true
	// send.text is empty; Telegram refuses a message without text
}

func ExampleClient_EnqueueMany() {
	rdb, done := exampleRedis()
	defer done()
	client := jobs.NewClient(rdb)
	defer client.Close()

	var items []jobs.Item
	for n, peer := range []string{"@bob_smith", "@1", "@carol"} {
		key := jobs.IdempotencyKey(fmt.Sprintf("newsletter-7/%d", n))
		items = append(items, jobs.NewItem("alice", jobs.Send{To: peer, Text: "Hello"}, key))
	}
	n := 0
	for job, err := range client.EnqueueMany(context.Background(), slices.Values(items)) {
		if err != nil {
			fmt.Printf("%d: %v\n", n, err)
		} else {
			fmt.Printf("%d: %s\n", n, job.Kind)
		}
		n++
	}
	// Output:
	// 0: send
	// 1: send.to: peer "@1" is no username: it does not begin with a letter; give @username, +phone, a Bot API id, u.<id>.<auth> or a t.me link
	// 2: send
}

func ExampleClient_Wait() {
	rdb, done := exampleRedis()
	defer done()
	client := jobs.NewClient(rdb)
	defer client.Close()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	job, err := client.Enqueue(ctx, "alice", jobs.Send{To: "@bob", Text: "Hello"})
	if err != nil {
		log.Fatal(err)
	}
	go exampleWorker(rdb, job, jobs.Result{State: jobs.Succeeded, Result: json.RawMessage(`{"message_id":42}`)})

	outcome, err := client.Wait(ctx, job.ID)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		fmt.Println("no outcome yet; the job goes on")
	case err != nil:
		log.Fatal(err)
	case outcome.State == jobs.Succeeded:
		var sent jobs.SendResult
		if err := json.Unmarshal(outcome.Result, &sent); err != nil {
			log.Fatal(err)
		}
		fmt.Println("sent as message", sent.MessageID)
	default:
		fmt.Println(outcome.State, outcome.Error)
	}
	// Output: sent as message 42
}

func ExampleClient_Watch() {
	rdb, done := exampleRedis()
	defer done()
	client := jobs.NewClient(rdb)
	defer client.Close()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	job, err := client.Enqueue(ctx, "alice", jobs.Sync{What: jobs.SyncDialogs})
	if err != nil {
		log.Fatal(err)
	}
	progress := jobs.Result{ID: job.ID, Account: job.Account, Kind: job.Kind, Progress: &jobs.Tally{Done: 100, Total: 250}}
	if err := jobs.PublishProgress(ctx, rdb, progress); err != nil { // as a worker does
		log.Fatal(err)
	}
	outcome, err := client.Watch(ctx, job.ID, func(r jobs.Result) {
		fmt.Printf("%d of %d\n", r.Progress.Done, r.Progress.Total)
		go exampleWorker(rdb, job, jobs.Result{State: jobs.Succeeded})
	})
	fmt.Println(outcome.State, err)
	// Output:
	// 100 of 250
	// succeeded <nil>
}

func ExampleClient_Cancel() {
	rdb, done := exampleRedis()
	defer done()
	client := jobs.NewClient(rdb)
	defer client.Close()

	ctx := context.Background()
	job, err := client.Enqueue(ctx, "alice", jobs.Send{To: "@bob", Text: "Wake up"}, jobs.Delay(8*time.Hour))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(client.Cancel(ctx, job.ID))
	now, err := client.Get(ctx, job.ID)
	fmt.Println(now.State, err)

	err = client.Cancel(ctx, "0198c2f0-5c5e-7d8e-b2d4-5a0f0e6b7d21")
	fmt.Println(errors.Is(err, jobs.ErrNotFound))
	// Output:
	// <nil>
	// cancelled <nil>
	// true
}

// exampleRedis is the test environment's Redis, or an embedded one where there is none.
func exampleRedis() (rdb *redis.Client, done func()) {
	ctx := context.Background()
	if url := os.Getenv("TEST_REDIS_URL"); url != "" {
		opt, err := redis.ParseURL(url)
		if err != nil {
			log.Fatal(err)
		}
		opt.DB = 0 // which no test gets
		rdb = redis.NewClient(opt)
		return rdb, func() {
			for _, pattern := range []string{"asynq:*", "switchboard:*"} {
				if keys := rdb.Keys(ctx, pattern).Val(); len(keys) > 0 {
					rdb.Del(ctx, keys...)
				}
			}
			rdb.Close()
		}
	}
	server, err := miniredis.Run()
	if err != nil {
		log.Fatal(err)
	}
	rdb = redis.NewClient(&redis.Options{Addr: server.Addr()})
	return rdb, func() { rdb.Close(); server.Close() }
}

// exampleWorker stands for the worker that has run a job.
func exampleWorker(rdb *redis.Client, job jobs.Job, r jobs.Result) {
	r.ID, r.Account, r.Kind = job.ID, job.Account, job.Kind
	if err := jobs.NewPublisher(rdb).Publish(context.Background(), r); err != nil {
		log.Print(err)
	}
}

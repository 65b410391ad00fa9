// Command producer enqueues one message: what a service that uses package jobs links.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/jobs"
)

func main() {
	opt, err := redis.ParseURL(os.Args[1])
	if err != nil {
		panic(err)
	}
	rdb := redis.NewClient(opt)
	defer rdb.Close()
	client := jobs.NewClient(rdb)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	job, err := client.Enqueue(ctx, "alice", jobs.Send{To: "@bob", Text: "Hello"}, jobs.IdempotencyKey("hello"))
	if err != nil {
		panic(err)
	}
	fmt.Println(job.ID)
}

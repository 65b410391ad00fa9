package jobs_test

import (
	"context"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/jobs"
)

// TestFollow hears outcomes, and after a lost connection those that come then. Channels
// are the whole server's, so other tests are heard too.
func TestFollow(t *testing.T) {
	for _, tt := range []struct {
		name  string
		setup func(testing.TB) *bench
	}{{"redis", setup}, {"miniredis", setupMini}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := tt.setup(t)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			joined, heard := make(chan struct{}, 10), make(chan string, 10)
			mine := uuid.NewString()
			var done sync.WaitGroup
			done.Go(func() {
				b.client.Follow(ctx, func() { joined <- struct{}{} }, func(r jobs.Result) {
					if string(r.Account) == mine {
						heard <- r.ID
					}
				})
			})
			defer done.Wait()
			defer cancel()
			<-joined
			pub := jobs.NewPublisher(b.rdb)
			running := outcome("runs")
			running.Account = accounts.ID(mine)
			if err := jobs.PublishProgress(ctx, b.rdb, running); err != nil { // is no outcome
				t.Fatal(err)
			}
			var want, got []string
			for _, id := range []string{"one", "two"} {
				r := outcome(id)
				r.Account = accounts.ID(mine)
				if err := pub.Publish(ctx, r); err != nil {
					t.Fatal(err)
				}
				want, got = append(want, id), append(got, <-heard)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestGetOn looks at one line, and at outcomes.
func TestGetOn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	j := b.enqueue("alice", "x")
	if r, err := b.client.GetOn(t.Context(), "alice", j.ID); err != nil || r.State != jobs.Pending || r.Account != "alice" {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := b.client.GetOn(t.Context(), "bob", j.ID); err == nil {
		t.Error("the job is on another line")
	}
	if err := jobs.NewPublisher(b.rdb).Publish(t.Context(), outcome(j.ID)); err != nil {
		t.Fatal(err)
	}
	if r, err := b.client.GetOn(t.Context(), "alice", j.ID); err != nil || r.State != jobs.Succeeded {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestListVisible(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.enqueue("alice", "x")
	want := b.enqueue("bob", "y").ID
	got, err := b.client.List(t.Context(), jobs.Filter{Visible: func(id accounts.ID) bool { return id == "bob" }})
	if err != nil || len(got) != 1 || got[0].ID != want {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestFollowAfterLoss joins again after the connection was cut.
func TestFollowAfterLoss(t *testing.T) {
	t.Parallel()
	b := benchOn(t, testenv.RedisServer(t).URL()) // cut alone
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	joined, heard := make(chan struct{}, 10), make(chan string, 10)
	var done sync.WaitGroup
	done.Go(func() {
		b.client.Follow(ctx, func() { joined <- struct{}{} }, func(r jobs.Result) { heard <- r.ID })
	})
	defer done.Wait()
	defer cancel()
	<-joined
	if err := b.rdb.Do(ctx, "CLIENT", "KILL", "TYPE", "pubsub").Err(); err != nil {
		t.Fatal(err)
	}
	<-joined
	if err := jobs.NewPublisher(b.rdb).Publish(ctx, outcome("after")); err != nil {
		t.Fatal(err)
	}
	if id := <-heard; id != "after" {
		t.Error(id)
	}
}

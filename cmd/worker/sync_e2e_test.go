package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/jobs"
)

// TestSyncMoves is a worker that is killed, or stopped, in the middle of a sync: the
// other one goes on where it was.
func TestSyncMoves(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"killed", "stopped"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 1)
			first := start(t, f.env, "run", "--name", "first", "--lease-ttl", "2s")
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			var batch jobs.Batch
			for i := range 600 {
				batch.Calls = append(batch.Calls, jobs.BatchCall{Send: &jobs.Send{To: "me", Text: fmt.Sprint("note ", i)}})
			}
			run := func(p jobs.Payload, each func(jobs.Result)) jobs.Result {
				t.Helper()
				j, err := f.client.Enqueue(ctx, f.accounts[0], p)
				if err != nil {
					t.Fatal(err)
				}
				r, err := f.client.Watch(ctx, j.ID, each)
				if err != nil || r.State != jobs.Succeeded {
					t.Fatalf("%+v, %v", r, err)
				}
				return r
			}
			run(batch, nil)
			// Longer than the store may lag behind: what came is stored.
			f.call(t, http.MethodPost, "/faults", `{"method":"messages.getHistory","delay":"1100ms"}`, nil)
			moved := false
			r := run(jobs.Sync{What: jobs.SyncMessages, Of: "me"}, func(r jobs.Result) {
				if moved || r.Progress.Done < 300 {
					return
				}
				moved = true
				if how == "killed" {
					first.kill(t)
				} else {
					began := time.Now()
					first.term(t)
					if took := time.Since(began); took > 10*time.Second {
						t.Errorf("the worker took %v to stop: it waited for the sync", took)
					}
				}
				start(t, f.env, "run", "--name", "second", "--lease-ttl", "2s")
			})
			var got jobs.SyncResult
			if err := json.Unmarshal(r.Result, &got); err != nil || got.Items != 600 || got.Total != 600 || !got.Complete || r.Worker != "second" {
				t.Errorf("%+v by %s: %v", got, r.Worker, err)
			}
			// Six pages, and the one that was under way once more.
			if n := len(f.record(t, "messages.getHistory")); !moved || n < 6 || n > 7 {
				t.Errorf("%d pages were asked for, want 6 or 7", n)
			}
		})
	}
}

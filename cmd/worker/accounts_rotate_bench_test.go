package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/jobs"
)

// BenchmarkRotateKey seals 10,000 sessions anew while a worker that holds all of these
// accounts runs jobs of 20 of them, none of which may be lost or done twice.
func BenchmarkRotateKey(b *testing.B) {
	const all, busy = 10000, 20
	f := newFleet(b, busy)
	f.fill(b, all-busy)
	keyFile := f.env["SWITCHBOARD_KEY_FILE"]
	must(b, f.env, "", "key", "add", keyFile)
	must(b, f.env, "", "key", "promote", keyFile)
	start(b, f.env, "run", "--name", "w", "--capacity", "20000", "--log-level", "warn")

	sent, round := 0, 0
	for b.Loop() {
		round++
		done := make(chan struct{})
		ids := make([][]string, busy)
		var producers sync.WaitGroup
		for i, account := range f.accounts {
			producers.Go(func() {
				for k := 0; ; k++ {
					select {
					case <-done:
						return
					default:
					}
					j, err := f.client.Enqueue(b.Context(), account, jobs.Send{To: "me", Text: fmt.Sprint(account, " ", round, " ", k)})
					if err != nil {
						b.Error(err)
						return
					}
					ids[i] = append(ids[i], j.ID)
					if _, err := f.client.Wait(b.Context(), j.ID); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		began := time.Now()
		var report resealed
		if err := json.Unmarshal([]byte(must(b, f.env, "", "accounts", "rotate-key", "--json", "--despite-workers").stdout), &report); err != nil {
			b.Fatal(err)
		}
		took := time.Since(began)
		close(done)
		producers.Wait()
		if report.Sessions != all {
			b.Fatalf("report %+v", report)
		}
		for _, of := range ids {
			for _, id := range of {
				if r, err := f.client.Wait(b.Context(), id); err != nil || r.State != jobs.Succeeded {
					b.Fatalf("job %s: %+v, %v", id, r, err)
				}
				sent++
			}
		}
		b.ReportMetric(took.Seconds(), "s/rotation")
		must(b, f.env, "", "key", "promote", keyFile, "--offline") // and back again
	}
	effects := map[string]int{}
	for _, c := range f.record(b, "messages.sendMessage") {
		if c.Effect {
			effects[c.Params.Message]++
		}
	}
	for text, times := range effects {
		if times != 1 {
			b.Errorf("%q was sent %d times", text, times)
		}
	}
	if len(effects) != sent || sent == 0 {
		b.Errorf("%d messages were sent of %d jobs", len(effects), sent)
	}
	b.ReportMetric(float64(sent), "jobs")
}

// fill adds accounts that have no jobs.
func (f *fleet) fill(tb testing.TB, n int) {
	tb.Helper()
	data, err := os.ReadFile(f.env["SWITCHBOARD_KEY_FILE"])
	if err != nil {
		tb.Fatal(err)
	}
	keys, err := accounts.ParseKeyset(data)
	if err != nil {
		tb.Fatal(err)
	}
	store, err := db.Open(tb.Context(), f.env["SWITCHBOARD_DATABASE"], db.Config{})
	if err != nil {
		tb.Fatal(err)
	}
	defer store.Close()
	registry := accounts.NewRegistry(store.Accounts(), keys)
	var adding sync.WaitGroup
	for part := range 8 {
		adding.Go(func() {
			for i := part; i < n; i += 8 {
				s := madeUp(i)
				key, err := accounts.NewAuthKey(s.AuthKey[:])
				if err == nil {
					_, err = registry.Add(tb.Context(), accounts.Account{ID: accounts.ID(fmt.Sprintf("idle%05d", i))}, accounts.Session{DC: 2, Key: key})
				}
				if err != nil {
					tb.Error(err)
					return
				}
			}
		})
	}
	adding.Wait()
}

package dispatch

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Every flight is run, on goroutines that are used again and end when there is nothing
// to do.
func TestCrew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var began []string
		gate := make(chan struct{})
		c := &crew{run: func(f *flight) {
			mu.Lock()
			began = append(began, f.key.id)
			mu.Unlock()
			<-gate
		}}
		var want []string
		round := func(ids string) {
			began, want = nil, nil
			for _, id := range ids {
				want = append(want, string(id))
				c.take(&flight{key: flightKey{"q", string(id)}})
			}
			synctest.Wait()
			slices.Sort(began) // who has begun comes to the lock in any order
			if !slices.Equal(began, want) || len(c.next) != 0 {
				t.Errorf("began %q, want %q", began, want)
			}
			for range ids {
				gate <- struct{}{}
			}
			synctest.Wait()
		}
		round("abcdefgh")
		first := slices.Clone(c.idle)
		if len(first) != 8 {
			t.Fatalf("%d hands wait, want 8", len(first))
		}
		<-time.NewTimer(time.Minute).C
		round("xyz")
		if len(c.idle) != 8 {
			t.Errorf("%d hands wait, want the 8 from before", len(c.idle))
		}
		c.trim(time.Now().Add(-time.Second))
		synctest.Wait()
		if len(c.idle) != 3 {
			t.Errorf("%d hands wait, want the 3 that had something to do", len(c.idle))
		}
		c.close()
		c.all.Wait()
	})
}

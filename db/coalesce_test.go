package db

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// doubler answers with twice the request. It notes its batches and runs them
// when it may.
type doubler struct {
	coalescer[int, int]
	wg      sync.WaitGroup
	batches [][]int    // only the one goroutine that runs batches writes
	next    chan error // one value lets one batch through
}

func newDoubler(limit time.Duration) *doubler {
	d := &doubler{next: make(chan error)}
	d.coalescer = coalescer[int, int]{max: 3, limit: limit, running: &d.wg, run: func(ctx context.Context, reqs []int) ([]answer[int], error) {
		d.batches = append(d.batches, slices.Clone(reqs))
		select {
		case err := <-d.next:
			if err != nil {
				return nil, err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		out := make([]answer[int], len(reqs))
		for i, r := range reqs {
			out[i].value = 2 * r
			if r < 0 {
				out[i] = answer[int]{err: errors.New("negative")}
			}
		}
		return out, nil
	}}
	return d
}

// ask starts a caller and waits until it is in line.
func (d *doubler) ask(t *testing.T, ctx context.Context, req int, got *string) {
	t.Helper()
	go func() {
		v, err := d.do(ctx, req)
		*got = fmt.Sprint(v, " ", err)
	}()
	synctest.Wait()
}

func TestCoalescer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDoubler(time.Hour)
		got := make([]string, 8)
		start := time.Now()
		for i := range 6 {
			d.ask(t, t.Context(), i, &got[i])
		}
		if want := [][]int{{0}}; !cmp.Equal(d.batches, want) {
			t.Fatalf("batches %v, want the first alone and at once", d.batches)
		}
		d.ask(t, t.Context(), -1, &got[6])
		d.next <- nil
		synctest.Wait()
		if got[0] != "0 <nil>" || got[1] != "" {
			t.Errorf("after one batch: %q", got)
		}
		d.next <- errors.New("broken")
		d.next <- nil
		d.wg.Wait() // nobody calls: no goroutine
		synctest.Wait()
		if diff := cmp.Diff([][]int{{0}, {1, 2, 3}, {4, 5, -1}}, d.batches); diff != "" {
			t.Errorf("batches (-want +got):\n%s", diff)
		}
		d.ask(t, t.Context(), 7, &got[7])
		d.next <- nil
		d.wg.Wait()
		synctest.Wait()
		want := []string{"0 <nil>", "0 broken", "0 broken", "0 broken", "8 <nil>", "10 <nil>", "0 negative", "14 <nil>"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("answers (-want +got):\n%s", diff)
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("callers were delayed by %v", waited)
		}
	})
}

func TestCoalescerCallerLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDoubler(time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		got := make([]string, 5)
		d.ask(t, ctx, 0, &got[0]) // in the batch that runs
		d.ask(t, ctx, 1, &got[1]) // in line
		for i := 2; i < 5; i++ {
			d.ask(t, t.Context(), i, &got[i])
		}
		cancel()
		synctest.Wait()
		if got[0] != "0 context canceled" || got[1] != got[0] {
			t.Errorf("callers whose context ended: %q", got[:2])
		}
		d.next <- nil
		d.next <- nil
		d.wg.Wait()
		synctest.Wait()
		if diff := cmp.Diff([][]int{{0}, {2, 3, 4}}, d.batches); diff != "" {
			t.Errorf("batches (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"4 <nil>", "6 <nil>", "8 <nil>"}, got[2:]); diff != "" {
			t.Errorf("answers to the others (-want +got):\n%s", diff)
		}

		// All in line have left.
		ctx, cancel = context.WithCancel(t.Context())
		d.ask(t, t.Context(), 5, &got[0])
		d.ask(t, ctx, 6, &got[1])
		cancel()
		synctest.Wait()
		d.next <- nil
		d.wg.Wait()
		if n := len(d.batches); n != 3 {
			t.Errorf("%d batches, want 3: nobody waited for the last", n)
		}
		if len(d.waiting) != 0 || d.busy {
			t.Errorf("left behind: %d waiting, busy %v", len(d.waiting), d.busy)
		}
	})
}

func TestCoalescerLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDoubler(time.Minute)
		start := time.Now()
		_, err := d.do(t.Context(), 1)
		wantErr(t, "a batch that hangs", err, context.DeadlineExceeded)
		if took := time.Since(start); took != time.Minute {
			t.Errorf("it took %v", took)
		}
		d.wg.Wait()
	})
}

// Behind a batch of many callers the next waits for company, behind others it does not.
func TestCoalescerLingers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDoubler(time.Minute)
		d.max, d.linger = crowd+1, time.Second
		var got [3*crowd + 9]string
		at, began := 0, time.Now()
		ask := func(n int) {
			for range n {
				d.ask(t, t.Context(), at, &got[at])
				at++
			}
		}
		batches := func(want ...int) {
			t.Helper()
			synctest.Wait()
			var sizes []int
			for _, b := range d.batches {
				sizes = append(sizes, len(b))
			}
			if diff := cmp.Diff(want, sizes); diff != "" {
				t.Errorf("batches (-want +got):\n%s", diff)
			}
		}
		ask(1)
		ask(crowd)
		d.next <- nil
		batches(1, crowd) // at once
		ask(1)
		d.next <- nil
		batches(1, crowd)
		ask(2)
		<-time.NewTimer(time.Second).C
		batches(1, crowd, 3)
		ask(crowd)
		d.next <- nil
		batches(1, crowd, 3, crowd)
		ask(crowd + 1)
		d.next <- nil
		batches(1, crowd, 3, crowd, crowd+1) // a whole batch does not wait
		if took := time.Since(began); took != time.Second {
			t.Errorf("it took %v", took)
		}
		d.next <- nil
		d.wg.Wait()
		synctest.Wait()
		for i, s := range got[:at] {
			if want := fmt.Sprint(2*i, " <nil>"); s != want {
				t.Errorf("caller %d got %q, want %q", i, s, want)
			}
		}
	})
}

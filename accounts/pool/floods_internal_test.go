package pool

import (
	"testing"
	"testing/synctest"
	"time"
)

// A pause ends on a whole second, not before it is demanded to and a little later at
// most; what is told of it again changes nothing.
func TestPause(t *testing.T) {
	for _, wait := range []time.Duration{time.Second, 8 * time.Second, 300 * time.Second, 14 * 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			<-time.After(123456789) // the bubble begins on a whole second
			ends := map[time.Time]bool{}
			for range 50 {
				var f floods
				f.load(nil)
				k := floodKey{method: "m"}
				until, known, fresh := f.begin(k, wait)
				extra := time.Until(until) - wait
				if until.Nanosecond() != 0 || extra < 0 || extra > min(max(wait/8, time.Second), 30*time.Second)+time.Second || known || !fresh {
					t.Fatalf("a pause of %v has %v more, known %v, fresh %v", wait, extra, known, fresh)
				}
				ends[until] = true
				if again, known, _ := f.begin(k, wait); !again.Equal(until) || !known {
					t.Fatalf("told again: %v after %v", again, until)
				}
				if longer, known, fresh := f.begin(k, 10*wait); known || !fresh || longer.Before(time.Now().Add(10*wait)) {
					t.Fatalf("a longer one ends at %v, known %v, fresh %v", longer, known, fresh)
				}
			}
			if len(ends) < 2 {
				t.Errorf("50 accounts that were refused together come back together after %v", wait)
			}
		})
	}
}

func TestPauseIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f floods
		f.load(nil)
		one, two := floodKey{method: "m"}, floodKey{chat: 7}
		first, _, _ := f.begin(one, 10*time.Second)
		second, _, _ := f.begin(two, 60*time.Second)
		if k, wait, ok := f.blocking(floodKey{}, one, two); !ok || k != two || wait != time.Until(second) {
			t.Errorf("%+v is blocked for %v (%v), want that which ends last", k, wait, ok)
		}
		<-time.After(time.Until(first) - 1)
		if _, _, ok := f.blocking(one); !ok {
			t.Error("over too soon")
		}
		<-time.After(1)
		if _, _, ok := f.blocking(one, floodKey{}); ok {
			t.Error("not over")
		}
		if _, _, fresh := f.begin(one, time.Second); !fresh {
			t.Error("the next one is not a new one")
		}
	})
}

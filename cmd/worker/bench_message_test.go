package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

func TestBenchMessage(t *testing.T) {
	m := benchMessage{account: 3, lane: 2, n: 17, at: time.Unix(1_700_000_000, 123)}
	got, ok := parseBenchMessage(m.text())
	if !ok || got.account != m.account || got.lane != m.lane || got.n != m.n || !got.at.Equal(m.at) {
		t.Errorf("%q reads as %+v, %v", m.text(), got, ok)
	}
	for _, text := range []string{"", "hello", "bench 1 2 3", "bench a 2 3 4"} {
		if _, ok := parseBenchMessage(text); ok {
			t.Errorf("%q is a bench's message", text)
		}
	}
}

func TestNumbered(t *testing.T) {
	next := map[benchLane]int{}
	for k := range 60 {
		m := numbered(k, 5, 3)
		lane := benchLane{m.account, m.lane}
		if m.n != next[lane] {
			t.Errorf("message %d has number %d in %v, want %d", k, m.n, lane, next[lane])
		}
		next[lane]++
	}
	if len(next) != 15 {
		t.Errorf("%d lanes, want 15", len(next))
	}
}

// effect is the call of message n in lane 0 of account 0.
func effect(n int, conn int64) tgsim.Call {
	return tgsim.Call{Conn: conn, KeyID: "k", Effect: true, Params: tgsim.Params{Message: benchMessage{n: n, at: time.Unix(1, 0)}.text()}}
}

func TestVerdict(t *testing.T) {
	for _, tt := range []struct {
		name  string
		calls []tgsim.Call
		want  [4]int // sent, duplicates, out of order, alternated
	}{
		{"good", []tgsim.Call{effect(0, 1), effect(1, 1), effect(2, 2)}, [4]int{3, 0, 0, 0}},
		{"twice", []tgsim.Call{effect(0, 1), effect(1, 1), effect(0, 1)}, [4]int{2, 1, 0, 0}},
		{"answered again", []tgsim.Call{effect(0, 1), {KeyID: "k", Conn: 1, Duplicate: true}}, [4]int{1, 0, 0, 0}},
		{"out of order", []tgsim.Call{effect(0, 1), effect(2, 1), effect(1, 1)}, [4]int{3, 0, 1, 0}},
		{"two connections", []tgsim.Call{effect(0, 1), effect(1, 2), effect(2, 1)}, [4]int{3, 0, 0, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var v verdict
			v.read(tt.calls)
			if got := [4]int{len(v.sent), v.duplicates, v.disorder, v.alternated}; got != tt.want {
				t.Errorf("sent, duplicates, out of order, alternated: %v, want %v", got, tt.want)
			}
			if bad := tt.want[1]+tt.want[2]+tt.want[3] > 0; bad != (v.err() != nil) {
				t.Errorf("err is %v", v.err())
			}
		})
	}
}

func TestTakeovers(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	sent := func(enqueued, called int, conn int64) benchSent {
		return benchSent{benchMessage{at: at(enqueued)}, tgsim.Call{Time: at(called), Conn: conn}}
	}
	mine := map[int]bool{0: true}
	for _, tt := range []struct {
		name   string
		sent   []benchSent
		deaths []death
		want   []time.Duration
	}{
		{"had work", []benchSent{sent(1, 2, 1), sent(3, 15, 2)}, []death{{at(5), mine}}, []time.Duration{10 * time.Second}},
		{"got work later", []benchSent{sent(1, 2, 1), sent(9, 15, 2)}, []death{{at(5), mine}}, []time.Duration{6 * time.Second}},
		{"on its way", []benchSent{sent(1, 2, 1), sent(3, 6, 1), sent(3, 15, 2)}, []death{{at(5), mine}}, []time.Duration{10 * time.Second}},
		{"another's", []benchSent{sent(1, 2, 1), sent(3, 6, 1)}, []death{{at(5), map[int]bool{1: true}}}, nil},
		{"no work", []benchSent{sent(1, 2, 1)}, []death{{at(5), mine}}, nil},
		{"killed again", []benchSent{sent(1, 2, 1), sent(3, 20, 2)}, []death{{at(5), mine}, {at(12), mine}}, []time.Duration{8 * time.Second}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, takeovers(tt.sent, tt.deaths)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestQuantile(t *testing.T) {
	var took []time.Duration
	for i := range 101 {
		took = append(took, time.Duration(100-i)*time.Millisecond)
	}
	got := fmt.Sprint(quantile(took, 0), quantile(took, 0.5), quantile(took, 0.99), quantile(took, 1), quantile(nil, 1))
	if got != "0 50 99 100 0" {
		t.Errorf("quantiles are %s", got)
	}
}

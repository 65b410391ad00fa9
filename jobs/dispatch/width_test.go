package dispatch

import (
	"fmt"
	"testing"
)

// A lane is as wide as any until it got stuck, and widens as jobs pass.
func TestWidth(t *testing.T) {
	t.Parallel()
	var w width
	for range 7 {
		if w.pass() || w.limit(50) != 50 {
			t.Fatalf("a lane that never got stuck: %+v", w)
		}
	}
	w.narrow()
	if w.limit(50) != 8 || w.limit(5) != 5 {
		t.Errorf("7 have passed, and it is %d wide", w.limit(50))
	}
	w.narrow()
	var wide []int
	for range 70 {
		if w.pass() {
			wide = append(wide, w.passed, w.limit(50))
		}
	}
	if got, want := fmt.Sprint(wide), "[4 4 8 8 16 16 32 32 64 50]"; got != want {
		t.Errorf("it widens so: %s, want %s", got, want)
	}
}

// Of lanes without jobs in flight few are known.
func TestKeepsFewLanes(t *testing.T) {
	t.Parallel()
	a := &account{lanes: map[string]*running{}}
	for i := range 20 {
		a.lanes[fmt.Sprint("busy ", i)] = &running{flights: 1}
	}
	for i := range 100 {
		name := fmt.Sprint("narrow ", i)
		a.keepLane(name, width{most: 5})
		if l := a.lanes[name]; l == nil || l.most != 5 || len(a.lanes) > keptLanes {
			t.Fatalf("after lane %d: %+v, %d lanes", i, l, len(a.lanes))
		}
	}
	for i := range 20 {
		if a.lanes[fmt.Sprint("busy ", i)] == nil {
			t.Errorf("busy lane %d is forgotten", i)
		}
	}
	for i := range 40 {
		a.lanes[fmt.Sprint("busy ", i)] = &running{flights: 1}
	}
	a.keepLane("late", width{most: 5})
	if a.lanes["late"] != nil {
		t.Error("a lane is kept beside 40 busy ones")
	}
}

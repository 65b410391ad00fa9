package accounts

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const ttl = 10 * time.Second

// member is one that is settled, and whose heartbeat is in time.
func member(id string, weight, capacity int, labels Labels) Member {
	w := Worker{ID: id, Weight: weight, Capacity: capacity, Labels: labels}
	return Member{Worker: w, Age: time.Hour, Left: 9 * time.Second}
}

func young(m Member) Member  { m.Age = time.Second; return m }
func silent(m Member) Member { m.Left = 3 * time.Second; return m }

func group(labels Labels, free int, held map[string]int) Group {
	return Group{Set: labels.String(), Labels: labels, Free: free, Held: held}
}

func parked(g Group) Group {
	g.Set, g.Parked = "parked "+g.Set, true
	return g
}

var (
	eu = Labels{"region": "eu"}
	us = Labels{"region": "us"}
)

func TestPlan(t *testing.T) {
	type wants struct{ claim, handOn int }
	a, b, c := member("a", 1, 1000, nil), member("b", 1, 1000, nil), member("c", 1, 1000, nil)
	tests := []struct {
		name   string
		fleet  Fleet
		greedy bool
		want   map[string]wants
	}{
		{"the first worker takes all", Fleet{[]Member{a}, []Group{group(nil, 10, nil)}}, false,
			map[string]wants{"a": {10, 0}}},
		{"two take half each", Fleet{[]Member{a, b}, []Group{group(nil, 10, nil)}}, false,
			map[string]wants{"a": {5, 0}, "b": {5, 0}}},
		{"what is left over is for nobody while one lacks", Fleet{[]Member{a, b}, []Group{group(nil, 3, map[string]int{"a": 2})}}, false,
			map[string]wants{"a": {1, 0}, "b": {2, 0}}},
		{"nor is it handed on", Fleet{[]Member{a, b, c}, []Group{group(nil, 0, map[string]int{"a": 4, "b": 4, "c": 3})}}, false,
			map[string]wants{"a": {}, "b": {}, "c": {}}},
		{"one that joins is given its share", Fleet{[]Member{a, b, c}, []Group{group(nil, 0, map[string]int{"a": 6, "b": 3})}}, false,
			map[string]wants{"a": {0, 3}, "b": {}, "c": {}}},
		{"one account is lacked, and one is given", Fleet{[]Member{a, b, c}, []Group{group(nil, 0, map[string]int{"a": 4, "b": 4, "c": 2})}}, false,
			map[string]wants{"a": {0, 1}, "b": {}, "c": {}}},
		{"not while some are free", Fleet{[]Member{a, b}, []Group{group(nil, 1, map[string]int{"a": 9})}}, false,
			map[string]wants{"a": {}, "b": {1, 0}}},
		{"not to one that has just joined", Fleet{[]Member{a, young(b)}, []Group{group(nil, 0, map[string]int{"a": 10})}}, false,
			map[string]wants{"a": {}, "b": {}}},
		{"which may take what is free", Fleet{[]Member{a, young(b)}, []Group{group(nil, 4, map[string]int{"a": 6})}}, false,
			map[string]wants{"a": {}, "b": {4, 0}}},
		{"nothing is kept for one that is silent", Fleet{[]Member{a, silent(b)}, []Group{group(nil, 4, map[string]int{"a": 6})}}, false,
			map[string]wants{"a": {4, 0}, "b": {}}},
		{"nor for one that leaves", Fleet{[]Member{a, member("b", 0, 9, nil)}, []Group{group(nil, 4, map[string]int{"b": 6})}}, false,
			map[string]wants{"a": {4, 0}, "b": {}}},
		{"by weight", Fleet{[]Member{member("a", 3, 1000, nil), b}, []Group{group(nil, 8, nil)}}, false,
			map[string]wants{"a": {6, 0}, "b": {2, 0}}},
		{"up to capacity", Fleet{[]Member{member("a", 1, 2, nil), b}, []Group{group(nil, 8, nil)}}, false,
			map[string]wants{"a": {2, 0}, "b": {6, 0}}},
		{"one that is patient no more takes all", Fleet{[]Member{a, b}, []Group{group(nil, 8, map[string]int{"a": 1})}}, true,
			map[string]wants{"a": {8, 0}}},
		{"labels: only what one serves, and no share of the rest",
			Fleet{[]Member{member("a", 1, 1000, eu), b}, []Group{group(eu, 6, nil), group(us, 4, nil)}}, false,
			map[string]wants{"a": {3, 0}, "b": {7, 0}}},
		{"labels: given from a class to one who lacks of it",
			Fleet{[]Member{member("a", 1, 1000, eu), b}, []Group{group(eu, 0, map[string]int{"b": 6}), group(us, 4, nil)}}, false,
			map[string]wants{"a": {}, "b": {4, 3}}},
		{"parked ones are shared apart from the others",
			Fleet{[]Member{a, b}, []Group{group(nil, 4, map[string]int{"b": 2}), parked(group(nil, 2, map[string]int{"a": 4}))}}, false,
			map[string]wants{"a": {3, 0}, "b": {3, 0}}},
		{"parked ones make room",
			Fleet{[]Member{member("a", 1, 5, nil)}, []Group{group(nil, 2, map[string]int{"a": 2}), parked(group(nil, 0, map[string]int{"a": 3}))}}, false,
			map[string]wants{"a": {0, 2}}},
		{"and do not come back",
			Fleet{[]Member{member("a", 1, 5, nil)}, []Group{group(nil, 2, map[string]int{"a": 2}), parked(group(nil, 2, map[string]int{"a": 1}))}}, false,
			map[string]wants{"a": {2, 0}}},
		{"labels: nobody serves it", Fleet{[]Member{member("a", 1, 1000, eu)}, []Group{group(us, 6, nil)}}, true,
			map[string]wants{"a": {}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for worker, want := range tt.want {
				room := tt.fleet.room(worker)
				p := tt.fleet.planFor(worker, room, tt.greedy, ttl)
				if diff := cmp.Diff(want, wants{total(p.claim), total(p.handOn)}, cmp.AllowUnexported(wants{})); diff != "" {
					t.Errorf("%s (-want +got):\n%s", worker, diff)
				}
			}
		})
	}
}

func total(qs []quota) (n int) {
	for _, q := range qs {
		n += q.n
	}
	return n
}

// room is what a member can hold yet.
func (f Fleet) room(worker string) int {
	i := slices.IndexFunc(f.Members, func(m Member) bool { return m.ID == worker })
	return f.Members[i].Capacity - f.held(true)[worker]
}

func TestPlanLooksWhenAnotherRunsOut(t *testing.T) {
	a, b := member("a", 1, 9, nil), silent(member("b", 1, 9, nil))
	f := Fleet{[]Member{a, b}, []Group{group(nil, 0, map[string]int{"b": 9})}}
	if p := f.planFor("a", 9, false, ttl); p.expires != b.Left || p.waiting {
		t.Errorf("looks again in %v, waiting %v; want %v, false", p.expires, p.waiting, b.Left)
	}
}

// drawFleet is any fleet that is settled.
func drawFleet(t *rapid.T) Fleet {
	label := rapid.SampledFrom([]Labels{nil, nil, eu, us, {"region": "eu", "tier": "a"}})
	var f Fleet
	for i := range rapid.IntRange(1, 6).Draw(t, "workers") {
		m := member(fmt.Sprint("w", i), rapid.IntRange(1, 4).Draw(t, "weight"), rapid.IntRange(1, 60).Draw(t, "capacity"), label.Draw(t, "asks"))
		f.Members = append(f.Members, m)
	}
	for _, ls := range []Labels{nil, eu, us, {"region": "eu", "tier": "a"}} {
		if n := rapid.IntRange(0, 80).Draw(t, "accounts"); n > 0 {
			f.Groups = append(f.Groups, group(ls, n, map[string]int{}))
		}
		if n := rapid.IntRange(0, 80).Draw(t, "parked"); n > 0 {
			f.Groups = append(f.Groups, parked(group(ls, n, map[string]int{})))
		}
	}
	return f
}

// move makes what one worker plans happen, as far as there is something to take.
func (f Fleet) move(worker string, greedy bool) (moved int) {
	p := f.planFor(worker, f.room(worker), greedy, ttl)
	take := func(q quota, from func(*Group) int, apply func(g *Group, n int)) {
		for i := range f.Groups {
			if g := &f.Groups[i]; slices.Contains(q.sets, g.Set) {
				n := min(q.n, from(g))
				apply(g, n)
				q.n, moved = q.n-n, moved+n
			}
		}
	}
	for _, q := range p.claim {
		take(q, func(g *Group) int { return g.Free }, func(g *Group, n int) { g.Free, g.Held[worker] = g.Free-n, g.Held[worker]+n })
	}
	for _, q := range p.handOn {
		take(q, func(g *Group) int { return g.Held[worker] }, func(g *Group, n int) { g.Free, g.Held[worker] = g.Free+n, g.Held[worker]-n })
	}
	return moved
}

// settle lets the workers move, one after the other, until none does.
func (f Fleet) settle(t *rapid.T) {
	for round := range 300 {
		moved := 0
		for _, m := range f.Members {
			moved += f.move(m.ID, false)
		}
		for _, m := range f.Members {
			if moved == 0 {
				moved += f.move(m.ID, true)
			}
		}
		if moved == 0 {
			return
		}
		if round == 299 {
			t.Fatalf("the fleet does not settle: %+v", f)
		}
	}
}

// Whatever fleet it is, it settles; every account that somebody serves and has room
// for is held, none by one that does not serve it, and nobody holds too many.
func TestFleetSettles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFleet(t)
		f.settle(t)
		f.check(t)
		// One joins.
		joins := member("joins", rapid.IntRange(1, 4).Draw(t, "weight"), 1000, nil)
		f.Members = append([]Member{joins}, f.Members...)
		f.settle(t)
		f.check(t)
		for _, c := range f.classes(ttl) {
			if c.lacks(0) > 0 {
				t.Errorf("the one that joined lacks %d of %v, holds %d", c.lacks(0), c.sets, c.held[0])
			}
		}
	})
}

func (f Fleet) check(t *rapid.T) {
	held, served := f.held(true), f.held(false)
	for _, m := range f.Members {
		if held[m.ID] > m.Capacity {
			t.Errorf("%s holds %d, has capacity %d", m.ID, held[m.ID], m.Capacity)
		}
	}
	for _, g := range f.Groups {
		for _, m := range f.Members {
			if g.Held[m.ID] > 0 && !m.Labels.in(g.Labels) {
				t.Errorf("%s holds accounts with %v", m.ID, g.Labels)
			}
			of := served
			if g.Parked {
				of = held
			}
			if g.Free > 0 && m.Labels.in(g.Labels) && of[m.ID] < m.Capacity {
				t.Errorf("%d accounts with %s are free, and %s has room", g.Free, g.Set, m.ID)
			}
		}
		if g.Free > 0 && f.whyUnserved(g.Labels, g.Parked) == "" {
			t.Errorf("%d accounts with %v are not said to be unserved", g.Free, g.Labels)
		}
	}
}

func TestParseLabels(t *testing.T) {
	got, err := ParseLabels([]string{"region=eu", "zone=a=b", "empty=", "region=eu"})
	if diff := cmp.Diff(Labels{"region": "eu", "zone": "a=b", "empty": ""}, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, bad := range [][]string{{"region"}, {"=eu"}, {""}, {"region=eu", "region=us"}} {
		if got, err := ParseLabels(bad); err == nil {
			t.Errorf("ParseLabels(%q) = %v, want an error", bad, got)
		}
	}
}

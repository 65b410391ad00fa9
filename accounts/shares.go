package accounts

import (
	"math"
	"slices"
	"time"
)

// class is the accounts that the same workers serve, parked ones apart from the
// others: they are no work. Fairness is reckoned class by class: what one worker alone
// serves is no part of the others' shares.
type class struct {
	sets   []string
	parked bool
	total  int
	free   int
	held   []int     // by member
	room   []int     // by member: what it can hold yet, of any class
	able   []bool    // by member: it serves these accounts
	share  []float64 // by member; their sum is total, or less if capacities are
}

// low and high are the whole numbers around a member's share.
func (c *class) low(m int) int  { return int(math.Floor(c.share[m] + epsilon)) }
func (c *class) high(m int) int { return int(math.Ceil(c.share[m] - epsilon)) }

// serves tells whether a member has a part in the class.
func (c *class) serves(m int) bool { return c.able[m] }

// lacks is how many accounts a member holds below its share, and has room for.
func (c *class) lacks(m int) int { return max(0, min(c.low(m)-c.held[m], c.room[m])) }

// exceeds is how many it holds above it.
func (c *class) exceeds(m int) int { return max(0, c.held[m]-c.low(m)) }

const epsilon = 1e-6

// trusted tells whether a member counts: one that has missed its heartbeats is
// probably dead, and nothing is kept for it.
func (m Member) trusted(ttl time.Duration) bool { return m.Weight > 0 && m.Left > ttl/2 }

// classes sorts the groups by who serves them, and says what each member's share is.
// Members that are not trusted have none. Parked classes are the last, and take what
// capacity the others leave.
func (f Fleet) classes(ttl time.Duration) []*class {
	index := map[string]int{}
	served, all := f.held(false), f.held(true)
	room := map[bool][]int{false: make([]int, len(f.Members)), true: make([]int, len(f.Members))} // by parked
	capacity := make([]float64, len(f.Members))
	for i, m := range f.Members {
		index[m.ID], capacity[i] = i, float64(m.Capacity)
		room[false][i], room[true][i] = m.Capacity-served[m.ID], m.Capacity-all[m.ID]
	}
	var classes []*class
	known := map[string]*class{}
	for _, g := range f.Groups {
		key := make([]byte, len(f.Members)+1)
		if g.Parked {
			key[len(f.Members)] = 1
		}
		for i, m := range f.Members {
			if m.trusted(ttl) && m.Labels.in(g.Labels) {
				key[i] = 1
			}
		}
		c := known[string(key)]
		if c == nil {
			c = &class{parked: g.Parked, room: room[g.Parked], held: make([]int, len(f.Members)), able: make([]bool, len(f.Members)), share: make([]float64, len(f.Members))}
			for i := range f.Members {
				c.able[i] = key[i] == 1
			}
			known[string(key)] = c
			classes = append(classes, c)
		}
		c.sets = append(c.sets, g.Set)
		c.free += g.Free
		c.total += g.Free
		for worker, n := range g.Held {
			c.total += n
			if i, ok := index[worker]; ok {
				c.held[i] += n
			}
		}
	}
	slices.SortStableFunc(classes, func(a, b *class) int { return order(a.parked) - order(b.parked) })
	first := slices.IndexFunc(classes, func(c *class) bool { return c.parked })
	if first < 0 {
		first = len(classes)
	}
	f.shareOut(classes[:first], capacity)
	f.shareOut(classes[first:], capacity)
	return classes
}

func order(parked bool) int {
	if parked {
		return 1
	}
	return 0
}

// shareOut divides each class among those who serve it, by weight. Who gets more
// than its capacity that way takes what it can, from each class alike, and the rest
// is divided among the others. Of capacity, by member, it leaves what is not taken.
func (f Fleet) shareOut(classes []*class, capacity []float64) {
	serves := make([][]bool, len(classes)) // class, member: still takes part
	rest := make([]float64, len(classes))  // of each class, to be divided
	for k, c := range classes {
		serves[k], rest[k] = slices.Clone(c.able), float64(c.total)
	}
	partOf := func(k, member int) float64 {
		if !serves[k][member] {
			return 0
		}
		weights := 0
		for i, m := range f.Members {
			if serves[k][i] {
				weights += m.Weight
			}
		}
		return rest[k] * float64(f.Members[member].Weight) / float64(weights)
	}
	for {
		// All parts of a round are reckoned before any is taken.
		parts := make([][]float64, len(f.Members))
		full := false
		over := make([]bool, len(f.Members))    // gets more than it can take
		part := make([]float64, len(f.Members)) // the fraction that it takes then
		for i := range f.Members {
			parts[i] = make([]float64, len(classes))
			sum := 0.0
			for k := range classes {
				parts[i][k] = partOf(k, i)
				sum += parts[i][k]
			}
			if sum > capacity[i]+epsilon {
				over[i], part[i], full = true, capacity[i]/sum, true
			}
		}
		for i := range f.Members {
			for k, c := range classes {
				switch {
				case !full:
					c.share[i] += parts[i][k]
				case over[i]:
					c.share[i] = parts[i][k] * part[i]
					rest[k] -= c.share[i]
					serves[k][i] = false
				}
			}
		}
		if !full {
			break
		}
	}
	for i := range f.Members {
		for _, c := range classes {
			capacity[i] = max(0, capacity[i]-c.share[i])
		}
	}
}

// quota is how many accounts of some sets to claim, or to hand over.
type quota struct {
	sets []string
	n    int
}

// plan is what one worker does next so that every worker has its share.
type plan struct {
	claim   []quota
	handOn  []quota
	waiting bool          // accounts are free that the worker could take but others should
	expires time.Duration // when the next of the other workers runs out; 0: there is none
}

// planFor says what the member called worker does, which can hold room more
// accounts. It claims up to its share; what division leaves over goes to whoever is
// first, once nobody lacks anything. A greedy one claims all that is free: those for
// whom it was do not come. It hands on no more than others lack, and not to members
// younger than a TTL: one that keeps dying would keep the accounts moving. While
// accounts of a class are free none is handed on: their takers are slow. Parked
// accounts go where they make room for others.
func (f Fleet) planFor(worker string, room int, greedy bool, ttl time.Duration) (p plan) {
	me := -1
	for i, m := range f.Members {
		if m.ID == worker {
			me = i
		} else if p.expires == 0 || m.Left < p.expires {
			p.expires = m.Left
		}
	}
	if me < 0 || !f.Members[me].trusted(ttl) {
		return p // a renewal is due, or too late
	}
	classes := f.classes(ttl)
	idle := 0 // parked accounts that could make room
	for _, c := range classes {
		if c.parked {
			idle += c.held[me]
		}
	}
	short, left := 0, 0 // accounts that are not parked: for which room is lacking; which others should take
	for _, c := range classes {
		takes := c.takes(me, greedy && c.serves(me))
		n := min(takes, room)
		if c.parked {
			n = max(0, min(takes, room-left))
		} else {
			short += takes - n
		}
		if n > 0 {
			p.claim = append(p.claim, quota{c.sets, n})
			room -= n
		}
		if c.free > n && c.serves(me) && (room > 0 || !c.parked && idle > 0) {
			p.waiting = true
			if !c.parked {
				left += c.free - n
			}
		}
		give := f.surplus(c, me, ttl)
		if c.parked {
			n := min(short, c.held[me])
			give, short = max(give, n), short-n
		}
		if give > 0 {
			p.handOn = append(p.handOn, quota{c.sets, give})
		}
	}
	return p
}

// takes is how many free accounts of the class a member claims.
func (c *class) takes(me int, greedy bool) int {
	if greedy {
		return c.free
	}
	if n := c.lacks(me); n > 0 {
		return min(n, c.free)
	}
	left := c.free // to those who lack nothing
	for m := range c.held {
		left -= c.lacks(m)
	}
	return max(0, min(c.high(me)-c.held[me], left))
}

// surplus is how many accounts of the class a member hands on. Each account that
// somebody lacks comes from whoever has most beyond its share at that point, so that
// all members, who reckon alike, give no more than is lacked.
func (f Fleet) surplus(c *class, me int, ttl time.Duration) (n int) {
	if c.free > 0 || c.exceeds(me) == 0 {
		return 0
	}
	lacked := 0
	excess := make([]int, len(f.Members))
	for i, m := range f.Members {
		excess[i] = c.exceeds(i)
		if m.Age >= ttl {
			lacked += c.lacks(i)
		}
	}
	for range lacked {
		most := 0
		for i := range excess {
			if excess[i] > excess[most] {
				most = i
			}
		}
		if excess[most] == 0 {
			break
		}
		excess[most]--
		if most == me {
			n++
		}
	}
	return n
}

package batching

import (
	"cmp"
	"iter"
	"slices"
)

// queue is the messages that are to be sent: those that go again before all
// others, both in the order in which they were first queued, so that a call is
// never before the one that it comes after.
type queue struct {
	again, fresh []*message
	turns        int64 // given so far
}

func (q *queue) len() int { return len(q.again) + len(q.fresh) }

func (q *queue) push(m *message) {
	q.turns++
	m.turn, m.queued = q.turns, true
	q.fresh = append(q.fresh, m)
}

// repeat puts messages that were taken from the queue back into it.
func (q *queue) repeat(ms []*message) {
	for _, m := range ms {
		if !m.queued {
			m.queued = true
			q.again = append(q.again, m)
		}
	}
	slices.SortFunc(q.again, func(a, b *message) int { return cmp.Compare(a.turn, b.turn) })
}

// peek returns the first message, nil if there is none. Calls whose caller is
// gone are dropped on the way.
func (q *queue) peek() *message {
	for q.len() > 0 {
		m := q.first()
		if m.call == nil || !m.call.ended {
			return m
		}
		q.pop()
	}
	q.again, q.fresh = nil, nil // what they grew to is not kept by an idle connection
	return nil
}

func (q *queue) first() *message {
	if len(q.again) > 0 {
		return q.again[0]
	}
	return q.fresh[0]
}

func (q *queue) pop() {
	from := &q.fresh
	if len(q.again) > 0 {
		from = &q.again
	}
	(*from)[0].queued = false
	(*from)[0] = nil
	*from = (*from)[1:]
}

func (q *queue) all() iter.Seq[*message] {
	return func(yield func(*message) bool) {
		for _, ms := range [][]*message{q.again, q.fresh} {
			for _, m := range ms {
				if !yield(m) {
					return
				}
			}
		}
	}
}

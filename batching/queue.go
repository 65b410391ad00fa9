package batching

import "iter"

// queue is the messages that are to be sent: those that were refused before all
// others, each in their order.
type queue struct {
	again, fresh []*message
}

func (q *queue) len() int { return len(q.again) + len(q.fresh) }

func (q *queue) push(m *message) { q.fresh = append(q.fresh, m) }

// repeat puts messages that were taken from the queue back to its head.
func (q *queue) repeat(ms []*message) { q.again = append(q.again, ms...) }

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
	*q = queue{} // what they grew to is not kept by an idle connection
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

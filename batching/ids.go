package batching

import "time"

// ids numbers messages. Its clock does not follow steps of the machine's clock,
// only corrections from the server.
type ids struct {
	base time.Time     // with a monotonic reading
	skew time.Duration // how far the server's clock is ahead
	set  bool          // skew was set
	// corrected is when a refusal set it last.
	corrected time.Time
	last      int64
	// accepted is the greatest id that the server is known to have taken.
	accepted int64
	content  int32 // messages so far that need an acknowledgment
}

func newIDs() ids { return ids{base: time.Now()} }

// now is the server's time, as far as it is known.
func (n *ids) now() time.Time { return n.base.Add(time.Since(n.base) + n.skew) }

// next returns an id: the server's Unix time in units of 2^-32 s, a multiple of
// 4, greater than all before. Source: core.telegram.org/mtproto/description,
// Message identifier.
func (n *ids) next() int64 {
	now := n.now()
	id := now.Unix()<<32 | int64(now.Nanosecond())<<32/1e9
	n.last = max(id&^3, n.last+4)
	return n.last
}

// number gives a message its id and seqno, once. The seqno is twice the number of
// content messages before it, and one more for content. Source: ibid., Message
// sequence number.
func (n *ids) number(m *message) {
	if m.id != 0 {
		n.last = max(n.last, m.id) // the container is newer, whatever the clock does
		return
	}
	m.id, m.seq = n.next(), 2*n.content
	if m.content {
		m.seq++
		n.content++
	}
}

// timeOf is when a message was made by its sender's clock.
func timeOf(id int64) time.Time { return time.Unix(id>>32, (id&0xffffffff)*1e9>>32) }

// farOff is how much the clocks may differ, network time included, before the
// server's counts.
const farOff = 5 * time.Second

// sawServerTime learns from the first message of the server what time it is there.
func (n *ids) sawServerTime(id int64) {
	if n.set {
		return
	}
	n.set = true
	if d := timeOf(id).Sub(n.now()); d.Abs() > farOff {
		n.skew += d
	}
}

// correct sets the clock after the server has refused an id for its time, in a
// message that has this id. made is when the refused frame was: those that left
// together are refused together, and the clock is set once. If ours was ahead, ids
// become smaller again, but not than one that was taken. They do not while they are
// about right: of frames on their way the server may take those that were made
// before, and smaller ids after them would break the order of seqnos.
func (n *ids) correct(id int64, ahead bool, made time.Time) {
	if !made.After(n.corrected) {
		return
	}
	n.set, n.corrected = true, time.Now()
	if d := timeOf(id).Sub(n.now()); d.Abs() > farOff {
		n.skew += d
	}
	if ahead && timeOf(n.last).Sub(n.now()) > farOff {
		n.last = n.accepted
	}
}

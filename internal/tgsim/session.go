package tgsim

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of what a session remembers.
const (
	keepReceived = 65_536  // msg_ids of the client; older ones get code 20
	keepAnswers  = 8_192   // answers the client has not acknowledged
	keepBytes    = 8 << 20 // in those answers
	keepWaiting  = 1_024   // messages waiting for a connection
)

// state of a received message.
type state uint8

const (
	stateDone state = iota + 1
	stateRunning
	stateFailed
)

// received is a message of the client that was accepted.
type received struct {
	id    int64
	seq   int32
	state state
	outer bool // it was a container
}

// session is one MTProto session of a key, see
// core.telegram.org/mtproto/description#session. It survives its connections.
type session struct {
	s       *Server
	key     *authKey
	id      int64
	created time.Time

	mu        sync.Mutex // guards below
	conn      *conn      // the latest connection it was used on, nil when closed
	announced bool       // new_session_created was sent
	updates   bool       // it made a call outside invokeWithoutUpdates
	seen      []received // sorted by id
	floor     int64      // greatest id that was forgotten
	calls     map[int64]*call
	waiting   map[int64][]*call // calls that wait for this msg_id
	out       outbox

	gone atomic.Bool // forgotten by the server: nothing is sent for it any more
}

func newSession(s *Server, k *authKey, id int64) *session {
	return &session{
		s:       s,
		key:     k,
		id:      id,
		created: time.Now(),
		calls:   map[int64]*call{},
		waiting: map[int64][]*call{},
		out:     newOutbox(),
	}
}

func (s *session) live() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn != nil
}

// find returns where id is, or where it would be.
func (s *session) findLocked(id int64) (int, bool) {
	n := len(s.seen)
	if n == 0 || s.seen[n-1].id < id { // nearly always
		return n, false
	}
	return slices.BinarySearchFunc(s.seen, id, func(r received, id int64) int {
		switch {
		case r.id < id:
			return -1
		case r.id > id:
			return 1
		}
		return 0
	})
}

// seqnoLocked checks a message that would stand at seen[i]. Numbers grow with
// msg_ids, content by two; ids and numbers may arrive in any order, so each
// message is compared with its neighbours by msg_id, which were compared
// before. See core.telegram.org/mtproto/description#message-sequence-number-msg-seqno.
func (s *session) seqnoLocked(i int, seq int32) *breach {
	odd := seq&1 != 0
	if i > 0 {
		if p := s.seen[i-1].seq; p > seq || p == seq && odd {
			return breachSeqTooLow
		}
	}
	if i < len(s.seen) {
		if n := s.seen[i].seq; n < seq || n == seq && odd {
			return breachSeqTooHigh
		}
	}
	return nil
}

func (s *session) insertLocked(i int, r received) {
	s.seen = slices.Insert(s.seen, i, r)
	if len(s.seen) >= 2*keepReceived {
		s.floor = s.seen[len(s.seen)-keepReceived-1].id
		s.seen = append([]received(nil), s.seen[len(s.seen)-keepReceived:]...)
	}
}

// refusal is a message that was not accepted.
type refusal struct {
	msg message
	*breach
}

// accepted is what a frame brought.
type accepted struct {
	fresh    []message // to run
	repeated []message // received before
	refused  []refusal
	first    int64 // lowest msg_id, when the session begins here; else 0
}

// accept judges the messages of a frame against what the session has seen, and
// remembers those it takes. A broken container is refused as a whole.
func (s *session) accept(outer message, members []message, container bool) accepted {
	s.mu.Lock()
	defer s.mu.Unlock()
	var a accepted
	if container {
		if b := s.containerLocked(outer, members); b != nil {
			a.refused = []refusal{{outer, b}}
			return a
		}
	}
	for _, m := range members {
		i, dup := s.findLocked(m.id)
		if dup && s.seen[i].outer {
			a.refused = append(a.refused, refusal{m, breachContainerDup})
			continue
		}
		if dup {
			a.repeated = append(a.repeated, m)
			continue
		}
		if b := s.judgeLocked(i, m); b != nil {
			a.refused = append(a.refused, refusal{m, b})
			continue
		}
		st := stateDone
		if !isService(m.typeID()) {
			st = stateRunning
		}
		s.insertLocked(i, received{id: m.id, seq: m.seq, state: st})
		a.fresh = append(a.fresh, m)
	}
	if !s.announced && len(a.fresh) > 0 {
		s.announced = true
		a.first = a.fresh[0].id
		for _, m := range a.fresh {
			a.first = min(a.first, m.id)
		}
	}
	return a
}

// judgeLocked checks a message that is not a container. A call must be odd.
// Of the service messages both kinds are taken: clients differ (gotd and TDLib
// send ping even, mtcute numbers even msgs_ack as content), Telegram takes all.
func (s *session) judgeLocked(i int, m message) *breach {
	switch {
	case m.id&3 != 0:
		return breachIDBits
	case m.id <= s.floor:
		return breachTooOld
	case m.seq&1 == 0 && !isService(m.typeID()):
		return breachEvenCall
	}
	return s.seqnoLocked(i, m.seq)
}

func (s *session) containerLocked(outer message, members []message) *breach {
	i, dup := s.findLocked(outer.id)
	switch {
	case dup:
		return breachContainerDup
	case outer.id <= s.floor:
		return breachTooOld
	case outer.seq&1 != 0:
		return breachContainerOdd
	}
	if b := s.seqnoLocked(i, outer.seq); b != nil {
		return b
	}
	for _, m := range members {
		if m.seq > outer.seq {
			return breachSeqTooLow
		}
	}
	s.insertLocked(i, received{id: outer.id, seq: outer.seq, state: stateDone, outer: true})
	return nil
}

// attach makes c the connection for what the server has to say. A session
// that comes back on a new connection gets what it has not acknowledged again.
func (s *session) attach(c *conn) {
	s.mu.Lock()
	if s.conn == c {
		s.mu.Unlock()
		return
	}
	var again []*outMsg
	if s.conn == nil {
		again = s.out.unsent()
		if s.s.live.settings.Load().DetailedInfo {
			for i, m := range again {
				again[i] = s.detailLocked(m)
			}
		}
	}
	s.conn = c
	updates := s.updates
	s.mu.Unlock()

	c.mu.Lock()
	gone := c.closed
	if !gone {
		c.sessions[s] = struct{}{}
	}
	c.mu.Unlock()
	if gone {
		s.s.detach(s, c)
	} else if updates && !s.gone.Load() {
		s.s.goOnline(s)
	}
	s.send(c, again)
}

// detach forgets a closed connection.
func (s *Server) detach(sess *session, c *conn) {
	sess.mu.Lock()
	gone := sess.conn == c
	if gone {
		sess.conn = nil
	}
	sess.mu.Unlock()
	if gone {
		s.goOffline(sess)
	}
}

// send hands messages to c, or to the session's latest connection when c is
// closed; without any they wait for the next.
func (s *session) send(c *conn, msgs []*outMsg) {
	if len(msgs) == 0 || s.gone.Load() || c != nil && c.enqueue(s, msgs) {
		return
	}
	s.mu.Lock()
	latest := s.conn
	s.mu.Unlock()
	if latest != nil && latest != c && latest.enqueue(s, msgs) {
		return
	}
	for _, m := range msgs {
		s.keep(m)
	}
}

// keep stores a message that found no connection.
func (s *session) keep(m *outMsg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out.keep(m)
}

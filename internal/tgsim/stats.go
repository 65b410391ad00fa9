package tgsim

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// keepViolations bounds Stats.Violation; the count goes on.
const keepViolations = 1000

// Violation is one broken rule of MTProto.
type Violation struct {
	Time time.Time `json:"time"`
	Conn int64     `json:"conn"`
	Code int       `json:"code"` // of bad_msg_notification, 0 if the rule has none
	Rule string    `json:"rule"`
}

// Stats counts what happened since the start, or since ResetRecord.
type Stats struct {
	Connections    int         `json:"connections"`
	Open           int         `json:"open"`   // connections at this moment
	Frames         int         `json:"frames"` // received
	Bytes          int         `json:"bytes"`  // received, the transport's own included
	Calls          int         `json:"calls"`
	Containers     int         `json:"containers"`      // received
	BadSalts       int         `json:"bad_salts"`       // answered with bad_server_salt; no violation
	UnknownKeys    int         `json:"unknown_keys"`    // answered with transport error -404
	DuplicatedKeys int         `json:"duplicated_keys"` // see Config.OneConnectionPerKey; counted always
	Dropped        int         `json:"dropped"`         // calls no longer in the record
	Injected       int         `json:"injected"`        // frames that a fault applied to
	ForeignHashes  int         `json:"foreign_hashes"`  // presented by one account, right for another
	WrongHashes    int         `json:"wrong_hashes"`    // access hashes right for nobody
	Violations     int         `json:"violations"`
	Violation      []Violation `json:"violation"` // the latest 1000

	Closes map[string]int `json:"closes"` // connections that ended, by reason
}

type stats struct {
	connections, frames, bytes, containers, badSalts, unknownKeys, duplicated, injected atomic.Int64
	foreignHashes, wrongHashes                                                          atomic.Int64

	mu         sync.Mutex // guards below
	violations int
	list       []Violation
	closes     map[string]int
}

func (s *stats) violate(conn int64, code int, rule string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.violations++
	if len(s.list) == keepViolations {
		s.list = append(s.list[:0], s.list[1:]...)
	}
	s.list = append(s.list, Violation{Time: time.Now(), Conn: conn, Code: code, Rule: rule})
}

// counted is a socket whose received bytes are counted.
type counted struct {
	net.Conn
	n *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	st := &s.stats
	out := Stats{
		Connections:    int(st.connections.Load()),
		Frames:         int(st.frames.Load()),
		Bytes:          int(st.bytes.Load()),
		Containers:     int(st.containers.Load()),
		BadSalts:       int(st.badSalts.Load()),
		UnknownKeys:    int(st.unknownKeys.Load()),
		DuplicatedKeys: int(st.duplicated.Load()),
		Injected:       int(st.injected.Load()),
		ForeignHashes:  int(st.foreignHashes.Load()),
		WrongHashes:    int(st.wrongHashes.Load()),
	}
	s.mu.RLock()
	out.Open = len(s.conns)
	s.mu.RUnlock()
	out.Calls, out.Dropped = s.record.counts()
	st.mu.Lock()
	defer st.mu.Unlock()
	out.Violations = st.violations
	out.Closes = st.closesLocked()
	out.Violation = append([]Violation{}, st.list...)
	return out
}

// ResetRecord empties the record and sets the counters of Stats to zero.
// Connections, sessions, messages and faults stay.
func (s *Server) ResetRecord() {
	s.record.reset()
	st := &s.stats
	for _, n := range []*atomic.Int64{&st.connections, &st.frames, &st.bytes, &st.containers, &st.badSalts, &st.unknownKeys, &st.duplicated, &st.injected, &st.foreignHashes, &st.wrongHashes} {
		n.Store(0)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.violations, st.list, st.closes = 0, nil, nil
}

package tgsim

import (
	"sync"
	"time"
	"unicode/utf8"
	"unsafe"
)

// Call is one API call that the server ran or refused. Calls are numbered in
// the order in which they took effect.
type Call struct {
	Seq       int64     `json:"seq"`
	Time      time.Time `json:"time"`
	Account   int64     `json:"account"` // user id, 0 when the key is not authorized
	Method    string    `json:"method"`  // TL name, as messages.sendMessage
	MsgID     int64     `json:"msg_id,string"`
	Container int64     `json:"container,string"` // msg_id of the container it came in, 0 if alone
	Frame     int64     `json:"frame"`            // number of the encrypted frame, over all connections
	Conn      int64     `json:"conn"`
	KeyID     string    `json:"key_id"`
	Layer     int       `json:"layer"` // of the key's last invokeWithLayer
	Params    Params    `json:"params"`
	Error     string    `json:"error,omitempty"` // of the rpc_error it was answered with
	Effect    bool      `json:"effect"`          // something was really created
	Duplicate bool      `json:"duplicate"`       // a known random_id: answered, nothing created

	// AnswerLost: a fault kept the answer back for good, or cut the connection
	// before it.
	AnswerLost bool `json:"answer_lost,omitempty"`

	// ForeignHash: it came with an access hash that another account has.
	ForeignHash bool `json:"foreign_hash,omitempty"`
}

// Params is the part of a call's parameters worth asserting on. The peer is the
// first that the request names; of a list, its first. For a call that made a
// group or entered one it is that group.
type Params struct {
	PeerKind   string  `json:"peer_kind,omitempty"` // self, user, chat, channel
	PeerID     int64   `json:"peer_id,omitempty"`
	AccessHash int64   `json:"access_hash,string,omitempty"`
	RandomID   int64   `json:"random_id,string,omitempty"`
	Message    string  `json:"message,omitempty"` // at most 512 bytes
	MessageID  int     `json:"message_id,omitempty"`
	ReplyTo    int     `json:"reply_to,omitempty"`
	Silent     bool    `json:"silent,omitempty"`
	Username   string  `json:"username,omitempty"`
	Phone      string  `json:"phone,omitempty"`
	Hash       string  `json:"hash,omitempty"`  // of an invite
	Title      string  `json:"title,omitempty"` // at most 512 bytes
	After      []int64 `json:"after,omitempty"` // of invokeAfterMsg(s)

	FromMessage *FromMessage `json:"from_message,omitempty"` // where the peer was seen, if it is named so
}

const maxRecordedText = 512

func clip(s string) string {
	if len(s) <= maxRecordedText {
		return s
	}
	s = s[:maxRecordedText]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s
}

// Filter selects calls; its zero value selects all.
type Filter struct {
	Account int64
	Method  string
	After   int64 // only calls with a greater Seq
}

func (f Filter) match(c *Call) bool {
	return (f.Account == 0 || f.Account == c.Account) &&
		(f.Method == "" || f.Method == c.Method)
}

// record keeps the latest calls in a ring, bounded in number and in bytes. It
// stays in memory: a million calls of a usual test are some hundred MB when all
// are wanted, and a reader that wants more can follow GET /record?after=.
type record struct {
	limit    int // immutable, as is maxBytes
	maxBytes int

	mu    sync.Mutex // guards below
	seq   int64      // of the last call
	base  int64      // seq at the last reset
	n     int        // calls kept: those up to seq
	bytes int        // they take
	ring  []Call     // grows up to limit, then is written round and round
}

func newRecord(limit, maxBytes int) *record {
	slots := max(1, maxBytes/int(unsafe.Sizeof(Call{})))
	return &record{limit: min(limit, slots), maxBytes: maxBytes}
}

// size is what a call takes in memory. Names of methods are shared.
func (c *Call) size() int {
	p := &c.Params
	n := int(unsafe.Sizeof(*c)) + len(c.Error) + len(p.Message) + len(p.Username) + len(p.Phone) + len(p.Hash) + len(p.Title) + 8*len(p.After)
	if p.FromMessage != nil {
		n += int(unsafe.Sizeof(*p.FromMessage))
	}
	return n
}

// atLocked is where call seq is kept.
func (r *record) atLocked(seq int64) *Call { return &r.ring[(seq-r.base-1)%int64(r.limit)] }

func (r *record) add(c Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	size := c.size()
	for r.n > 0 && (r.n == r.limit || r.bytes+size > r.maxBytes) {
		old := r.atLocked(r.seq - int64(r.n) + 1)
		r.bytes -= old.size()
		*old = Call{}
		r.n--
	}
	r.seq++
	c.Seq = r.seq
	if len(r.ring) < r.limit {
		r.ring = append(r.ring, c)
	} else {
		*r.atLocked(r.seq) = c
	}
	r.n++
	r.bytes += size
}

func (r *record) counts() (calls, dropped int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	calls = int(r.seq - r.base)
	return calls, calls - r.n
}

func (r *record) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.base, r.ring, r.n, r.bytes = r.seq, nil, 0, 0
}

// windowCalls is how many calls are looked at under one lock.
const windowCalls = 4096

// window appends the calls that match among the next windowCalls behind f.After
// up to end, and returns the last it looked at.
func (r *record) window(out []Call, f Filter, end int64) ([]Call, int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := max(r.seq-int64(r.n), f.After) + 1
	last := min(first+windowCalls-1, r.seq, end)
	for seq := first; seq <= last; seq++ {
		if c := r.atLocked(seq); f.match(c) {
			out = append(out, *c)
		}
	}
	return out, last
}

func (r *record) last() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seq
}

// Calls returns the recorded calls that match, in order of Seq.
func (s *Server) Calls(f Filter) []Call {
	out := []Call{}
	for end := s.record.last(); f.After < end; {
		out, f.After = s.record.window(out, f, end)
	}
	return out
}

package tgsim

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/mt"
	"github.com/gotd/td/proto"
	"github.com/gotd/td/tg"
)

// rpcError is the error a call is answered with.
type rpcError struct {
	code int
	text string
}

// call is one API call between its arrival and its answer.
type call struct {
	msg       message
	container int64
	frame     int64
	c         *conn
	sess      *session
	unwrapped

	// guarded by the session
	missing int  // references of invokeAfterMsg(s) that are not done
	failed  bool // one of them failed
	timeout bool // one of them never came
	dropped bool // rpc_drop_answer asked for silence
}

// run executes the calls of a frame, in random order unless invokeAfterMsg
// says otherwise: Telegram promises no other, see
// core.telegram.org/api/invoking#sequential-execution.
func (f *frame) run(ctx context.Context, ready []*call, out []*outMsg) {
	f.c.s.claim(ctx, f.sess.key, f.c)
	rand.Shuffle(len(ready), func(i, j int) { ready[i], ready[j] = ready[j], ready[i] })
	f.sess.send(f.c, f.sess.drain(ctx, ready, out))
}

// repeat is the reply to a message that was received before.
func (s *session) repeat(id int64) *outMsg {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m, ok := s.out.answers[id]; ok {
		if s.s.live.settings.Load().DetailedInfo {
			return s.detailLocked(m)
		}
		return m
	}
	return ackFor(id) // it runs, its answer was acknowledged, or has none
}

func ackFor(ids ...int64) *outMsg { return encodeReply(&mt.MsgsAck{MsgIDs: ids}) }

// begin registers a call; false when it must wait for others.
func (s *session) begin(ctx context.Context, c *call) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[c.msg.id] = c
	unknown := false
	for _, ref := range c.after {
		i, ok := s.findLocked(ref)
		switch {
		case ok && s.seen[i].state == stateDone:
			continue
		case ok && s.seen[i].state == stateFailed:
			c.failed = true
			continue
		}
		c.missing++
		s.waiting[ref] = append(s.waiting[ref], c)
		unknown = unknown || !ok
	}
	if c.missing == 0 || c.failed {
		return true
	}
	if unknown {
		s.s.after(ctx, s.s.cfg.AfterTimeout, func() { s.giveUp(ctx, c) })
	}
	return false
}

// giveUp fails a call one of whose references never came.
func (s *session) giveUp(ctx context.Context, c *call) {
	s.mu.Lock()
	_, open := s.calls[c.msg.id]
	if open && !c.failed {
		for _, ref := range c.after {
			if _, came := s.findLocked(ref); !came {
				c.timeout = true
				s.forgetWaiterLocked(ref, c)
			}
		}
	}
	stop := c.timeout
	s.mu.Unlock()
	if stop {
		s.send(c.c, s.drain(ctx, []*call{c}, nil))
	}
}

func (s *session) forgetWaiterLocked(ref int64, c *call) {
	s.waiting[ref] = slices.DeleteFunc(s.waiting[ref], func(w *call) bool { return w == c })
	if len(s.waiting[ref]) == 0 {
		delete(s.waiting, ref)
	}
}

// drain runs calls and those that waited for them, and appends their answers.
func (s *session) drain(ctx context.Context, ready []*call, out []*outMsg) []*outMsg {
	for len(ready) > 0 {
		c := ready[0]
		ready = ready[1:]
		ans, late := s.s.perform(c)
		if ans.early {
			ack := ackFor(c.msg.id)
			ack.alone = true
			s.send(c.c, []*outMsg{ack})
		}
		if late > 0 {
			out = append(out, ackFor(c.msg.id))
			s.s.after(ctx, late, func() {
				m, next := s.finish(c, ans)
				s.send(c.c, s.drain(ctx, next, m))
			})
			continue
		}
		m, next := s.finish(c, ans)
		out = append(out, m...)
		ready = append(ready, next...)
	}
	return out
}

// answer is how a call ended.
type answer struct {
	msg    *outMsg
	failed bool
	silent bool // acknowledge, but never answer
	cut    bool // close the connection instead
	early  bool // acknowledge first, in a frame of its own
	detail bool // tell of the answer instead of sending it
}

// finish notes the end of a call: its answer, and the calls it held up.
func (s *session) finish(c *call, a answer) (out []*outMsg, next []*call) {
	c.c.pending.Add(-1)
	if a.cut {
		c.c.close("cut by a fault")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := c.msg.id
	delete(s.calls, id)
	if i, ok := s.findLocked(id); ok {
		s.seen[i].state = stateDone
		if a.failed {
			s.seen[i].state = stateFailed
		}
	}
	for _, w := range s.waiting[id] {
		if w.timeout || w.failed {
			continue
		}
		w.missing--
		w.failed = a.failed
		if w.missing == 0 || w.failed {
			next = append(next, w)
		}
	}
	delete(s.waiting, id)
	switch {
	case c.dropped:
		return []*outMsg{s.resultLocked(id, &mt.RPCAnswerDroppedRunning{})}, next
	case a.silent:
		return []*outMsg{ackFor(id)}, next
	}
	s.out.answer(a.msg)
	if a.detail {
		return []*outMsg{s.detailLocked(a.msg)}, next
	}
	return []*outMsg{a.msg}, next
}

// perform runs one call and records it. The answer is held back for late.
func (s *Server) perform(c *call) (a answer, late time.Duration) {
	rec := Call{
		Time:      time.Now(),
		MsgID:     c.msg.id,
		Container: c.container,
		Frame:     c.frame,
		Conn:      c.c.id,
		KeyID:     c.sess.key.hex,
		Method:    methodName(c.method),
		Params:    Params{After: c.after},
	}
	user, layer, refused := c.admit()
	rec.Account, rec.Layer = user, layer
	if refused == nil {
		refused = s.banned(user)
	}
	var f Fault
	var hit bool
	if refused == nil {
		refused = c.blocked()
	}
	if refused == nil {
		if f, hit = s.faults.take(rec.Method, user); hit {
			refused = f.rpcError()
			rec.AnswerLost = f.DropAnswer || f.Cut
		}
	}
	if refused == nil {
		refused = s.moved(rec.Method)
	}
	var result bin.Encoder
	if refused != nil || c.method != tg.MessagesSendMessageRequestTypeID { // which describes itself
		describe(c, &rec.Params)
	}
	if user != 0 {
		rec.ForeignHash = s.judgeHashes(c, user)
	}
	if refused == nil {
		result, refused = s.invoke(c, user, &rec)
	}
	if refused != nil {
		rec.Error = refused.text
		result = &mt.RPCError{ErrorCode: refused.code, ErrorMessage: refused.text}
	}
	s.record.add(rec)
	if refused == nil {
		result = inLayer(result, layer)
	}
	a = answer{failed: refused != nil, silent: f.DropAnswer, cut: f.Cut, early: f.EarlyAck, detail: f.DetailedInfo}
	a.msg = s.encodeResult(c.msg.id, result)
	return a, f.Delay
}

// blocked is why a call cannot run, apart from its account.
func (c *call) blocked() *rpcError {
	c.sess.mu.Lock()
	defer c.sess.mu.Unlock()
	switch {
	case c.failed:
		return &rpcError{400, "MSG_WAIT_FAILED"}
	case c.timeout:
		return &rpcError{503, "MSG_WAIT_TIMEOUT"}
	case c.refused != nil:
		return c.refused
	}
	return nil
}

// packResult is the default of Settings.GzipFrom.
const packResult = 512

// encodeResult makes the rpc_result of a call, packed as the settings say. See
// core.telegram.org/mtproto/service_messages#packed-object.
func (s *Server) encodeResult(req int64, v bin.Encoder) *outMsg {
	const header = 12
	b := bin.Buffer{Buf: make([]byte, 0, 96)}
	b.PutID(proto.ResultTypeID)
	b.PutLong(req)
	if err := v.Encode(&b); err != nil {
		b.Buf = b.Buf[:header]
		_ = (&mt.RPCError{ErrorCode: 500, ErrorMessage: "ENCODE_FAILED"}).Encode(&b)
	}
	set := s.live.settings.Load()
	_, failed := v.(*mt.RPCError)
	always := failed && set.GzipErrors
	if always || set.GzipFrom >= 0 && len(b.Buf) > header+set.GzipFrom {
		z := bin.Buffer{Buf: append([]byte(nil), b.Buf[:header]...)}
		if err := (proto.GZIP{Data: b.Buf[header:]}).Encode(&z); err == nil && (always || len(z.Buf) < len(b.Buf)) {
			b = z
		}
	}
	return &outMsg{reply: true, content: true, req: req, body: b.Buf}
}

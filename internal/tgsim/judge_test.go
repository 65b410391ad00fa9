package tgsim

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/mt"
	"github.com/gotd/td/proto"
	"github.com/gotd/td/tg"
)

func encoded(t testing.TB, v bin.Encoder) []byte {
	t.Helper()
	var b bin.Buffer
	if err := v.Encode(&b); err != nil {
		t.Fatal(err)
	}
	return b.Buf
}

func testKey() *authKey {
	return newAuthKey(crypto.Key{1}.WithID(), 1, time.Now())
}

// FuzzMessage parses what a client may have encrypted: any bytes.
func FuzzMessage(f *testing.F) {
	query := encoded(f, &tg.UpdatesGetStateRequest{})
	ping := encoded(f, &mt.PingRequest{PingID: 1})
	two := encoded(f, &proto.MessageContainer{Messages: []proto.Message{
		{ID: 4, SeqNo: 1, Bytes: len(query), Body: query},
		{ID: 8, SeqNo: 2, Bytes: len(ping), Body: ping},
	}})
	f.Add(int64(400), int32(2), two)
	f.Add(int64(400), int32(1), query)
	f.Add(int64(400), int32(0), ping)
	f.Add(int64(400), int32(1), encoded(f, proto.GZIP{Data: query}))
	f.Add(int64(400), int32(1), encoded(f, proto.GZIP{Data: two}))
	f.Add(int64(400), int32(1), encoded(f, &tg.InvokeWithLayerRequest{Layer: 1, Query: &tg.InitConnectionRequest{
		Query: &tg.InvokeAfterMsgsRequest{MsgIDs: []int64{4}, Query: &tg.InvokeWithoutUpdatesRequest{Query: &tg.UpdatesGetStateRequest{}}},
	}}))
	f.Add(int64(400), int32(1), two[:len(two)-4])
	f.Fuzz(func(t *testing.T, id int64, seq int32, b []byte) {
		outer := message{id: id, seq: seq, body: b}
		members, container, broken := split(outer)
		if broken != nil {
			return
		}
		size := 8
		for i := range members {
			size += 16 + len(members[i].body)
			if container && members[i].id >= id {
				t.Fatalf("member %d in container %d", members[i].id, id)
			}
		}
		if container && size != len(b) {
			t.Fatalf("members take %d bytes of %d", size, len(b))
		}
		k := testKey()
		for i := range members {
			_ = members[i].unpack()
			if !isService(members[i].typeID()) {
				c := &call{unwrapped: unwrap(k, members[i].body)}
				describe(c, &Params{})
			}
		}
		sess := newSession(nil, k, 1)
		a := sess.accept(outer, members, container)
		if n := len(a.fresh) + len(a.refused); n > len(members)+1 {
			t.Fatalf("%d messages became %d", len(members), n)
		}
		again := sess.accept(outer, members, container)
		if len(again.fresh) != 0 {
			t.Fatal("a message was accepted twice")
		}
	})
}

// legal numbers n messages as the rules want it.
func legal(n int) []message {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	call := binary.LittleEndian.AppendUint32(nil, tg.UpdatesGetStateRequestTypeID)
	ping := binary.LittleEndian.AppendUint32(nil, mt.PingRequestTypeID)
	var out []message
	content := int32(0)
	for i := range n {
		m := message{id: int64(i+1) * 4, seq: content * 2, body: ping}
		if rng.IntN(2) == 0 {
			m.seq, m.body = m.seq+1, call
			content++
		}
		out = append(out, m)
	}
	return out
}

func TestLegalNumbersMayComeInAnyOrder(t *testing.T) {
	t.Parallel()
	for range 100 {
		msgs := legal(50)
		rand.Shuffle(len(msgs), func(i, j int) { msgs[i], msgs[j] = msgs[j], msgs[i] })
		sess := newSession(nil, testKey(), 1)
		for _, m := range msgs {
			if a := sess.accept(m, []message{m}, false); len(a.refused) != 0 {
				t.Fatalf("refused %+v: %s", m, a.refused[0].rule)
			}
		}
	}
}

func TestForgottenIDsAreTooOld(t *testing.T) {
	t.Parallel()
	sess := newSession(nil, testKey(), 1)
	msgs := legal(2*keepReceived + 10)
	for _, m := range msgs {
		sess.accept(m, []message{m}, false)
	}
	if n := len(sess.seen); n > 2*keepReceived {
		t.Errorf("%d ids are kept", n)
	}
	a := sess.accept(msgs[0], msgs[:1], false)
	if len(a.refused) != 1 || a.refused[0].code != codeTooOld {
		t.Errorf("an old message: %+v", a)
	}
	last := msgs[len(msgs)-1]
	if a := sess.accept(last, []message{last}, false); len(a.repeated) != 1 {
		t.Errorf("a known message: %+v", a)
	}
}

func TestOutboxIsBounded(t *testing.T) {
	t.Parallel()
	o := newOutbox()
	now := time.Now()
	for i := range 3 * keepAnswers {
		m := &outMsg{content: true, reply: true, req: int64(i + 1), body: make([]byte, 8)}
		o.answer(m)
		o.number(m, now)
		o.keep(&outMsg{content: true})
	}
	if len(o.answers) > keepAnswers || len(o.unacked) > keepAnswers || len(o.order) > keepAnswers || len(o.waiting) > keepWaiting {
		t.Errorf("%d answers, %d unacked, %d in order, %d waiting", len(o.answers), len(o.unacked), len(o.order), len(o.waiting))
	}
	for id := range o.unacked {
		o.ack(id)
	}
	if len(o.answers) != 0 {
		t.Errorf("%d answers are left after acks", len(o.answers))
	}
	o.answer(&outMsg{req: 1, body: make([]byte, keepBytes+1)})
	if o.bytes > keepBytes {
		t.Errorf("%d bytes are kept", o.bytes)
	}
}

func TestServerIDsGrow(t *testing.T) {
	t.Parallel()
	o := newOutbox()
	now, last := time.Now(), int64(0)
	for i := range 1000 {
		reply := rand.IntN(2) == 0
		id := o.newID(now.Add(-time.Duration(i)*time.Millisecond), reply) // a clock that steps back
		want := int64(3)
		if reply {
			want = 1
		}
		if id <= last || id%4 != want {
			t.Fatalf("msg_id %d after %d, reply %v", id, last, reply)
		}
		last = id
	}
}

func TestSaltChain(t *testing.T) {
	t.Parallel()
	start := time.Now()
	c := newSaltChain(7, start)
	if got := c.current(start); got != 7 {
		t.Fatalf("current = %d, want the first", got)
	}
	future := c.future(start, 8)
	if len(future) != 8 || future[0].Salt != 7 {
		t.Fatalf("future = %+v", future)
	}
	if c.valid(future[1].Salt, start) {
		t.Error("a future salt is valid now")
	}
	later := start.Add(saltStep + time.Minute)
	if got := c.current(later); got != future[1].Salt {
		t.Errorf("after %s the salt is %d, want the one announced", saltStep, got)
	}
	if !c.valid(7, later) || c.valid(7, start.Add(saltLife)) {
		t.Error("the first salt must overlap its successor, and end")
	}
	asleep := start.Add(100 * saltLife)
	now := c.current(asleep)
	if !c.valid(now, asleep) || len(c) > maxSalts {
		t.Errorf("after a long sleep: %d salts", len(c))
	}
	c.rotate(asleep, time.Minute)
	if !c.valid(now, asleep) || c.valid(now, asleep.Add(time.Minute)) || c.current(asleep) == now {
		t.Error("rotation with overlap")
	}
	c.rotate(asleep, 0)
	if c.valid(now, asleep) {
		t.Error("rotation without overlap leaves the old salt")
	}
}

func TestRecordRing(t *testing.T) {
	t.Parallel()
	s := &Server{record: newRecord(10, 1<<20)}
	for i := range 25 {
		s.record.add(Call{Account: int64(i % 2)})
	}
	seqs := func(f Filter) (out []int64) {
		for _, c := range s.Calls(f) {
			out = append(out, c.Seq)
		}
		return out
	}
	if got := seqs(Filter{After: 20}); !slices.Equal(got, []int64{21, 22, 23, 24, 25}) {
		t.Errorf("after 20: %v", got)
	}
	if got := seqs(Filter{Account: 1}); !slices.Equal(got, []int64{16, 18, 20, 22, 24}) {
		t.Errorf("of account 1: %v", got)
	}
	if calls, dropped := s.record.counts(); calls != 25 || dropped != 15 {
		t.Errorf("%d calls, %d dropped", calls, dropped)
	}
	s.record.reset()
	s.record.add(Call{})
	if got := seqs(Filter{}); !slices.Equal(got, []int64{26}) {
		t.Errorf("after a reset: %v", got)
	}
}

func TestRecordIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	const bound = 1 << 20
	s := &Server{record: newRecord(1<<30, bound)}
	c := Call{Params: Params{Message: string(make([]byte, maxRecordedText)), After: make([]int64, maxAfter)}}
	for i := range 20_000 {
		c.Account = int64(i % 2)
		s.record.add(c)
	}
	calls := s.Calls(Filter{})
	if n := len(calls); n == 0 || n*c.size() > bound || n*c.size() < bound*9/10 {
		t.Errorf("%d calls of %d bytes are kept, want about %d bytes", n, c.size(), bound)
	}
	if last := calls[len(calls)-1].Seq; last != 20_000 {
		t.Errorf("the last is %d", last)
	}
	for range 20_000 { // short ones take the room of long ones
		s.record.add(Call{})
	}
	total, dropped := s.record.counts()
	if kept := total - dropped; kept*(&Call{}).size() > bound || kept <= len(calls) || len(s.record.ring)*(&Call{}).size() > bound {
		t.Errorf("%d short calls are kept", kept)
	}
}

func TestRecordIsReadInWindows(t *testing.T) {
	t.Parallel()
	const n = 3*windowCalls + 17
	s := &Server{record: newRecord(n, 1<<30)}
	for range n + 5 {
		s.record.add(Call{})
	}
	calls := s.Calls(Filter{})
	if len(calls) != n || calls[0].Seq != 6 || calls[n-1].Seq != n+5 {
		t.Fatalf("%d calls, from %d", len(calls), calls[0].Seq)
	}
	for i := 1; i < len(calls); i++ {
		if calls[i].Seq != calls[i-1].Seq+1 {
			t.Fatalf("%d after %d", calls[i].Seq, calls[i-1].Seq)
		}
	}
	if got := s.Calls(Filter{After: n}); len(got) != 5 {
		t.Errorf("%d calls behind %d", len(got), n)
	}
}

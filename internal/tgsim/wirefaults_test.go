package tgsim_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/mt"
	"github.com/gotd/td/proto"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/transport"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

const sendMethod = "messages.sendMessage"

// ran is how many sends took effect.
func ran(srv *tgsim.Server) (n int) {
	for _, c := range srv.Calls(tgsim.Filter{Method: sendMethod}) {
		if c.Effect {
			n++
		}
	}
	return n
}

func TestInjectedBadMsg(t *testing.T) {
	t.Parallel()
	for _, code := range []int{16, 17, 18, 19, 20, 32, 33, 34, 35, 64, 99} {
		t.Run(fmt.Sprint("inner ", code), func(t *testing.T) {
			t.Parallel()
			srv := setup(t, tgsim.Config{})
			_, sess := user(t, srv, "ann")
			r := rawConnect(t, srv, sess)
			srv.AddFault(tgsim.Fault{Method: sendMethod, BadMsg: code, Times: 1})
			state, bad := r.member(getState), r.member(send(1, "x"))
			r.container(state, bad)
			var n mt.BadMsgNotification
			refused, answered := false, false
			for !refused || !answered {
				m, err := r.next()
				if err != nil {
					t.Fatal(err)
				}
				var res proto.Result
				switch b := m.Body; {
				case n.Decode(&bin.Buffer{Buf: b}) == nil:
					refused = true
				case res.Decode(&bin.Buffer{Buf: b}) == nil:
					answered = true
				}
			}
			if n.BadMsgID != bad.ID || n.BadMsgSeqno != bad.SeqNo || n.ErrorCode != code {
				t.Errorf("%+v, want code %d for %d", n, code, bad.ID)
			}
			if n := ran(srv); n != 0 {
				t.Errorf("%d sends took effect", n)
			}
			r.container(bad) // it was not remembered
			r.result(bad.ID, &raw{})
			if n := ran(srv); n != 1 {
				t.Errorf("%d sends took effect, want 1", n)
			}
			quiet(t, srv)
			if st := srv.Stats(); st.Injected != 1 {
				t.Errorf("injected %d", st.Injected)
			}
		})
	}
	t.Run("not what was accepted before", func(t *testing.T) {
		t.Parallel()
		srv := setup(t, tgsim.Config{})
		_, sess := user(t, srv, "ann")
		r := rawConnect(t, srv, sess)
		m := r.member(send(1, "x"))
		r.container(m)
		r.result(m.ID, &raw{})
		srv.AddFault(tgsim.Fault{BadMsg: 32, Times: 1})
		r.container(m)
		r.result(m.ID, &raw{})
		if n := srv.Stats().Injected; n != 0 {
			t.Errorf("injected %d", n)
		}
	})
	t.Run("outer", func(t *testing.T) {
		t.Parallel()
		srv := setup(t, tgsim.Config{})
		_, sess := user(t, srv, "ann")
		r := rawConnect(t, srv, sess)
		srv.AddFault(tgsim.Fault{Method: sendMethod, BadMsg: 32, Outer: true, Times: 1})
		a, b := r.member(send(1, "x")), r.member(send(2, "y"))
		id := r.container(a, b)
		var n mt.BadMsgNotification
		r.take(&n)
		if n.BadMsgID != id || n.ErrorCode != 32 {
			t.Errorf("%+v, want code 32 for %d", n, id)
		}
		if n := ran(srv); n != 0 {
			t.Errorf("%d sends took effect", n)
		}
		r.container(a)
		r.result(a.ID, &raw{})
		r.container(b)
		r.result(b.ID, &raw{})
		quiet(t, srv)
	})
}

// TestFaultFilters wants account, method, count and probability to hold for
// faults of frames as for those of calls.
func TestFaultFilters(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, annSess := user(t, srv, "ann")
	_, bobSess := user(t, srv, "bob")
	a, b := rawConnect(t, srv, annSess), rawConnect(t, srv, bobSess)
	srv.AddFault(tgsim.Fault{Method: "ping", Account: ann.ID, BadSalt: true, Times: 2})
	b.ping()
	a.result(a.call(getState), &tg.UpdatesState{})
	for range 2 {
		id := a.newID()
		a.frame(id, a.even(), encode(t, &mt.PingRequest{PingID: 1}))
		var bad mt.BadServerSalt
		a.take(&bad)
		if bad.BadMsgID != id || bad.NewServerSalt == a.salt {
			t.Errorf("%+v, want a new salt for %d", bad, id)
		}
		a.result(a.call(getState), &tg.UpdatesState{}) // others go on with the old salt
		a.salt = bad.NewServerSalt
	}
	a.ping()
	srv.AddFault(tgsim.Fault{Method: "updates.getState", BadMsg: 16, Probability: 0.5})
	refused := 0
	for range 100 {
		id := a.call(getState)
		for {
			m, err := a.next()
			if err != nil {
				t.Fatal(err)
			}
			var n mt.BadMsgNotification
			var res proto.Result
			if n.Decode(&bin.Buffer{Buf: m.Body}) == nil && n.BadMsgID == id {
				refused++
				break
			}
			if res.Decode(&bin.Buffer{Buf: m.Body}) == nil && res.RequestMessageID == id {
				break
			}
		}
	}
	if refused < 20 || refused > 80 {
		t.Errorf("%d of 100 were refused with probability 0.5", refused)
	}
	srv.ClearFaults()
	a.result(a.call(getState), &tg.UpdatesState{})
	quiet(t, srv)
}

func TestRotationEveryFewFrames(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{RotateSaltEvery: 5})
	_, sess := user(t, srv, "ann")
	r := rawConnect(t, srv, sess) // one frame
	rotations := 0
	for range 22 {
		id := r.call(getState)
		m, err := r.next()
		if err != nil {
			t.Fatal(err)
		}
		var bad mt.BadServerSalt
		if bad.Decode(&bin.Buffer{Buf: m.Body}) != nil {
			continue
		}
		if bad.BadMsgID != id {
			t.Errorf("bad_server_salt for %d, want %d", bad.BadMsgID, id)
		}
		rotations++
		r.salt = bad.NewServerSalt
		r.result(r.call(getState), &tg.UpdatesState{})
	}
	if rotations != 4 { // before frames 6, 11, 16, 21 of the 23
		t.Errorf("%d rotations", rotations)
	}
	srv.Change(func(s *tgsim.Settings) { s.SaltOverlap = time.Hour; s.RotateSaltEvery = 1 })
	before := srv.Stats().BadSalts
	for range 10 {
		r.result(r.call(getState), &tg.UpdatesState{})
	}
	if n := srv.Stats().BadSalts - before; n != 0 {
		t.Errorf("%d salts were refused within the overlap", n)
	}
	quiet(t, srv)
}

// TestFutureSalts moves the server's clock: each salt announced must be taken
// in its window, and not before or after.
func TestFutureSalts(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	_, sess := user(t, srv, "ann")
	r := rawConnect(t, srv, sess)
	var got mt.FutureSalts
	for ask, want := range map[int]int{1: 1, 4: 4, 64: 64, 0: 1, 1000: 64} {
		r.frame(r.newID(), r.even(), encode(t, &mt.GetFutureSaltsRequest{Num: ask}))
		r.take(&got)
		if len(got.Salts) != want || got.Salts[0].Salt != r.salt {
			t.Errorf("asked for %d salts, got %d", ask, len(got.Salts))
		}
	}
	r.frame(r.newID(), r.even(), encode(t, &mt.GetFutureSaltsRequest{Num: 64}))
	r.take(&got)
	accepted := func(at int, value int64) bool {
		t.Helper()
		skew := time.Until(time.Unix(int64(at), 0))
		srv.Change(func(s *tgsim.Settings) { s.ClockSkew = skew })
		old := r.salt
		r.skew, r.salt = skew, value
		defer func() { r.salt = old }()
		id := r.newID()
		r.frame(id, r.even(), encode(t, &mt.PingRequest{PingID: 1}))
		m, err := r.next()
		if err != nil {
			t.Fatal(err)
		}
		var bad mt.BadServerSalt
		if bad.Decode(&bin.Buffer{Buf: m.Body}) == nil {
			return false
		}
		var pong mt.Pong
		if err := pong.Decode(&bin.Buffer{Buf: m.Body}); err != nil || pong.MsgID != id {
			t.Fatalf("neither pong nor bad_server_salt: %x", m.Body)
		}
		return true
	}
	for i := 1; i < 8; i++ {
		s := got.Salts[i]
		if s.ValidUntil <= got.Salts[i+1].ValidSince {
			t.Errorf("salt %d ends at %d, the next begins at %d", i, s.ValidUntil, got.Salts[i+1].ValidSince)
		}
		for at, want := range map[int]bool{s.ValidSince - 5: false, s.ValidSince + 5: true} {
			if accepted(at, s.Salt) != want {
				t.Errorf("salt %d at %+d s of its beginning: accepted %v", i, at-s.ValidSince, !want)
			}
		}
	}
	last := got.Salts[8]
	if !accepted(last.ValidUntil-5, last.Salt) || accepted(last.ValidUntil+5, last.Salt) {
		t.Error("the end of a salt does not hold")
	}
	srv.Change(func(s *tgsim.Settings) { s.ClockSkew = 0 }) // a clock set back leaves a salt to use
	r.skew, r.last, r.seen = 0, 0, 0
	r.session = sessionIDs.Add(1)
	r.frame(r.newID(), 0, encode(t, &mt.PingRequest{PingID: 1}))
	var bad mt.BadServerSalt
	r.take(&bad)
	r.salt = bad.NewServerSalt
	r.frame(r.newID(), 0, encode(t, &mt.PingRequest{PingID: 1}))
	r.take(&mt.NewSessionCreated{})
	r.take(&mt.Pong{})
	quiet(t, srv)
}

func TestClockSkew(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{ClockSkew: 400 * time.Second})
	_, sess := user(t, srv, "ann")
	r := rawDial(t, srv, sess, transport.Intermediate)
	id := r.call(initial(&tg.HelpGetConfigRequest{}))
	var n mt.BadMsgNotification
	m := r.take(&n)
	if n.ErrorCode != 16 || n.BadMsgID != id {
		t.Fatalf("%+v, want 16 for %d", n, id)
	}
	// The server's msg_id tells its time: what a client corrects itself by.
	r.skew = time.Until(time.Unix(m.ID>>32, 0))
	if r.skew < 390*time.Second || r.skew > 410*time.Second {
		t.Fatalf("the server's clock is ahead by %s", r.skew)
	}
	r.content = 0
	id = r.call(initial(&tg.HelpGetConfigRequest{}))
	r.take(&mt.NewSessionCreated{})
	r.result(id, &tg.Config{})
	srv.Change(func(s *tgsim.Settings) { s.ClockSkew = 0 })
	id = r.call(getState)
	r.take(&n)
	if n.ErrorCode != 17 || n.BadMsgID != id {
		t.Errorf("%+v, want 17 for %d", n, id)
	}
}

func TestEarlyAckAndDetailedInfo(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	_, sess := user(t, srv, "ann")
	r := rawConnect(t, srv, sess)

	srv.AddFault(tgsim.Fault{EarlyAck: true, Times: 1})
	id := r.call(getState)
	var ack mt.MsgsAck
	r.take(&ack)
	if len(ack.MsgIDs) != 1 || ack.MsgIDs[0] != id {
		t.Errorf("ack for %v, want %d", ack.MsgIDs, id)
	}
	ackFrame := r.seen
	if r.result(id, &tg.UpdatesState{}); r.seen == ackFrame {
		t.Error("the answer came in the ack's frame")
	}

	srv.AddFault(tgsim.Fault{DetailedInfo: true, Times: 1})
	id = r.call(send(1, "x"))
	var info mt.MsgDetailedInfo
	r.take(&info)
	if info.MsgID != id || info.AnswerMsgID&3 != 1 || info.Bytes == 0 {
		t.Errorf("%+v for %d", info, id)
	}
	r.ping() // the answer did not come by itself
	r.frame(r.newID(), r.even(), encode(t, &mt.MsgResendReq{MsgIDs: []int64{info.AnswerMsgID}}))
	if m := r.result(id, &raw{}); m.ID != info.AnswerMsgID || len(m.Body) != info.Bytes {
		t.Errorf("the answer is %d of %d bytes, want %+v", m.ID, len(m.Body), info)
	}

	// A repeated call, with the setting: its answer is told of again.
	srv.Change(func(s *tgsim.Settings) { s.DetailedInfo = true })
	id, seq := r.newID(), r.odd()
	r.frame(id, seq, encode(t, send(2, "y")))
	answer := r.result(id, &raw{})
	r.frame(id, seq, encode(t, send(2, "y")))
	r.take(&info)
	if info.MsgID != id || info.AnswerMsgID != answer.ID {
		t.Errorf("%+v, want %d", info, answer.ID)
	}
	if n := ran(srv); n != 2 {
		t.Errorf("%d sends took effect, want 2", n)
	}
	quiet(t, srv)
}

// TestNewDetailedInfo is an update that was sent, not acknowledged, and told of
// on the session's next connection.
func TestNewDetailedInfo(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, annSess := user(t, srv, "ann")
	bob, bobSess := user(t, srv, "bob")
	a, b := rawConnect(t, srv, annSess), rawConnect(t, srv, bobSess)
	b.result(b.call(getState), &tg.UpdatesState{})
	to := &tg.InputPeerUser{UserID: bob.ID, AccessHash: srv.AccessHash(ann.ID, bob.ID)}
	a.result(a.call(&tg.MessagesSendMessageRequest{Peer: to, Message: "x", RandomID: 1}), &raw{})
	update, err := b.next()
	if err != nil {
		t.Fatal(err)
	}
	srv.Change(func(s *tgsim.Settings) { s.DetailedInfo = true })
	srv.CutConnections(bob.ID)
	b.closed()
	again := rawDial(t, srv, bobSess, transport.Intermediate)
	again.session, again.last, again.content, again.seen = b.session, b.last, b.content, b.seen
	id := again.newID()
	again.frame(id, again.even(), encode(t, &mt.PingRequest{PingID: 1}))
	told := false
	for !told {
		m, err := again.next()
		if err != nil {
			t.Fatalf("msg_new_detailed_info did not come: %v", err)
		}
		var info mt.MsgNewDetailedInfo
		told = info.Decode(&bin.Buffer{Buf: m.Body}) == nil && info.AnswerMsgID == update.ID && info.Bytes == len(update.Body)
	}
	quiet(t, srv)
}

func TestForgottenSession(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, sess := user(t, srv, "ann")
	r := rawConnect(t, srv, sess)
	for i, forget := range []func(){
		func() { srv.ForgetSessions(ann.ID) },
		func() { srv.AddFault(tgsim.Fault{NewSession: true, Times: 1}) },
	} {
		r.result(r.call(send(int64(i+1), "before")), &raw{})
		forget()
		id := r.call(getState)
		var created mt.NewSessionCreated
		r.take(&created)
		if created.FirstMsgID != id || created.ServerSalt != r.salt {
			t.Errorf("%+v, want first_msg_id %d", created, id)
		}
		r.result(id, &tg.UpdatesState{})
		r.ping()
	}
	quiet(t, srv)
}

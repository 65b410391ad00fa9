package tgsim_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/mt"
	"github.com/gotd/td/proto"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/transport"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

func send(random int64, text string) *tg.MessagesSendMessageRequest {
	return &tg.MessagesSendMessageRequest{Peer: &tg.InputPeerSelf{}, Message: text, RandomID: random}
}

func TestRepeatedMessageRunsOnce(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	_, sess := user(t, srv, "ann")
	r := rawConnect(t, srv, sess)
	body := encode(t, send(1, "once"))
	id, seq := r.newID(), r.odd()
	r.frame(id, seq, body)
	first := r.result(id, &raw{})
	r.frame(id, seq, body)
	second := r.result(id, &raw{})
	if second.ID != first.ID || !bytes.Equal(second.Body, first.Body) {
		t.Errorf("the answer was sent as %d, then as %d", first.ID, second.ID)
	}
	r.frame(r.newID(), r.even(), encode(t, &mt.MsgsAck{MsgIDs: []int64{first.ID}}))
	r.ping()
	r.frame(id, seq, body)
	var ack mt.MsgsAck // the answer arrived: there is nothing to repeat
	r.take(&ack)
	if len(ack.MsgIDs) != 1 || ack.MsgIDs[0] != id {
		t.Errorf("ack for %v, want %d", ack.MsgIDs, id)
	}
	if n := len(srv.Calls(tgsim.Filter{Method: "messages.sendMessage"})); n != 1 {
		t.Errorf("ran %d times", n)
	}
	quiet(t, srv)
}

func TestRepeatWhileRunningIsAcknowledged(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	_, sess := user(t, srv, "ann")
	r := rawConnect(t, srv, sess)
	srv.AddFault(tgsim.Fault{Delay: 100 * time.Millisecond, Times: 1})
	id, seq := r.newID(), r.odd()
	r.frame(id, seq, encode(t, send(1, "late")))
	r.take(&mt.MsgsAck{})
	r.frame(id, seq, encode(t, send(1, "late")))
	r.take(&mt.MsgsAck{})
	r.result(id, &raw{})
	quiet(t, srv)
}

func TestServiceMessages(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	_, sess := user(t, srv, "ann")
	r := rawConnect(t, srv, sess)

	id := r.newID()
	r.frame(id, r.even(), encode(t, &mt.GetFutureSaltsRequest{Num: 3}))
	var salts mt.FutureSalts
	r.take(&salts)
	if salts.ReqMsgID != id || len(salts.Salts) < 3 || salts.Salts[0].Salt != r.salt {
		t.Errorf("future_salts %+v", salts)
	}

	// mtcute numbers acks as content.
	r.frame(r.newID(), r.odd(), encode(t, &mt.MsgsAck{MsgIDs: []int64{1}}))
	r.frame(r.newID(), r.even(), encode(t, &mt.HTTPWaitRequest{}))
	r.ping()

	done := r.call(getState)
	r.result(done, &tg.UpdatesState{})
	future, gap := msgID(time.Now().Add(time.Second)), r.newID()
	r.ping()
	id = r.newID()
	r.frame(id, r.even(), encode(t, &mt.MsgsStateReq{MsgIDs: []int64{done, gap, future}}))
	var info mt.MsgsStateInfo
	r.take(&info)
	if want := []byte{4 | 32 | 64, 2, 3}; info.ReqMsgID != id || !bytes.Equal(info.Info, want) {
		t.Errorf("msgs_state_info %v, want %v", info.Info, want)
	}

	last := r.call(getState)
	answer := r.result(last, &tg.UpdatesState{})
	r.frame(r.newID(), r.even(), encode(t, &mt.MsgResendReq{MsgIDs: []int64{answer.ID}}))
	if again := r.result(last, &tg.UpdatesState{}); again.ID != answer.ID {
		t.Errorf("resent as %d, want %d", again.ID, answer.ID)
	}

	for _, want := range []bin.Decoder{&mt.RPCAnswerDropped{}, &mt.RPCAnswerUnknown{}} {
		r.result(r.call(&mt.RPCDropAnswerRequest{ReqMsgID: last}), want)
	}
	r.frame(r.newID(), r.even(), encode(t, &mt.DestroySessionRequest{SessionID: r.session}))
	r.take(&mt.DestroySessionNone{})
	quiet(t, srv)
}

func TestDropAnswerOfARunningCall(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	_, sess := user(t, srv, "ann")
	r := rawConnect(t, srv, sess)
	srv.AddFault(tgsim.Fault{Delay: 100 * time.Millisecond, Times: 1})
	id := r.call(send(1, "x"))
	r.take(&mt.MsgsAck{})
	drop := r.call(&mt.RPCDropAnswerRequest{ReqMsgID: id})
	r.result(drop, &mt.RPCAnswerDroppedRunning{})
	r.result(id, &mt.RPCAnswerDroppedRunning{})
}

func TestPingDelayDisconnect(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	_, sess := user(t, srv, "ann")
	r := rawConnect(t, srv, sess)
	for _, delay := range []int{60, 1} {
		r.frame(r.newID(), r.even(), encode(t, &mt.PingDelayDisconnectRequest{PingID: 5, DisconnectDelay: delay}))
		r.take(&mt.Pong{})
	}
	r.closed()
}

func TestContainerAnswersComeTogether(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	_, sess := user(t, srv, "ann")
	r := rawConnect(t, srv, sess)
	want := map[int64]bool{}
	var members []proto.Message
	for i := range 100 {
		m := r.member(proto.GZIP{Data: encode(t, send(int64(i+1), "packed"))})
		members = append(members, m)
		want[m.ID] = true
	}
	outer := r.container(members...)
	frames := map[int64]bool{}
	for len(want) > 0 {
		var res proto.Result
		r.take(&res)
		frames[r.seen] = true
		if !want[res.RequestMessageID] {
			t.Fatalf("answer to %d", res.RequestMessageID)
		}
		delete(want, res.RequestMessageID)
	}
	if len(frames) != 1 {
		t.Errorf("the answers came in %d frames", len(frames))
	}
	calls := srv.Calls(tgsim.Filter{Method: "messages.sendMessage"})
	for _, c := range calls {
		if c.Container != outer || c.Frame != calls[0].Frame || !c.Effect {
			t.Fatalf("recorded %+v", c)
		}
	}
	if st := srv.Stats(); len(calls) != 100 || st.Containers != 1 {
		t.Errorf("%d calls, %d containers", len(calls), st.Containers)
	}
	quiet(t, srv)
}

func TestInvokeAfter(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{AfterTimeout: 50 * time.Millisecond})
	_, sess := user(t, srv, "ann")
	after := func(id int64, q bin.Object) bin.Encoder { return &tg.InvokeAfterMsgRequest{MsgID: id, Query: q} }

	t.Run("a chain in a container runs in order", func(t *testing.T) {
		r := rawConnect(t, srv, sess)
		srv.ResetRecord()
		members := []proto.Message{r.member(send(100, "a"))}
		for i := 1; i < 50; i++ {
			members = append(members, r.member(after(members[i-1].ID, send(int64(100+i), "a"))))
		}
		r.container(members...)
		for _, m := range members {
			r.result(m.ID, &raw{})
		}
		for i, c := range srv.Calls(tgsim.Filter{Method: "messages.sendMessage"}) {
			if c.Params.RandomID != int64(100+i) || c.Params.MessageID == 0 {
				t.Fatalf("call %d is %+v", i, c.Params)
			}
		}
	})
	t.Run("a failure fails those behind it", func(t *testing.T) {
		r := rawConnect(t, srv, sess)
		a := r.member(send(200, ""))
		b := r.member(after(a.ID, send(201, "b")))
		c := r.member(&tg.InvokeAfterMsgsRequest{MsgIDs: []int64{a.ID, b.ID}, Query: send(202, "c")})
		d := r.member(after(c.ID, send(203, "d")))
		r.container(a, b, c, d)
		r.fails(a.ID, 400, "MESSAGE_EMPTY")
		errs := map[int64]bool{b.ID: true, c.ID: true, d.ID: true}
		for range 3 {
			var res proto.Result
			r.take(&res)
			var e mt.RPCError
			decodeResult(t, res, &e)
			if !errs[res.RequestMessageID] || e.ErrorMessage != "MSG_WAIT_FAILED" || e.ErrorCode != 400 {
				t.Errorf("%d: %+v", res.RequestMessageID, e)
			}
			delete(errs, res.RequestMessageID)
		}
	})
	t.Run("an unknown reference times out", func(t *testing.T) {
		r := rawConnect(t, srv, sess)
		ref := r.newID()
		id := r.call(after(ref, send(300, "e")))
		r.take(&mt.MsgsAck{})
		r.fails(id, 503, "MSG_WAIT_TIMEOUT")
	})
	t.Run("a reference may come later", func(t *testing.T) {
		r := rawConnect(t, srv, sess)
		first, firstSeq := r.newID(), r.odd()
		second := r.call(after(first, send(401, "g")))
		r.take(&mt.MsgsAck{})
		r.frame(first, firstSeq, encode(t, send(400, "f")))
		r.result(first, &raw{})
		r.result(second, &raw{})
	})
	quiet(t, srv)
}

// TestPipelinedInit sends the initial call and others without waiting.
func TestPipelinedInit(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	_, sess := user(t, srv, "ann")
	r := rawDial(t, srv, sess, transport.Intermediate)
	first := r.call(initial(&tg.HelpGetConfigRequest{}))
	for range 50 {
		r.call(getState)
	}
	r.take(&mt.NewSessionCreated{})
	for range 51 {
		var res proto.Result
		r.take(&res)
		if res.RequestMessageID != first {
			decodeResult(t, res, &tg.UpdatesState{})
		}
	}
	quiet(t, srv)
}

func TestStaleSaltNamesTheContainer(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	_, sess := user(t, srv, "ann")
	r := rawConnect(t, srv, sess)
	srv.RotateSalts()
	m := r.member(send(1, "x"))
	id := r.container(m)
	var bad mt.BadServerSalt
	r.take(&bad)
	if bad.BadMsgID != id || bad.ErrorCode != 48 || bad.NewServerSalt == r.salt {
		t.Errorf("bad_server_salt %+v, want one for %d", bad, id)
	}
	r.salt = bad.NewServerSalt
	r.container(m) // the same member, in a new container
	r.result(m.ID, &raw{})
	if n := len(srv.Calls(tgsim.Filter{Method: "messages.sendMessage"})); n != 1 {
		t.Errorf("ran %d times", n)
	}
	quiet(t, srv)
}

func TestSaltOverlap(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{SaltOverlap: time.Hour})
	_, sess := user(t, srv, "ann")
	r := rawConnect(t, srv, sess)
	srv.RotateSalts()
	r.result(r.call(getState), &tg.UpdatesState{})
	if n := srv.Stats().BadSalts; n != 0 {
		t.Errorf("%d salts were refused", n)
	}
}

func TestSessionOutlivesItsConnection(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	_, sess := user(t, srv, "ann")
	r := rawConnect(t, srv, sess)
	srv.AddFault(tgsim.Fault{Method: "messages.sendMessage", Cut: true, Times: 1})
	id := r.call(send(1, "x"))
	r.closed()

	again := rawDial(t, srv, sess, transport.Intermediate)
	again.session, again.last, again.content, again.seen = r.session, r.last, r.content, r.seen
	ping := again.newID()
	again.frame(ping, again.even(), encode(t, &mt.PingRequest{PingID: 1}))
	answered, ponged := false, false
	for !answered || !ponged {
		m, err := again.next()
		if err != nil {
			t.Fatalf("answered %v, ponged %v: %v", answered, ponged, err)
		}
		var res proto.Result
		if res.Decode(&bin.Buffer{Buf: m.Body}) == nil && res.RequestMessageID == id {
			answered = true
		}
		var pong mt.Pong
		if pong.Decode(&bin.Buffer{Buf: m.Body}) == nil {
			ponged = true
		}
	}
	quiet(t, srv)
}

func TestSessionZeroAndUnknownKeyGet404(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	_, sess := user(t, srv, "ann")
	for _, wire := range []transport.Protocol{transport.Intermediate, transport.Abridged, transport.PaddedIntermediate, transport.Full} {
		r := rawDial(t, srv, sess, wire)
		r.session = 0
		r.call(getState)
		r.refused(404)
		stranger := rawDial(t, srv, tgsim.Session{AuthKey: [256]byte{1}}, wire)
		stranger.call(getState)
		stranger.refused(404)
	}
	if n := srv.Stats().UnknownKeys; n != 4 {
		t.Errorf("UnknownKeys = %d, want 4", n)
	}
}

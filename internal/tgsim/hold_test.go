package tgsim_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/proto"
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

func TestHalfOpen(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, sess := user(t, srv, "ann")
	_, bobSess := user(t, srv, "bob")
	r, b := rawConnect(t, srv, sess), rawConnect(t, srv, bobSess)

	start := time.Now()
	if n := srv.HalfOpen(ann.ID, 100*time.Millisecond, false); n != 1 {
		t.Fatalf("%d connections", n)
	}
	lost := r.call(send(1, "lost"))
	rawConnect(t, srv, sess) // a new connection is not concerned
	for time.Since(start) < 110*time.Millisecond {
		b.ping() // nor are others
	}
	last := r.call(send(2, "after"))
	r.result(last, &raw{})
	for _, c := range srv.Calls(tgsim.Filter{Method: sendMethod}) {
		if c.MsgID == lost {
			t.Error("a call was heard on a half-open connection")
		}
	}

	start = time.Now()
	srv.HalfOpen(ann.ID, 100*time.Millisecond, true)
	r.call(send(3, "lost"))
	r.closed()
	if d := time.Since(start); d < 100*time.Millisecond {
		t.Errorf("closed after %s", d)
	}
	if n := ran(srv); n != 1 {
		t.Errorf("%d sends took effect, want 1", n)
	}
	if st := srv.Stats(); st.Closes["half-open on demand"] == 0 {
		t.Errorf("closes: %v", st.Closes)
	}
	quiet(t, srv)
}

func TestStall(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, sess := user(t, srv, "ann")
	r := rawConnect(t, srv, sess)
	start := time.Now()
	srv.Stall(ann.ID, 100*time.Millisecond)
	for i := range 3 {
		r.call(send(int64(i+1), "x"))
	}
	r.take(&proto.Result{})
	if d := time.Since(start); d < 100*time.Millisecond {
		t.Errorf("answered after %s", d)
	}
	calls := srv.Calls(tgsim.Filter{Method: sendMethod})
	if calls[0].Time.Sub(start) > 100*time.Millisecond {
		t.Error("the calls ran late, not their answers")
	}
	quiet(t, srv)
}

func TestBan(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, sess := user(t, srv, "ann")
	_, bobSess := user(t, srv, "bob")
	r, b := rawConnect(t, srv, sess), rawConnect(t, srv, bobSess)
	srv.Ban(ann.ID, "USER_DEACTIVATED")
	r.fails(r.call(send(1, "x")), 401, "USER_DEACTIVATED")
	b.result(b.call(getState), &tg.UpdatesState{})
	srv.Ban(ann.ID, "")
	r.result(r.call(send(1, "x")), &raw{})
}

func TestGzipSettings(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{GzipFrom: 1})
	_, sess := user(t, srv, "ann")
	r := rawConnect(t, srv, sess)
	packed := func(v bin.Encoder) bool {
		t.Helper()
		id := r.call(v)
		var res proto.Result
		r.take(&res)
		if res.RequestMessageID != id {
			t.Fatalf("answer to %d", res.RequestMessageID)
		}
		got, _ := (&bin.Buffer{Buf: res.Result}).PeekID()
		return got == proto.GZIPTypeID
	}
	config := &tg.HelpGetConfigRequest{}
	fails := send(1, "")
	set := func(from int, errs bool) {
		srv.Change(func(s *tgsim.Settings) { s.GzipFrom, s.GzipErrors = from, errs })
	}
	if !packed(config) || packed(fails) {
		t.Error("from 1 byte on: answers, but no short error")
	}
	set(1<<20, true)
	if packed(config) || !packed(fails) {
		t.Error("from 1 MiB on, with errors")
	}
	set(-1, false)
	if packed(config) || packed(fails) {
		t.Error("switched off")
	}
	set(-1, true)
	r.fails(r.call(fails), 400, "MESSAGE_EMPTY") // a client reads it as ever
	quiet(t, srv)
}

func TestWireControls(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	_, sess := user(t, srv, "ann")
	rawConnect(t, srv, sess)
	h := srv.Handler()
	for _, tt := range []struct {
		path, body string
		code       int
		want       string
	}{
		{"/rtt", `{"rtt":"5ms"}`, 200, `"rtt":"5ms"`},
		{"/rtt", `{"rtt":"-5ms"}`, 400, "negative"},
		{"/rtt", `{"rtt":5}`, 400, "not the JSON"},
		{"/rtt", `{"rtt":"5"}`, 400, "not a duration"},
		{"/clock", `{"skew":"-1m"}`, 200, `"clock_skew":"-1m0s"`},
		{"/salts", `{"every":3,"overlap":"2s"}`, 200, `"rotate_salt_every":3,"salt_overlap":"2s"`},
		{"/salts", `{"rotate":true,"account":"ann"}`, 200, `"rotate_salt_every":3`},
		{"/salts", `{"rotate":true,"account":"eve"}`, 404, "no account"},
		{"/salts", `{"account":"ann"}`, 400, "belongs to rotate"},
		{"/salts", `{"every":-1}`, 400, "negative"},
		{"/salts", `{"overlap":"-1s"}`, 400, "negative"},
		{"/gzip", `{"from":-1,"errors":true}`, 200, `"gzip_from":-1,"gzip_errors":true`},
		{"/resend", `{"detailed":true}`, 200, `"detailed_info":true`},
		{"/stall", `{"for":"1ms"}`, 200, `{"connections":1}`},
		{"/stall", `{}`, 400, "for must be"},
		{"/stall", `{"for":"1ms","close":true}`, 400, "close does not belong"},
		{"/half-open", `{"for":"1ms","account":"@ann"}`, 200, `{"connections":1}`},
		{"/forget-sessions", `{"account":"ann"}`, 200, `{"sessions":1}`},
		{"/cut", `{"account":"ann","for":"1s"}`, 400, "for does not belong"},
		{"/cut", `{"error":"x"}`, 400, "error and lift"},
		{"/cut", `{}`, 200, `{"connections":1}`},
		{"/ban", `{}`, 400, "needs an account"},
		{"/ban", `{"account":"ann"}`, 200, "{}"},
		{"/ban", `{"account":"ann","lift":true}`, 200, "{}"},
		{"/revoke", `{"account":"ann"}`, 200, "{}"},
		{"/forget-keys", `{"account":"ann"}`, 200, "{}"},
		{"/faults", `{"bad_msg":16,"cut":true}`, 400, "of their own"},
		{"/faults", `{"bad_msg":256}`, 400, "bad_msg must be"},
		{"/faults", `{"bad_msg":16,"bad_salt":true}`, 400, "exclude"},
		{"/faults", `{"cut":true,"outer":true}`, 400, "outer belongs"},
		{"/faults", `{"cut":true,"method":"ping"}`, 400, "no method"},
		{"/faults", `{"cut":true,"delay":"-1s"}`, 400, "negative"},
		{"/faults", `{"bad_salt":true,"method":"pong"}`, 400, "no method"},
		{"/faults", `{"bad_salt":true,"method":"ping"}`, 201, "{}"},
		{"/faults", `{"early_ack":true}`, 201, "{}"},
	} {
		if code, out := do(t, h, http.MethodPost, tt.path, tt.body); code != tt.code || !strings.Contains(out, tt.want) {
			t.Errorf("POST %s %s: %d %s, want %d with %s", tt.path, tt.body, code, out, tt.code, tt.want)
		}
	}
	want := tgsim.Settings{
		RTT: 5 * time.Millisecond, ClockSkew: -time.Minute, RotateSaltEvery: 3, SaltOverlap: 2 * time.Second,
		GzipFrom: -1, GzipErrors: true, DetailedInfo: true,
	}
	if got := srv.Settings(); got != want {
		t.Errorf("settings %+v, want %+v", got, want)
	}
	if _, out := do(t, h, http.MethodGet, "/settings", ""); !strings.Contains(out, `"rtt":"5ms","clock_skew":"-1m0s"`) {
		t.Errorf("GET /settings: %s", out)
	}
}

package tgsim_test

import (
	"bufio"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gotd/td/crypto"
	gotd "github.com/gotd/td/session"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

func do(t *testing.T, h http.Handler, method, path, body string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w.Code, w.Body.String()
}

func TestControl(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	h := srv.Handler()

	code, out := do(t, h, "POST", "/accounts", `{"first_name":"Ann","username":"ann","phone":"100"}`)
	if code != http.StatusCreated {
		t.Fatalf("POST /accounts: %d %s", code, out)
	}
	var made struct {
		User    tgsim.User
		Session struct {
			Version int
			Data    gotd.Data
		}
	}
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		t.Fatal(err)
	}
	d := made.Session.Data
	var key crypto.Key
	copy(key[:], d.AuthKey)
	if id := key.ID(); made.Session.Version != 1 || d.Addr != srv.Addr() || string(d.AuthKeyID) != string(id[:]) {
		t.Errorf("session %d for %s", made.Session.Version, d.Addr)
	}
	c := connect(t, srv, tgsim.Session{AuthKey: key, Salt: d.Salt})
	ctx := timeout(t)

	if code, out := do(t, h, "POST", "/faults", `{"method":"messages.sendMessage","account":"@Ann","error":"FLOOD_WAIT_9","times":1}`); code != http.StatusCreated {
		t.Fatalf("POST /faults: %d %s", code, out)
	}
	if _, err := c.MessagesSendMessage(ctx, send(1, "x")); !tgerr.Is(err, "FLOOD_WAIT") {
		t.Errorf("error = %v", err)
	}
	if _, err := c.MessagesSendMessage(ctx, send(1, "x")); err != nil {
		t.Errorf("error = %v", err)
	}
	code, out = do(t, h, "GET", "/record?account=ann&method=messages.sendMessage", "")
	sc := bufio.NewScanner(strings.NewReader(out))
	var errs []string
	for sc.Scan() {
		var call tgsim.Call
		if err := json.Unmarshal(sc.Bytes(), &call); err != nil {
			t.Fatal(err)
		}
		errs = append(errs, call.Error)
	}
	if code != http.StatusOK || len(errs) != 2 || errs[0] != "FLOOD_WAIT_9" || errs[1] != "" {
		t.Errorf("GET /record: %d %s", code, out)
	}
	var st tgsim.Stats
	if _, out := do(t, h, "GET", "/stats", ""); json.Unmarshal([]byte(out), &st) != nil || st.Calls != 3 {
		t.Errorf("GET /stats: %s", out)
	}
	if _, out := do(t, h, "GET", "/accounts", ""); !strings.Contains(out, `"username":"ann"`) {
		t.Errorf("GET /accounts: %s", out)
	}
	if _, out := do(t, h, "GET", "/key", ""); func() bool { b, _ := pem.Decode([]byte(out)); return b == nil || b.Type != "RSA PUBLIC KEY" }() {
		t.Errorf("GET /key: %s", out)
	}
	do(t, h, "DELETE", "/faults", "")
	do(t, h, "POST", "/reset", "")
	if _, out := do(t, h, "GET", "/record", ""); out != "" {
		t.Errorf("after the reset: %s", out)
	}
	if _, err := c.Client.UsersGetUsers(ctx, []tg.InputUserClass{&tg.InputUserSelf{}}); err != nil {
		t.Error(err)
	}
}

func TestControlRefusesBadInput(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	user(t, srv, "ann")
	h := srv.Handler()
	tests := []struct {
		method, path, body string
		code               int
		want               string
	}{
		{"GET", "/record?account=nobody", "", 404, `no account "nobody"`},
		{"GET", "/record?account=12", "", 404, "no account 12"},
		{"GET", "/record?after=x", "", 400, `after="x"`},
		{"POST", "/accounts", "{", 400, "not the JSON expected"},
		{"POST", "/accounts", `{"name":"x"}`, 400, "unknown field"},
		{"POST", "/accounts", `{} {}`, 400, "more than one"},
		{"POST", "/accounts", `{"username":"Ann"}`, 409, "is taken"},
		{"POST", "/accounts", `{"username":"a b"}`, 409, "letters"},
		{"POST", "/faults", `{}`, 400, "needs one of"},
		{"POST", "/faults", `{"cut":true,"delay":"1"}`, 400, "not a duration"},
		{"POST", "/faults", `{"cut":true,"account":"x"}`, 404, "no account"},
		{"POST", "/faults", `{"cut":true,"method":"no.such"}`, 400, "no method"},
		{"POST", "/faults", `{"cut":true,"times":-1}`, 400, "negative"},
		{"POST", "/faults", `{"cut":true,"probability":2}`, 400, "between 0 and 1"},
		{"GET", "/nothing", "", 404, "no GET /nothing"},
	}
	for _, tt := range tests {
		t.Run(tt.path+" "+tt.body, func(t *testing.T) {
			code, out := do(t, h, tt.method, tt.path, tt.body)
			var e struct{ Error string }
			if err := json.Unmarshal([]byte(out), &e); err != nil {
				t.Fatalf("%d %s: %v", code, out, err)
			}
			if code != tt.code || !strings.Contains(e.Error, tt.want) {
				t.Errorf("%d %q, want %d with %q", code, e.Error, tt.code, tt.want)
			}
		})
	}
}

func TestSessionsDoNotPrint(t *testing.T) {
	t.Parallel()
	s := tgsim.Session{DC: 2, UserID: 5, AuthKey: [256]byte{201, 202, 203}, Salt: 987654321}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "session", s, "pointer", &s)
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{
		string(text),
		fmt.Sprint(s), fmt.Sprintf("%+v %#v %d %x", s, s, s, s),
		fmt.Sprintf("%v", struct{ S tgsim.Session }{s}), log.String(),
	} {
		if strings.Contains(out, "201 202") || strings.Contains(out, "0xc9, 0xca") || strings.Contains(out, "c9ca") || strings.Contains(out, "987654321") {
			t.Errorf("printed %s", out)
		}
	}
}

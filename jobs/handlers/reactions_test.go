package handlers_test

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/rpcerror"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/handlers"
	"github.com/tgswitchboard/switchboard/jobs/raw"
	"github.com/tgswitchboard/switchboard/peers/resolver"
)

var update = flag.Bool("update", false, "write the table of docs/errors.md anew")

// reaction is a job that meets an error, and what becomes of it.
type reaction struct {
	code  int
	error string // as Telegram sends it; "" is a connection that is cut
	what  string // in the table, beside the error
	every bool   // it comes every time, not once
	away  bool   // at data center 4, where upload.getFile lives
	real  bool   // the simulator says so by itself

	job   jobs.Payload
	meets string       // the method that meets it, if it is not the job's
	then  jobs.Payload // is enqueued once the first has ended or waits

	state    jobs.State
	attempts int
	calls    int             // of the first job's method
	after    int             // with the second job's
	second   jobs.State      // if it is not that of the first
	status   accounts.Status // if it is not active
	says     string          // part of the message
}

func (r reaction) method() string {
	if r.meets != "" {
		return r.meets
	}
	switch j := r.job.(type) {
	case jobs.Invoke:
		return j.Method
	case jobs.Resolve:
		return "contacts.resolveUsername"
	}
	return "messages.sendMessage"
}

func reactions() []reaction {
	const (
		ok, failed, unknown, waits     = jobs.Succeeded, jobs.Failed, jobs.Unknown, jobs.Waiting
		restricted, frozen             = accounts.Restricted, accounts.Frozen
		needsLogin, banned             = accounts.NeedsLogin, accounts.Banned
		refused, trouble, flood, login = 400, 500, 420, 401
	)
	send := jobs.Send{To: "@bob", Text: "hi"}
	resolve := jobs.Resolve{Peer: "@bob"}
	again := jobs.Resolve{Peer: "@news"}
	post := jobs.Send{To: "@news", Text: "hi"}
	takeout := invoke("account.initTakeoutSession", `{}`)
	leave := invoke("account.deleteAccount", `{"reason":"x"}`)
	file := invoke("upload.getFile", `{"location":{"_":"inputDocumentFileLocation","id":1,"access_hash":2,"file_reference":"","thumb_size":""},"limit":4096}`)
	once := invoke("messages.updatePinnedMessage", `{"peer":"me","id":1}`)
	media := invoke("messages.sendMedia", `{"peer":"me","message":"","media":{"_":"inputMediaPhoto","id":{"_":"inputPhoto","id":1,"access_hash":2,"file_reference":"AA=="}}}`)
	return []reaction{
		{code: flood, error: "FLOOD_WAIT_1", job: send, state: ok, attempts: 1, calls: 2},
		{code: flood, error: "FLOOD_WAIT_0", job: send, state: ok, attempts: 1, calls: 2},
		{code: flood, error: "FLOOD_WAIT_300", job: resolve, then: again, state: waits, calls: 1, after: 1},
		{code: flood, error: "SLOWMODE_WAIT_300", job: post, then: invoke("messages.sendMessage", `{"peer":"@news","message":"hi"}`), state: waits, calls: 1, after: 1},
		{code: flood, error: "SLOWMODE_WAIT_600", job: post, then: send, state: waits, calls: 1, second: ok, after: 2},
		{code: flood, error: "FLOOD_PREMIUM_WAIT_300", job: file, then: file, state: waits, calls: 1, after: 1},
		{code: flood, error: "2FA_CONFIRM_WAIT_604800", job: leave, then: leave, state: waits, calls: 1, after: 1},
		{code: flood, error: "TAKEOUT_INIT_DELAY_86400", job: takeout, then: takeout, state: waits, calls: 1, after: 1},
		{code: flood, error: "FLOOD_WAIT_600", meets: "help.getConfig", what: "when it connects", job: send, then: resolve, state: waits, calls: 1, after: 1},
		{code: flood, error: "SOMETHING_NEW", job: send, state: failed, attempts: 1, calls: 1},
		{code: refused, error: "STORY_SEND_FLOOD_WEEKLY_1700000000", job: takeout, state: failed, attempts: 1, calls: 1},
		{code: flood, error: "PREMIUM_SUB_ACTIVE_UNTIL_1700000000", job: takeout, state: failed, attempts: 1, calls: 1},

		{code: flood, error: "FROZEN_METHOD_INVALID", job: send, state: waits, calls: 1, status: frozen},
		{code: refused, error: "FROZEN_PARTICIPANT_MISSING", job: send, state: waits, calls: 1, status: frozen},
		{code: refused, error: "PEER_FLOOD", job: send, state: waits, calls: 1, status: restricted},
		{code: 403, error: "USER_RESTRICTED", job: takeout, state: waits, calls: 1, status: restricted},

		{code: 303, error: "FILE_MIGRATE_4", real: true, job: file, state: ok, attempts: 1, calls: 2},
		{code: 303, error: "STATS_MIGRATE_4", job: invoke("stats.loadAsyncGraph", `{"token":"x"}`), state: ok, attempts: 1, calls: 2},
		{code: 303, error: "USER_MIGRATE_4", job: send, state: failed, attempts: 1, calls: 1},

		{code: trouble, error: "RPC_CALL_FAIL", job: send, state: ok, attempts: 2, calls: 2},
		{code: trouble, error: "RPC_MCGET_FAIL", job: resolve, state: ok, attempts: 2, calls: 2},
		{code: trouble, error: "INTERDC_2_CALL_ERROR", every: true, job: send, state: failed, attempts: 2, calls: 2, says: "2 times"},
		{code: trouble, error: "WORKER_BUSY_TOO_LONG_RETRY", job: send, state: ok, attempts: 2, calls: 2},
		{code: -503, error: "Timeout", job: send, state: ok, attempts: 2, calls: 2},
		{code: trouble, error: "AUTH_KEY_UNSYNCHRONIZED", job: send, state: ok, attempts: 2, calls: 2},
		{code: trouble, error: "SOMETHING_NEW", job: resolve, state: ok, attempts: 2, calls: 2},
		{code: trouble, error: "RPC_CALL_FAIL", job: once, state: unknown, attempts: 1, calls: 1, says: "may be done"},
		{code: trouble, error: "RANDOM_ID_DUPLICATE", job: send, state: ok, attempts: 2, calls: 2},
		{code: refused, error: "RANDOM_ID_DUPLICATE", every: true, job: send, state: unknown, attempts: 2, calls: 2, says: "seen this message before"},
		{what: "the connection is cut once the call has left", job: send, state: ok, attempts: 1, calls: 2},
		{what: "the connection is cut once the call has left", job: once, state: unknown, attempts: 1, calls: 1, says: "no answer came"},

		{code: login, error: "SESSION_PASSWORD_NEEDED", job: send, state: failed, attempts: 1, calls: 1},
		{code: login, error: "AUTH_KEY_UNREGISTERED", job: send, state: waits, calls: 1, status: needsLogin},
		{code: login, error: "AUTH_KEY_INVALID", job: send, state: waits, calls: 1, status: needsLogin},
		{code: login, error: "SESSION_REVOKED", job: send, state: waits, calls: 1, status: needsLogin},
		{code: login, error: "SESSION_EXPIRED", job: send, state: waits, calls: 1, status: needsLogin},
		{code: 406, error: "AUTH_KEY_DUPLICATED", job: send, state: waits, calls: 1, status: needsLogin},
		{code: login, error: "AUTH_KEY_PERM_EMPTY", job: send, state: ok, attempts: 2, calls: 2},
		{code: login, error: "AUTH_KEY_PERM_EMPTY", away: true, job: file, state: ok, attempts: 1, calls: 3},
		{code: login, error: "AUTH_KEY_UNREGISTERED", away: true, job: file, state: ok, attempts: 1, calls: 3},
		{code: login, error: "SOMETHING_NEW", away: true, job: file, state: ok, attempts: 1, calls: 3},
		{code: login, error: "SOMETHING_NEW", job: send, state: failed, attempts: 1, calls: 1},
		{code: login, error: "USER_DEACTIVATED", job: send, state: waits, calls: 1, status: banned},
		{code: login, error: "USER_DEACTIVATED_BAN", job: send, state: waits, calls: 1, status: banned},

		{code: refused, error: "PEER_ID_INVALID", what: "its access hash is stale", real: true, job: send, state: ok, attempts: 1, calls: 2},
		{code: refused, error: "PEER_ID_INVALID", job: send, state: failed, attempts: 1, calls: 1, says: "no way to the peer"},
		{code: refused, error: "CHANNEL_INVALID", job: post, state: failed, attempts: 1, calls: 1, says: "no way to the peer"},
		{code: refused, error: "USER_ID_INVALID", job: send, state: failed, attempts: 1, calls: 1, says: "no way to the peer"},
		{code: refused, error: "CHAT_ID_INVALID", job: send, state: failed, attempts: 1, calls: 1, says: "no way to the peer"},
		{code: refused, error: "USER_INVALID", job: send, state: failed, attempts: 1, calls: 1, says: "no way to the peer"},
		{code: refused, error: "ACCESS_HASH_INVALID", job: send, state: failed, attempts: 1, calls: 1, says: "no way to the peer"},
		{code: 406, error: "CHANNEL_PRIVATE", job: post, state: failed, attempts: 1, calls: 1, says: "have it join"},
		{code: 403, error: "CHAT_WRITE_FORBIDDEN", job: post, state: failed, attempts: 1, calls: 1, says: "may not write"},
		{code: refused, error: "USER_BANNED_IN_CHANNEL", job: post, state: failed, attempts: 1, calls: 1, says: "banned from writing"},
		{code: refused, error: "USER_IS_BLOCKED", job: send, state: failed, attempts: 1, calls: 1, says: "has blocked"},
		{code: 403, error: "USER_PRIVACY_RESTRICTED", job: send, state: failed, attempts: 1, calls: 1, says: "privacy settings"},
		{code: 406, error: "PRIVACY_PREMIUM_REQUIRED", job: send, state: failed, attempts: 1, calls: 1, says: "Premium"},
		{code: 403, error: "ALLOW_PAYMENT_REQUIRED_250", job: send, state: failed, attempts: 1, calls: 1, says: "never pays"},
		{code: refused, error: "INPUT_USER_DEACTIVATED", job: send, state: failed, attempts: 1, calls: 1, says: "deleted"},
		{code: refused, error: "USERNAME_NOT_OCCUPIED", job: resolve, then: resolve, state: failed, attempts: 1, calls: 1, after: 1},
		{code: refused, error: "USERNAME_INVALID", job: resolve, then: resolve, state: failed, attempts: 1, calls: 1, after: 1},
		{code: refused, error: "FILE_REFERENCE_0_EXPIRED", job: media, state: failed, attempts: 1, calls: 1, says: "fetch the message"},
		{code: refused, error: "CONNECTION_NOT_INITED", job: send, state: ok, attempts: 2, calls: 2},
		{code: refused, error: "CONNECTION_LAYER_INVALID", every: true, job: send, state: failed, attempts: 2, calls: 2, says: "2 times"},
		{code: refused, error: "MSG_WAIT_FAILED", job: send, state: ok, attempts: 2, calls: 2},
		{code: 503, error: "MSG_WAIT_TIMEOUT", job: send, state: ok, attempts: 2, calls: 2},

		{code: refused, error: "API_ID_PUBLISHED_FLOOD", job: send, state: failed, attempts: 1, calls: 1},
		{code: 406, error: "UPDATE_APP_TO_LOGIN", job: send, state: failed, attempts: 1, calls: 1},
		{code: refused, error: "PHONE_NUMBER_FLOOD", job: send, state: failed, attempts: 1, calls: 1},
		{code: 406, error: "PHONE_PASSWORD_FLOOD", job: send, state: failed, attempts: 1, calls: 1},
		{code: trouble, error: "AUTH_RESTART", job: send, state: failed, attempts: 1, calls: 1},
		{code: refused, error: "MESSAGE_EMPTY", job: send, state: failed, attempts: 1, calls: 1},
		{code: 403, error: "SOMETHING_NEW", job: send, state: failed, attempts: 1, calls: 1},
		{code: refused, error: "SOMETHING_NEW", job: send, state: failed, attempts: 1, calls: 1},
	}
}

// seen is what a reaction was.
type seen struct {
	state    jobs.State
	attempts int
	calls    int
	second   jobs.State
	after    int
	status   accounts.Status
}

// TestReactions has a job meet each error at the simulator, each on an account of its
// own. What becomes of it is the table of docs/errors.md.
func TestReactions(t *testing.T) {
	t.Parallel()
	rows := reactions()
	ids := make([]accounts.ID, len(rows))
	var more []accounts.Account
	for i := range rows {
		ids[i] = accounts.ID(fmt.Sprintf("row%02d", i))
		more = append(more, accounts.Account{ID: ids[i]})
	}
	f := setup(t, more...)
	four := f.Sibling(t, 4)
	if err := f.Sim.SetMethodHome("upload.getFile", 4); err != nil {
		t.Fatal(err)
	}
	var members []int64
	for _, id := range ids {
		members = append(members, f.User(id).ID)
	}
	if _, err := f.Sim.AddChannel("News", "news", members...); err != nil {
		t.Fatal(err)
	}
	var known *resolver.Resolver
	f.work(t, handlers.Config{MaxAttempts: 2, Allow: raw.Allowed{"account.deleteAccount"}}, func(d *handlers.Deps) { known = d.Resolver })

	got := make([]seen, len(rows))
	t.Run("rows", func(t *testing.T) {
		for i, r := range rows {
			t.Run(r.name(), func(t *testing.T) {
				t.Parallel()
				got[i] = f.react(t, ids[i], r, known, four)
				want := seen{r.state, r.attempts, r.calls, r.second, r.after, cmp.Or(r.status, accounts.Active)}
				if r.then != nil {
					want.second = cmp.Or(r.second, r.state)
				}
				if got[i] != want {
					t.Errorf("%+v, want %+v", got[i], want)
				}
			})
		}
	})
	f.Clean(t)
	if !t.Failed() {
		checkTable(t, table(rows, got))
	}
}

func (r reaction) name() string {
	name := r.what
	if r.error != "" {
		name = fmt.Sprint(r.code, " ", r.error)
		if r.what != "" {
			name += ", " + r.what
		}
	}
	return name
}

// react enqueues the jobs of a reaction, and tells what became of them.
func (f *fixture) react(t *testing.T, id accounts.ID, r reaction, known *resolver.Resolver, four *tgsim.Server) seen {
	user := f.User(id).ID
	if r.real && r.error == "PEER_ID_INVALID" {
		bob := f.resolved(t, id, jobs.Resolve{Peer: "@bob"})
		known.Learn(id, &tg.User{ID: bob.ID, AccessHash: 1, FirstName: "bob", Username: "bob"})
	} else if !r.real {
		fault := tgsim.Fault{Method: r.method(), Account: user, Code: r.code, Error: r.error, Cut: r.error == ""}
		if !r.every {
			fault.Times = 1
		}
		at := f.Sim
		if r.away {
			at = four
		}
		at.AddFault(fault)
	}
	calls := func() int {
		return len(f.Calls(id, r.method())) + len(four.Calls(tgsim.Filter{Account: user, Method: r.method()}))
	}
	var s seen
	settled := func(job string, want jobs.State) jobs.Result {
		if want == jobs.Waiting {
			f.waiting(t, job)
			res, err := f.client.Get(t.Context(), job)
			if err != nil {
				t.Fatal(err)
			}
			return res
		}
		return f.outcome(t, job)
	}
	res := settled(f.enqueue(t, id, r.job), r.state)
	s.state, s.attempts, s.calls = res.State, res.Attempts, calls()
	if e := res.Error; s.state != jobs.Succeeded && (e == nil || !strings.Contains(e.Message, r.says)) {
		t.Errorf("error %+v, want one that says %q", e, r.says)
	} else if _, resolves := r.job.(jobs.Resolve); !resolves && s.state == jobs.Failed && r.error != "" && (e.Name != r.error || e.Code != r.code) {
		t.Errorf("error %+v, want the name and the code as they came", e)
	}
	if r.then != nil {
		s.second = settled(f.enqueue(t, id, r.then), cmp.Or(r.second, r.state)).State
		s.after = calls()
	}
	a, err := f.Registry.Account(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	s.status = a.Status
	return s
}

// table is reactions as docs/errors.md shows them.
func table(rows []reaction, got []seen) string {
	var b strings.Builder
	b.WriteString("| error | class | met by | the job | attempts | calls | another job | calls | the account |\n|---|---|---|---|---|---|---|---|---|\n")
	for i, r := range rows {
		g := got[i]
		class := "-"
		if r.error != "" {
			class = string(rpcerror.Classify(r.code, r.error).Class)
		}
		by := "`" + r.method() + "`"
		switch {
		case r.every:
			by += " every time"
		case r.away:
			by += " at another data center"
		}
		word := func(s jobs.State) string {
			if s == jobs.Waiting {
				return "waits"
			}
			return string(s)
		}
		second, after := "", ""
		if r.then != nil {
			second, after = word(g.second), fmt.Sprint(g.after)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %d | %d | %s | %s | %s |\n", r.name(), class, by, word(g.state), g.attempts, g.calls, second, after, g.status)
	}
	return b.String()
}

// checkTable compares the table of docs/errors.md, or writes it.
func checkTable(t *testing.T, want string) {
	t.Helper()
	const path, from, to = "../../docs/errors.md", "<!-- TestReactions -->\n", "<!-- end of TestReactions -->\n"
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(doc), from)
	is, behind, ok2 := strings.Cut(rest, to)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no place for the table", path)
	}
	switch {
	case is == want:
	case *update:
		if err := os.WriteFile(path, []byte(before+from+want+to+behind), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("the table of %s is not what happens (go test ./jobs/handlers -run TestReactions -update):\n%s", path, want)
	}
}

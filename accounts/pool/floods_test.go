package pool_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// about tells whether a pause is what was demanded, less what the test took, and a
// little more so that accounts do not come back together. It is rounded up twice: by
// who met it, and by the next holder, who has it by the database's clock.
func about(got, demanded time.Duration) bool {
	return got > demanded/2 && got <= demanded+min(max(demanded/8, time.Second), 30*time.Second)+2*time.Second
}

// anything takes every answer.
type anything struct{}

func (anything) Decode(b *bin.Buffer) error {
	b.Reset()
	return nil
}

// heldBack tells whether a call was held back by a pause of about 300 seconds.
func heldBack(err error, method string, chat int64) bool {
	var flood *accounts.FloodWaitError
	return errors.As(err, &flood) && flood.Method == method && flood.Chat == chat && about(flood.Wait, 300*time.Second)
}

// crowd is alice among peers.
type crowd struct {
	*fixture
	news, friends tg.InputPeerClass // a channel, a group
	mark          int64             // the channel's number in the Bot API
	random        int64
}

func newCrowd(t *testing.T) *crowd {
	t.Helper()
	f := setup(t, pool.Config{})
	news, err := f.Sim.AddChannel("news", "news", f.alice.ID)
	if err != nil {
		t.Fatal(err)
	}
	friends, err := f.Sim.AddChat("friends", f.alice.ID)
	if err != nil {
		t.Fatal(err)
	}
	return &crowd{
		fixture: f, mark: -1_000_000_000_000 - news.ID,
		news:    &tg.InputPeerChannel{ChannelID: news.ID, AccessHash: f.Sim.ChannelAccessHash(f.alice.ID, news.ID)},
		friends: &tg.InputPeerChat{ChatID: friends.ID},
	}
}

func (c *crowd) send(to tg.InputPeerClass) bin.Object {
	c.random++
	return &tg.MessagesSendMessageRequest{Peer: to, Message: "x", RandomID: c.random}
}

func (c *crowd) forward(to tg.InputPeerClass) bin.Object {
	c.random++
	return &tg.MessagesForwardMessagesRequest{FromPeer: c.news, ToPeer: to, ID: []int{1}, RandomID: []int64{c.random}}
}

// Each error holds back what it is about, here and at the next holder, and nothing
// else.
func TestWhatFloodsHoldBack(t *testing.T) {
	t.Parallel()
	me := &tg.InputPeerSelf{}
	self := &tg.UsersGetUsersRequest{ID: []tg.InputUserClass{&tg.InputUserSelf{}}}
	resolve := &tg.ContactsResolveUsernameRequest{Username: "alice"}
	part := &tg.UploadSaveFilePartRequest{FileID: 7, Bytes: []byte("x")}
	download := &tg.UploadGetFileRequest{Location: &tg.InputTakeoutFileLocation{}, Limit: 1024}
	takeout := &tg.AccountInitTakeoutSessionRequest{}
	remove := &tg.AccountDeleteAccountRequest{Reason: "x"}
	tests := []struct {
		name, fault string
		meets       func(*crowd) bin.Object
		method      string
		chat        func(*crowd) int64
		held, free  func(*crowd) []bin.Object
	}{
		{
			name: "a method", fault: "FLOOD_WAIT_300", method: "contacts.resolveUsername",
			meets: func(*crowd) bin.Object { return resolve },
			held: func(*crowd) []bin.Object {
				return []bin.Object{resolve, &tg.InvokeWithoutUpdatesRequest{Query: resolve}}
			},
			free: func(c *crowd) []bin.Object { return []bin.Object{self, c.send(me), c.send(c.news)} },
		},
		{
			name: "a wrapped method", fault: "FLOOD_WAIT_300", method: "contacts.resolveUsername",
			meets: func(*crowd) bin.Object { return &tg.InvokeWithoutUpdatesRequest{Query: resolve} },
			held:  func(*crowd) []bin.Object { return []bin.Object{resolve} },
			free:  func(*crowd) []bin.Object { return []bin.Object{&tg.InvokeWithoutUpdatesRequest{Query: self}} },
		},
		{
			name: "an export", fault: "TAKEOUT_INIT_DELAY_300", method: "account.initTakeoutSession",
			meets: func(*crowd) bin.Object { return takeout },
			held:  func(*crowd) []bin.Object { return []bin.Object{takeout} },
			free:  func(c *crowd) []bin.Object { return []bin.Object{self, resolve} },
		},
		{
			name: "what a password protects", fault: "2FA_CONFIRM_WAIT_300", method: "account.deleteAccount",
			meets: func(*crowd) bin.Object { return remove },
			held:  func(*crowd) []bin.Object { return []bin.Object{remove} },
			free:  func(c *crowd) []bin.Object { return []bin.Object{self, resolve} },
		},
		{
			name: "a channel", fault: "SLOWMODE_WAIT_300", chat: func(c *crowd) int64 { return c.mark },
			meets: func(c *crowd) bin.Object { return c.send(c.news) },
			held: func(c *crowd) []bin.Object {
				id := c.news.(*tg.InputPeerChannel).ChannelID
				return []bin.Object{c.send(c.news), c.forward(c.news), &tg.InvokeWithoutUpdatesRequest{Query: c.send(c.news)},
					c.send(&tg.InputPeerChannelFromMessage{Peer: me, MsgID: 1, ChannelID: id})}
			},
			free: func(c *crowd) []bin.Object {
				return []bin.Object{c.send(c.friends), c.forward(c.friends), c.send(me), &tg.MessagesGetHistoryRequest{Peer: c.news, Limit: 1}}
			},
		},
		{
			name: "a group", fault: "SLOWMODE_WAIT_300", chat: func(c *crowd) int64 { return -c.friends.(*tg.InputPeerChat).ChatID },
			meets: func(c *crowd) bin.Object { return c.forward(c.friends) },
			held:  func(c *crowd) []bin.Object { return []bin.Object{c.send(c.friends)} },
			free:  func(c *crowd) []bin.Object { return []bin.Object{c.send(c.news), c.send(me)} },
		},
		{
			name: "itself", fault: "SLOWMODE_WAIT_300", chat: func(c *crowd) int64 { return c.alice.ID },
			meets: func(c *crowd) bin.Object { return c.send(me) },
			held: func(c *crowd) []bin.Object {
				return []bin.Object{c.send(me), c.send(&tg.InputPeerUser{UserID: c.alice.ID})}
			},
			free: func(c *crowd) []bin.Object { return []bin.Object{c.send(c.news)} },
		},
		{
			name: "a method that slow mode is not known to be about", fault: "SLOWMODE_WAIT_300", method: "messages.editMessage",
			meets: func(c *crowd) bin.Object { return &tg.MessagesEditMessageRequest{Peer: c.news, ID: 1, Message: "y"} },
			held: func(c *crowd) []bin.Object {
				return []bin.Object{&tg.MessagesEditMessageRequest{Peer: me, ID: 1, Message: "y"}}
			},
			free: func(c *crowd) []bin.Object { return []bin.Object{c.send(c.news)} },
		},
		{
			name: "transfers", fault: "FLOOD_PREMIUM_WAIT_300", method: "upload.*",
			meets: func(*crowd) bin.Object { return part },
			held:  func(*crowd) []bin.Object { return []bin.Object{part, download} },
			free:  func(c *crowd) []bin.Object { return []bin.Object{self, resolve, c.send(me)} },
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newCrowd(t)
			var chat int64
			if tt.chat != nil {
				chat = tt.chat(c)
			}
			conn := c.acquire(t)
			if err := conn.Invoke(t.Context(), self, anything{}); err != nil {
				t.Fatal(err)
			}
			c.Sim.AddFault(tgsim.Fault{Code: 420, Error: tt.fault, Times: 1})
			if err := conn.Invoke(t.Context(), tt.meets(c), anything{}); !heldBack(err, tt.method, chat) {
				t.Fatalf("error = %v", err)
			}
			for _, holder := range []string{"this", "the next"} {
				before := len(c.Calls("alice", ""))
				for i, in := range tt.held(c) {
					if err := conn.Invoke(t.Context(), in, anything{}); !heldBack(err, tt.method, chat) {
						t.Errorf("%s holder, call %d: error = %v, want it held back", holder, i, err)
					}
				}
				if n := len(c.Calls("alice", "")) - before; n != 0 {
					t.Errorf("%s holder: %d calls left", holder, n)
				}
				for i, in := range tt.free(c) {
					if err := conn.Invoke(t.Context(), in, anything{}); errors.As(err, new(*accounts.FloodWaitError)) {
						t.Errorf("%s holder, free call %d: error = %v", holder, i, err)
					}
				}
				if n := len(c.Calls("alice", "")) - before; n < len(tt.free(c)) {
					t.Errorf("%s holder: %d free calls left", holder, n)
				}
				c.pool.Drop("alice")
				conn = c.acquire(t)
			}
			stored, err := c.DB.Floods().Floods(t.Context(), "alice")
			if err != nil || len(stored) != 1 || stored[0].Error != tt.fault {
				t.Errorf("stored %+v, %v", stored, err)
			}
		})
	}
}

// A flood that answers the first call of a connection holds back the whole account:
// nothing is called, and no connection is made, here and at the next holder.
func TestFloodOfTheAccount(t *testing.T) {
	t.Parallel()
	f := setup(t, pool.Config{})
	f.Sim.AddFault(tgsim.Fault{Method: "help.getConfig", Error: "FLOOD_WAIT_300", Times: 1})
	c := f.acquire(t)
	for i := range 6 {
		if err := getSelf(t.Context(), c); !heldBack(err, "", 0) {
			t.Fatalf("call %d: error = %v", i, err)
		}
		if i == 3 {
			f.pool.Drop("alice")
			c = f.acquire(t)
		}
	}
	if s := f.Sim.Stats(); s.Connections != 1 || s.Calls != 1 {
		t.Errorf("%d connections and %d calls, want one", s.Connections, s.Calls)
	}
	if a := f.status(t); a.Status != accounts.Active {
		t.Errorf("status %q: a flood is none", a.Status)
	}
	stored, err := f.DB.Floods().Flooded(t.Context(), "alice", "alice")
	if got := stored["alice"]; err != nil || !about(time.Until(got.Until), 300*time.Second) || got.Error != "FLOOD_WAIT_300" {
		t.Errorf("stored %+v, %v", stored, err)
	}
}

// A call that found its way free waits for a connection; meanwhile the method is
// blocked. It does not leave.
func TestFloodWhileConnecting(t *testing.T) {
	t.Parallel()
	for _, ordered := range []string{"alone", "together", "in order"} {
		t.Run(ordered, func(t *testing.T) {
			t.Parallel()
			f, four := setupAway(t, pool.Config{})
			g := newGate(t, four.Addr())
			p := f.Pool(t, pool.Config{DCs: map[int]string{2: f.Sim.Addr(), 4: g.addr}})
			c, err := p.Acquire(t.Context(), f.Lease("alice"))
			if err != nil {
				t.Fatal(err)
			}
			answered := make(chan error, 1)
			go func() {
				if ordered == "alone" {
					answered <- getFile(t.Context(), c)
					return
				}
				c.InvokeAll(t.Context(), []pool.Call{fileCall(0)}, ordered == "in order", func(_ int, err error) { answered <- err })
			}()
			<-g.arrived
			f.Sim.AddFault(tgsim.Fault{Method: fileMethod, Error: "FLOOD_WAIT_300", Times: 1})
			if err := getFile(t.Context(), c); !heldBack(err, fileMethod, 0) {
				t.Fatalf("error = %v", err)
			}
			close(g.open)
			if err := <-answered; !heldBack(err, fileMethod, 0) {
				t.Errorf("the call that waited: %v", err)
			}
			if n := calls(four, fileMethod); n != 0 {
				t.Errorf("the blocked method left %d times", n)
			}
		})
	}
}

// The wait over, the method is called again, and not before.
func TestFloodEnds(t *testing.T) {
	t.Parallel()
	f := setup(t, pool.Config{})
	f.Sim.AddFault(tgsim.Fault{Method: "contacts.resolveUsername", Error: "FLOOD_WAIT_0", Times: 1})
	c := f.acquire(t)
	resolve := func() error {
		return c.Invoke(t.Context(), &tg.ContactsResolveUsernameRequest{Username: "alice"}, anything{})
	}
	if err := resolve(); !errors.As(err, new(*accounts.FloodWaitError)) {
		t.Fatalf("error = %v", err)
	}
	simtest.Until(t, "the wait is over", func() bool { return resolve() == nil })
	got := f.Calls("alice", "contacts.resolveUsername")
	if len(got) != 2 || got[1].Time.Sub(got[0].Time) < time.Second {
		t.Errorf("recorded %+v, want two calls with a second between them", got)
	}
}

// A connection that Telegram does not know, or whose key it does not like, gives way
// to another one.
func TestConnectionGivesWay(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"CONNECTION_NOT_INITED", "CONNECTION_LAYER_INVALID", "AUTH_KEY_PERM_EMPTY"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, pool.Config{})
			c := f.acquire(t)
			if err := getSelf(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			f.Sim.AddFault(tgsim.Fault{Code: 401, Method: "users.getUsers", Error: name, Times: 1})
			if err := getSelf(t.Context(), c); err == nil || errors.Is(err, accounts.ErrNeedsLogin) {
				t.Errorf("error = %v", err)
			}
			if err := getSelf(t.Context(), c); err != nil {
				t.Errorf("the next call: %v", err)
			}
			if n := f.count("help.getConfig"); n != 2 {
				t.Errorf("initConnection was sent %d times, want twice", n)
			}
			if a := f.status(t); a.Status != accounts.Active {
				t.Errorf("status %q", a.Status)
			}
			f.Clean(t)
		})
	}
}

// What an error says of the account is written down.
func TestErrorsOfTheAccount(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		code   int
		status accounts.Status
		fact   error
	}{
		{"PEER_FLOOD", 400, accounts.Restricted, accounts.ErrRestricted},
		{"USER_RESTRICTED", 403, accounts.Restricted, accounts.ErrRestricted},
		{"FROZEN_METHOD_INVALID", 420, accounts.Frozen, accounts.ErrFrozen},
		{"FROZEN_PARTICIPANT_MISSING", 400, accounts.Frozen, accounts.ErrFrozen},
		{"AUTH_KEY_UNREGISTERED", 401, accounts.NeedsLogin, accounts.ErrNeedsLogin},
		{"AUTH_KEY_DUPLICATED", 406, accounts.NeedsLogin, accounts.ErrNeedsLogin},
		{"USER_DEACTIVATED_BAN", 401, accounts.Banned, accounts.ErrBanned},
		{"SOMETHING_NEW", 401, accounts.Active, nil},
		{"INPUT_USER_DEACTIVATED", 400, accounts.Active, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, pool.Config{})
			f.Sim.AddFault(tgsim.Fault{Method: "messages.sendMessage", Code: tt.code, Error: tt.name, Times: 1})
			err := f.acquire(t).Invoke(context.WithoutCancel(t.Context()), note(1), anything{})
			if err == nil || tt.fact != nil && !errors.Is(err, tt.fact) {
				t.Errorf("error = %v, want %v", err, tt.fact)
			}
			if a := f.status(t); a.Status != tt.status || (a.Reason == "") != (tt.status == accounts.Active) {
				t.Errorf("status %q, reason %q; want %q", a.Status, a.Reason, tt.status)
			}
		})
	}
}

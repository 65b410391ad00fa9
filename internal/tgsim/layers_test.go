package tgsim_test

import (
	"encoding/binary"
	"testing"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// words is a request in bytes: what gotd cannot encode.
type words struct{ bin.Buffer }

func (w *words) Encode(b *bin.Buffer) error { b.Put(w.Buf); return nil }

func call(id uint32, args ...any) *words {
	w := &words{}
	w.PutID(id)
	for _, a := range args {
		switch v := a.(type) {
		case int:
			w.PutInt(v)
		case int64:
			w.PutLong(v)
		case string:
			w.PutString(v)
		case bin.Encoder:
			_ = v.Encode(&w.Buffer)
		}
	}
	return w
}

// inLayer connects as a client of that layer.
func inLayer(t *testing.T, srv *tgsim.Server, sess tgsim.Session, layer int) (*client, []byte) {
	t.Helper()
	c := dial(t, srv, options(srv, sess))
	req := initial(&tg.HelpGetConfigRequest{})
	req.Layer = layer
	var config raw
	if err := c.Invoke(timeout(t), req, &config); err != nil {
		t.Fatalf("layer %d: %v", layer, err)
	}
	return c, config.b
}

func id(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }

// TestOldConstructors: the ids are those of the published layers.
func TestOldConstructors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		layer                          int
		config, user, resolve, message uint32
	}{
		{144, 0x330b4067, 0x3ff6ecb0, 0xf93ccba3, 0x38116ee0},
		{198, 0xcc1a241e, 0x4b46c37e, 0x725afbbc, 0x96fdbbe9},
		{227, 0xcc1a241e, 0x31774388, 0x725afbbc, 0x7600b9d3},
		{tg.Layer, tg.ConfigTypeID, tg.UserTypeID, tg.ContactsResolveUsernameRequestTypeID, tg.MessageTypeID},
	}
	for _, tt := range tests {
		srv := setup(t, tgsim.Config{})
		ann, sess := user(t, srv, "ann")
		c, config := inLayer(t, srv, sess, tt.layer)
		ctx := timeout(t)
		if got := id(config); got != tt.config {
			t.Errorf("layer %d: config %#x", tt.layer, got)
		}

		var users raw
		if err := c.Invoke(ctx, &tg.UsersGetUsersRequest{ID: []tg.InputUserClass{&tg.InputUserSelf{}}}, &users); err != nil {
			t.Fatal(err)
		}
		// vector, length, user, flags; the second flags came later
		name := 16
		if tt.layer > 144 {
			name = 20
		}
		b := &bin.Buffer{Buf: users.b[name:]}
		userID, _ := b.Long()
		b.Skip(8) // access_hash
		first, err := b.String()
		if id(users.b[8:]) != tt.user || userID != ann.ID || first != "ann" || err != nil {
			t.Errorf("layer %d: user %#x %d %q %v", tt.layer, id(users.b[8:]), userID, first, err)
		}

		resolve := call(tt.resolve, "ann")
		if tt.layer > 144 {
			resolve = call(tt.resolve, 0, "ann")
		}
		var found raw
		if err := c.Invoke(ctx, resolve, &found); err != nil || id(found.b) != tg.ContactsResolvedPeerTypeID {
			t.Errorf("layer %d: resolved to %#x, %v", tt.layer, id(found.b), err)
		}

		if _, err := c.MessagesSendMessage(ctx, send(1, "saved")); err != nil && tt.layer == tg.Layer {
			t.Error(err)
		}
		var history raw
		if err := c.Invoke(ctx, &tg.MessagesGetHistoryRequest{Peer: &tg.InputPeerSelf{}, Limit: 1}, &history); err != nil {
			t.Fatal(err)
		}
		at := 12 // constructor, vector, length
		if id(history.b) != 0x8c718e87 && tt.layer <= 198 || id(history.b[at:]) != tt.message {
			t.Errorf("layer %d: history %#x with %#x", tt.layer, id(history.b), id(history.b[at:]))
		}
		quiet(t, srv)
	}
}

// TestOldCalls: the effect of an old request is that of its successor.
func TestOldCalls(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, sess := user(t, srv, "ann")
	c, _ := inLayer(t, srv, sess, 198)
	ctx := timeout(t)
	self := &tg.InputPeerSelf{}
	const silent, replyTo = 1 << 5, 1
	tests := []struct {
		name  string
		req   *words
		reply int
	}{
		{"144", call(0x0d9d75a4, silent, self, "one", int64(1)), 0},
		{"144 reply", call(0x0d9d75a4, silent|replyTo, self, 1, "two", int64(2)), 1},
		{"198", call(0x983f9745, silent, self, "three", int64(3)), 0},
		{"198 reply", call(0x983f9745, silent|replyTo, self, call(0x22c0f6d5, 0, 2), "four", int64(4)), 2},
	}
	for i, tt := range tests {
		if err := c.Invoke(ctx, tt.req, &raw{}); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		calls := srv.Calls(tgsim.Filter{Account: ann.ID, Method: "messages.sendMessage"})
		if p := calls[len(calls)-1].Params; len(calls) != i+1 || p.RandomID != int64(i+1) || !p.Silent || p.ReplyTo != tt.reply {
			t.Errorf("%s: %d calls, the last is %+v", tt.name, len(calls), p)
		}
	}
	// Cut short, they are refused as new ones are.
	for _, req := range []*words{call(0x0d9d75a4, silent), call(0x983f9745), call(0xbcd51581, "1"), call(0x25939651, 0)} {
		if err := c.Invoke(ctx, req, &raw{}); err == nil {
			t.Errorf("%#x without its fields was taken", id(req.Buf))
		}
	}
	quiet(t, srv)
}

// TestDifference: what an account missed comes once, in order.
func TestDifference(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, annSess := user(t, srv, "ann")
	bob, bobSess := user(t, srv, "bob")
	ctx := timeout(t)
	a := connect(t, srv, annSess) // bob is away while ann writes
	state, err := a.UpdatesGetState(ctx)
	if err != nil || state.Pts != 1 {
		t.Fatalf("state %+v, %v", state, err)
	}
	const sends = 120
	for i := range sends {
		req := send(int64(i+1), "x")
		req.Peer = &tg.InputPeerUser{UserID: bob.ID, AccessHash: srv.AccessHash(ann.ID, bob.ID)}
		if _, err := a.MessagesSendMessage(ctx, req); err != nil {
			t.Fatal(err)
		}
	}
	b := connect(t, srv, bobSess)
	var ids []int
	pts := state.Pts
	for done := false; !done; {
		diff, err := b.UpdatesGetDifference(ctx, &tg.UpdatesGetDifferenceRequest{Pts: pts, Date: state.Date})
		if err != nil {
			t.Fatal(err)
		}
		var msgs []tg.MessageClass
		switch d := diff.(type) {
		case *tg.UpdatesDifferenceSlice:
			msgs, pts = d.NewMessages, d.IntermediateState.Pts
		case *tg.UpdatesDifference:
			msgs, pts = d.NewMessages, d.State.Pts
		case *tg.UpdatesDifferenceEmpty:
			done = true
		}
		for _, m := range msgs {
			ids = append(ids, m.GetID())
		}
	}
	if len(ids) != sends || ids[0] != 1 || ids[sends-1] != sends || pts != sends+1 {
		t.Errorf("%d messages up to pts %d: %v", len(ids), pts, ids)
	}
	for pts, want := range map[int]string{0: "PERSISTENT_TIMESTAMP_EMPTY", -1: "PERSISTENT_TIMESTAMP_INVALID"} {
		_, err := b.UpdatesGetDifference(ctx, &tg.UpdatesGetDifferenceRequest{Pts: pts, Date: 1})
		fails(t, err, want)
	}
	_, err = b.UpdatesGetDifference(ctx, &tg.UpdatesGetDifferenceRequest{Pts: 1})
	fails(t, err, "DATE_EMPTY")
	quiet(t, srv)
}

func fails(t *testing.T, err error, want string) {
	t.Helper()
	if !tgerr.Is(err, want) {
		t.Errorf("error %v, want %s", err, want)
	}
}

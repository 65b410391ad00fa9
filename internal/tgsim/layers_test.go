package tgsim_test

import (
	"fmt"
	"testing"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/mt"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/transport"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// byHand is a request whose bytes a test writes itself.
type byHand func(b *bin.Buffer)

func (f byHand) Encode(b *bin.Buffer) error { f(b); return nil }

// oldReader takes an answer apart as a client of an older layer does.
type oldReader struct {
	t *testing.T
	b bin.Buffer
}

func (r *oldReader) Decode(b *bin.Buffer) error {
	r.b = bin.Buffer{Buf: b.Copy()}
	return nil
}

func (r *oldReader) id(want uint32) {
	r.t.Helper()
	if got := r.u32(); got != want {
		r.t.Fatalf("constructor %#08x, want %#08x", got, want)
	}
}

func must[T any](t *testing.T, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatalf("the answer ends early: %v", err)
	}
	return v
}

func (r *oldReader) u32() uint32 { v, err := r.b.Uint32(); return must(r.t, v, err) }
func (r *oldReader) int() int    { v, err := r.b.Int(); return must(r.t, v, err) }
func (r *oldReader) long() int64 { v, err := r.b.Long(); return must(r.t, v, err) }
func (r *oldReader) str() string { v, err := r.b.String(); return must(r.t, v, err) }
func (r *oldReader) vector() int { v, err := r.b.VectorHeader(); return must(r.t, v, err) }

func (r *oldReader) end() {
	r.t.Helper()
	if n := r.b.Len(); n != 0 {
		r.t.Errorf("%d bytes too many", n)
	}
}

// flags reads the words of flags; the second must be 0.
func (r *oldReader) flags(second bool) uint32 {
	f := r.u32()
	if second {
		if f2 := r.u32(); f2 != 0 {
			r.t.Errorf("flags2 = %#x", f2)
		}
	}
	return f
}

func (r *oldReader) user(id uint32, second bool) (int64, string) {
	r.t.Helper()
	r.id(id)
	f := r.flags(second)
	user := r.long()
	if f&1 != 0 {
		r.long() // access_hash
	}
	username := ""
	for bit, to := range []*string{1: new(string), 2: new(string), 3: &username, 4: new(string)} {
		if bit > 0 && f&(1<<bit) != 0 {
			*to = r.str()
		}
	}
	return user, username
}

func (r *oldReader) channel(id uint32, second bool) (int64, string) {
	r.t.Helper()
	r.id(id)
	f := r.flags(second)
	channel := r.long()
	if f&(1<<13) != 0 {
		r.long() // access_hash
	}
	title := r.str()
	if f&(1<<6) != 0 {
		r.str() // username
	}
	r.id(tg.ChatPhotoEmptyTypeID)
	r.int() // date
	return channel, title
}

// message returns the text and what it replies to.
func (r *oldReader) message(id uint32, second bool, reply uint32) (string, int) {
	r.t.Helper()
	r.id(id)
	f := r.flags(second)
	r.int() // id
	if f&(1<<8) != 0 {
		r.id(tg.PeerUserTypeID)
		r.long()
	}
	r.u32() // a Peer of any kind
	r.long()
	to := 0
	if f&(1<<3) != 0 {
		r.id(reply)
		r.u32() // flags
		to = r.int()
	}
	r.int() // date
	return r.str(), to
}

// speak connects as a client of a layer; the config is left to the caller.
func speak(t *testing.T, srv *tgsim.Server, sess tgsim.Session, layer int) (*rawClient, *oldReader) {
	t.Helper()
	r := rawDial(t, srv, sess, transport.Intermediate)
	req := initial(&tg.HelpGetConfigRequest{})
	req.Layer = layer
	id := r.call(req)
	r.take(&mt.NewSessionCreated{})
	out := &oldReader{t: t}
	r.result(id, out)
	return r, out
}

// ask makes a call and returns its answer.
func (r *rawClient) ask(t *testing.T, v bin.Encoder) *oldReader {
	t.Helper()
	out := &oldReader{t: t}
	r.result(r.call(v), out)
	return out
}

// pushed returns the next message that is no ack.
func (r *rawClient) pushed(t *testing.T) *oldReader {
	t.Helper()
	for {
		m, err := r.next()
		if err != nil {
			t.Fatalf("waiting for an update: %v", err)
		}
		b := bin.Buffer{Buf: m.Body}
		if id, _ := b.PeekID(); id != mt.MsgsAckTypeID {
			return &oldReader{t: t, b: b}
		}
	}
}

// config reads config#330b4067 or config#232566ac.
func (r *oldReader) config(id uint32) {
	r.t.Helper()
	r.id(id)
	r.u32() // flags
	r.int() // date
	r.int() // expires
	r.id(bin.TypeFalse)
	if dc := r.int(); dc != 2 {
		r.t.Errorf("this_dc = %d", dc)
	}
	for range r.vector() {
		var dc tg.DCOption
		if err := dc.Decode(&r.b); err != nil {
			r.t.Fatal(err)
		}
	}
	r.str() // dc_txt_domain_name
	if n := r.int(); n != 200 {
		r.t.Errorf("chat_size_max = %d", n)
	}
	for range 24 {
		r.int()
	}
	if s := r.str(); s != "https://t.me/" {
		r.t.Errorf("me_url_prefix = %q", s)
	}
	if caption, message := r.int(), r.int(); caption != 1024 || message != 4096 {
		r.t.Errorf("caption_length_max %d, message_length_max %d", caption, message)
	}
	r.int() // webfile_dc_id
	r.end()
}

// TestLayer144 is what Telethon 1.25 does, from the login on.
func TestLayer144(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann := person(t, srv, "ann", testPhone)
	bob, bobSess := user(t, srv, "bob")
	if err := srv.SetPassword(ann.ID, "secret", "hint"); err != nil {
		t.Fatal(err)
	}
	r := rawDial(t, srv, tgsim.Session{}, transport.Intermediate)
	if !r.exchange(srv, oldExchange{}, 0) {
		t.Fatal("no key")
	}
	req := initial(&tg.HelpGetConfigRequest{})
	req.Layer = 144
	id := r.call(req)
	r.take(&mt.NewSessionCreated{})
	cfg := &oldReader{t: t}
	r.result(id, cfg)
	cfg.config(0x330b4067)

	var sent tg.AuthSentCode
	r.result(r.call(&tg.AuthSendCodeRequest{PhoneNumber: testPhone, APIID: 1, APIHash: "x"}), &sent)
	signIn := func() int64 {
		code, _ := srv.LoginCode(testPhone)
		return r.call(byHand(func(b *bin.Buffer) {
			b.PutUint32(0xbcd51581) // auth.signIn without flags
			b.PutString(testPhone)
			b.PutString(sent.PhoneCodeHash)
			b.PutString(code)
		}))
	}
	r.fails(signIn(), 401, "SESSION_PASSWORD_NEEDED")
	p := r.ask(t, &tg.AccountGetPasswordRequest{})
	p.id(0x185b184f)
	if err := srv.SetPassword(ann.ID, "", ""); err != nil {
		t.Fatal(err)
	}
	r.result(r.call(byHand(func(b *bin.Buffer) { // auth.sendCode is the same
		_ = (&tg.AuthSendCodeRequest{PhoneNumber: testPhone, APIID: 1, APIHash: "x"}).Encode(b)
	})), &sent)
	in := &oldReader{t: t}
	r.result(signIn(), in)
	in.id(0x33fb7bb8) // auth.authorization
	if f := in.u32(); f != 0 {
		t.Errorf("auth.authorization has flags %#x", f)
	}
	if got, name := in.user(0x3ff6ecb0, false); got != ann.ID || name != "ann" {
		t.Errorf("signed in as %d %q", got, name)
	}
	in.end()

	found := r.ask(t, byHand(func(b *bin.Buffer) {
		b.PutUint32(0xf93ccba3) // contacts.resolveUsername without flags
		b.PutString("bob")
	}))
	found.id(tg.ContactsResolvedPeerTypeID)
	found.id(tg.PeerUserTypeID)
	found.long()
	if n := found.vector(); n != 0 {
		t.Errorf("%d chats", n)
	}
	found.vector()
	if got, _ := found.user(0x3ff6ecb0, false); got != bob.ID {
		t.Errorf("resolved %d", got)
	}
	found.end()

	old, _ := speak(t, srv, bobSess, 144)
	old.result(old.call(&tg.UpdatesGetStateRequest{}), &tg.UpdatesState{})
	send := func(reply int) {
		t.Helper()
		var out tg.UpdateShortSentMessage // is the same in all layers
		r.result(r.call(byHand(func(b *bin.Buffer) {
			b.PutUint32(0x0d9d75a4) // messages.sendMessage with reply_to_msg_id
			flags := uint32(0)
			if reply != 0 {
				flags = 1
			}
			b.PutUint32(flags)
			_ = (&tg.InputPeerUser{UserID: bob.ID, AccessHash: srv.AccessHash(ann.ID, bob.ID)}).Encode(b)
			if reply != 0 {
				b.PutInt(reply)
			}
			b.PutString(fmt.Sprint("reply to ", reply))
			b.PutLong(int64(100 + reply))
		})), &out)
	}
	send(0)
	send(1)
	for reply := range 2 {
		up := old.pushed(t)
		up.id(tg.UpdatesTypeID)
		up.vector()
		up.id(tg.UpdateNewMessageTypeID)
		if text, to := up.message(0x38116ee0, false, 0xa6d57763); text != fmt.Sprint("reply to ", reply) || to != reply {
			t.Errorf("update with %q, reply to %d", text, to)
		}
	}
	for _, call := range srv.Calls(tgsim.Filter{Method: "messages.sendMessage"}) {
		if call.Layer != 144 || !call.Effect || call.Params.ReplyTo != int(call.Params.RandomID)-100 {
			t.Errorf("record: %+v", call)
		}
	}
	h := r.ask(t, &tg.MessagesGetHistoryRequest{Peer: &tg.InputPeerUser{UserID: bob.ID, AccessHash: srv.AccessHash(ann.ID, bob.ID)}, Limit: 10})
	h.id(0x8c718e87) // messages.messages without topics
	if n := h.vector(); n != 2 {
		t.Fatalf("%d messages", n)
	}
	for _, want := range []int{1, 0} {
		if text, to := h.message(0x38116ee0, false, 0xa6d57763); text != fmt.Sprint("reply to ", want) || to != want {
			t.Errorf("history has %q, reply to %d", text, to)
		}
	}
	if n := h.vector(); n != 0 {
		t.Errorf("%d chats", n)
	}
	for range h.vector() {
		h.user(0x3ff6ecb0, false)
	}
	h.end()
	quiet(t, srv)
}

func TestLayers(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	ann, sess := user(t, srv, "ann")
	room, err := srv.AddChannel("Room", "room", ann.ID)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		layer                         int
		config, user, channel         uint32
		message, reply, history, send uint32
	}{
		{145, 0x232566ac, 0x5d99adee, 0x8261ac61, 0x38116ee0, 0xa6d57763, 0x64479808, 0x0d9d75a4},
		{148, 0x232566ac, 0x8f97c628, 0x83259464, 0x38116ee0, 0xa6d57763, 0xc776ba4e, 0x1cc20387},
		{158, 0, 0x8f97c628, 0x83259464, 0x38116ee0, 0xa6d57763, 0xc776ba4e, 0x1cc20387},
		{160, 0, 0xabb5f120, 0x94f592db, 0x38116ee0, 0xa6d57763, 0xc776ba4e, 0x280d096f},
		{166, 0, 0xeb602f25, 0x1981ea7e, 0x38116ee0, 0x6eebcabd, 0xc776ba4e, 0x280d096f},
		{167, 0, 0x215c4438, 0x8e87ccd8, 0x38116ee0, 0xafbc09db, 0xc776ba4e, 0x280d096f},
		{170, 0, 0x215c4438, 0x0aadfc8f, 0x76bec211, 0xafbc09db, 0xc776ba4e, 0x280d096f},
		{174, 0, 0x215c4438, 0x0aadfc8f, 0x1e4c8a69, 0xafbc09db, 0xc776ba4e, 0xdff8042c},
		{176, 0, 0x215c4438, 0x0aadfc8f, 0xa66c7efc, 0xafbc09db, 0xc776ba4e, 0xdff8042c},
		{179, 0, 0x215c4438, 0x0aadfc8f, 0x2357bf25, 0xafbc09db, 0xc776ba4e, 0xdff8042c},
		{180, 0, 0x215c4438, 0x0aadfc8f, 0xbde09c2e, 0xafbc09db, 0xc776ba4e, 0x983f9745},
		{195, 0, 0x83314fca, 0xfe4478bd, 0x94345242, 0xafbc09db, 0xc776ba4e, 0x983f9745},
		{198, 0, 0x4b46c37e, 0xe00998b7, 0x96fdbbe9, 0xafbc09db, 0xc776ba4e, 0x983f9745},
		{203, 0, 0x020b1422, 0x7482147e, 0xeabcdd4d, 0xafbc09db, 0xc776ba4e, 0xfbf2340a},
		{216, 0, 0x020b1422, 0xfe685355, 0x9815cec8, 0x6917560b, 0xc776ba4e, 0xfe05dc9a},
		{220, 0, 0x31774388, 0x1c32b11c, 0xb92f76cf, 0x6917560b, 0xc776ba4e, 0x545cd15a},
		{222, 0, 0x31774388, 0x1c32b11c, 0x9cb490e9, 0x6917560b, 0xc776ba4e, 0x545cd15a},
		{224, 0, 0x31774388, 0x1c32b11c, 0x3ae56482, 0x1b97dd66, 0xc776ba4e, 0x545cd15a},
		{226, 0, 0x31774388, 0x1c32b11c, 0x95ef6f2b, 0x1b97dd66, 0xc776ba4e, 0x545cd15a},
		{227, 0, 0x31774388, 0x1c32b11c, 0x7600b9d3, 0x1b97dd66, 0xc776ba4e, 0xfef48f62},
		{228, 0, 0xb1b8cc83, 0xd49f34c6, 0x7600b9d3, 0x1b97dd66, 0xc776ba4e, 0xfef48f62},
	}
	peer := &tg.InputPeerChannel{ChannelID: room.ID, AccessHash: srv.ChannelAccessHash(ann.ID, room.ID)}
	for i, tt := range tests {
		t.Run(fmt.Sprint(tt.layer), func(t *testing.T) {
			r, cfg := speak(t, srv, sess, tt.layer)
			if tt.config != 0 {
				cfg.config(tt.config)
			} else {
				cfg.id(tg.ConfigTypeID)
			}
			flags2 := tt.layer >= 148
			u := r.ask(t, &tg.UsersGetUsersRequest{ID: []tg.InputUserClass{&tg.InputUserSelf{}}})
			u.vector()
			if id, name := u.user(tt.user, flags2); id != ann.ID || name != "ann" {
				t.Errorf("self is %d %q", id, name)
			}
			u.end()

			text := fmt.Sprint("layer ", tt.layer)
			up := r.ask(t, byHand(func(b *bin.Buffer) {
				b.PutUint32(tt.send)
				if i == 0 {
					b.PutUint32(0)
					_ = peer.Encode(b)
				} else {
					b.PutUint32(1 << 0)
					_ = peer.Encode(b)
					switch {
					case tt.send == 0x1cc20387:
						b.PutInt(i)
					case tt.layer < 166: // the first inputReplyToMessage
						b.PutUint32(0x9c5386e4)
						b.PutUint32(0)
						b.PutInt(i)
					default:
						_ = (&tg.InputReplyToMessage{ReplyToMsgID: i}).Encode(b)
					}
				}
				b.PutString(text)
				b.PutLong(int64(1000 + i))
			}))
			up.id(tg.UpdatesTypeID)
			up.vector()
			up.id(tg.UpdateMessageIDTypeID)
			up.int()
			up.long()
			up.id(tg.UpdateNewChannelMessageTypeID)
			if got, to := up.message(tt.message, tt.layer >= 177, tt.reply); got != text || to != i {
				t.Errorf("sent %q, reply to %d", got, to)
			}
			up.int() // pts
			up.int() // pts_count
			up.vector()
			up.user(tt.user, flags2)
			up.vector()
			if id, title := up.channel(tt.channel, flags2); id != room.ID || title != "Room" {
				t.Errorf("channel %d %q", id, title)
			}
			up.int() // date
			up.int() // seq
			up.end()

			h := r.ask(t, &tg.MessagesGetHistoryRequest{Peer: peer, Limit: 1})
			h.id(tt.history)
			h.u32() // flags
			h.int() // pts
			h.int() // count
			h.vector()
			if got, to := h.message(tt.message, tt.layer >= 177, tt.reply); got != text || to != i {
				t.Errorf("history has %q, reply to %d", got, to)
			}
			if tt.history == tg.MessagesChannelMessagesTypeID {
				h.vector() // topics
			}
			h.vector()
			h.channel(tt.channel, flags2)
			h.vector()
			h.user(tt.user, flags2)
			h.end()
		})
	}
	quiet(t, srv)
}

// TestLayerCannotSay: what an older form has no field for is not sent wrong.
func TestLayerCannotSay(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]bin.Encoder{
		"user":    &tg.User{ID: 1, Color: &tg.PeerColor{Color: 1}},
		"message": &tg.Message{ID: 1, PeerID: &tg.PeerUser{UserID: 1}, PaidMessageStars: 5},
		"reply":   &tg.Updates{Updates: []tg.UpdateClass{&tg.UpdateNewMessage{Message: &tg.Message{PeerID: &tg.PeerUser{}, ReplyTo: &tg.MessageReplyHeader{TodoItemID: 1}}}}},
		"topics":  &tg.MessagesMessages{Topics: []tg.ForumTopicClass{&tg.ForumTopicDeleted{ID: 1}}},
	} {
		var b bin.Buffer
		if err := tgsim.ForLayer(v, 144).Encode(&b); err == nil {
			t.Errorf("%s was encoded as % x", name, b.Buf)
		}
		b.Reset()
		if err := tgsim.ForLayer(v, tg.Layer).Encode(&b); err != nil {
			t.Errorf("%s in the current layer: %v", name, err)
		}
	}
}

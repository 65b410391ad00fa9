package batching

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/mt"
	"github.com/gotd/td/proto"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/transport"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// The container of docs/containers.md was made at this time, in a session whose
// first call was made a second before.
var (
	docTime  = time.Date(2026, time.January, 15, 12, 0, 0, 0, time.UTC)
	docFirst = idAt(docTime)
)

func idAt(at time.Time) int64 { return at.Unix() << 32 }

// documented is the hex block of docs/containers.md, as it stands and as bytes.
func documented(t *testing.T) (text string, frame []byte) {
	t.Helper()
	doc, err := os.ReadFile("../docs/containers.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(doc), "```hex\n")
	text, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("docs/containers.md has no hex block")
	}
	for line := range strings.Lines(text) {
		data, _, _ := strings.Cut(line, "#")
		b, err := hex.DecodeString(strings.Join(strings.Fields(data), ""))
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		frame = append(frame, b...)
	}
	return text, frame
}

// What docs/containers.md says of each field is so.
func TestDocumentedContainerIsAnnotatedRight(t *testing.T) {
	text, frame := documented(t)
	var want annotation
	want.container(&bin.Buffer{Buf: frame})
	if want.err != nil || want.String() != text {
		t.Errorf("%v; it should be\n%s", want.err, want.String())
	}
}

// It is what a session sends that has three calls, one behind another, and an
// answer to acknowledge.
func TestDocumentedContainerIsSent(t *testing.T) {
	_, frame := documented(t)
	c, w := meet(t, Config{}, false)
	c.ids.skew, c.ids.last, c.ids.content = time.Until(docTime.Add(-time.Hour)), docFirst, 1
	c.salts.askedAt = c.ids.now()
	c.acks.ids = []int64{docFirst - 1<<32 + 1}
	send := func(text string, n int64) *Call {
		c, err := NewCall(encoded(&tg.MessagesSendMessageRequest{Peer: &tg.InputPeerSelf{}, Message: text, RandomID: n}), new(raw))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first, second := send("first", 1), send("second", 2)
	second.After(first)
	self, err := NewCall(encoded(&tg.UsersGetUsersRequest{ID: []tg.InputUserClass{&tg.InputUserSelf{}}}), new(raw))
	if err != nil {
		t.Fatal(err)
	}
	w.send(first, second, self)
	if len(w.sent) != 1 {
		t.Fatalf("%d frames", len(w.sent))
	}
	sent := w.sent[0]
	if sent.MessageID != docFirst+5*4 || sent.SeqNo != 8 {
		t.Errorf("the container has msg_id %d and seqno %d", sent.MessageID, sent.SeqNo)
	}
	if !bytes.Equal(sent.Data(), frame) {
		var want annotation
		want.container(&bin.Buffer{Buf: sent.Data()})
		t.Errorf("the session sends\n%s", want.String())
	}
}

// A strict server takes it, and runs its calls.
func TestDocumentedContainerIsTaken(t *testing.T) {
	_, frame := documented(t)
	srv, err := tgsim.Listen(tgsim.Config{ClockSkew: time.Until(docTime)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	ran := make(chan error, 1)
	go func() { ran <- srv.Run(ctx) }()
	defer func() { cancel(); <-ran }()
	ann, err := srv.AddUser(tgsim.User{FirstName: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	session, err := srv.NewSession(ann.ID)
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.Dial("tcp", srv.Addr())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := transport.Intermediate.Handshake(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, m := range []message{
		{id: docFirst - 1<<32, seq: 1, body: encoded(&tg.InvokeWithLayerRequest{Layer: tg.Layer, Query: &tg.InitConnectionRequest{
			APIID: 1, DeviceModel: "test", SystemVersion: "1", AppVersion: "1", SystemLangCode: "en", LangCode: "en", Query: &tg.HelpGetConfigRequest{},
		}})},
		{id: docFirst + 5*4, seq: 8, body: frame},
	} {
		var b bin.Buffer
		if err := crypto.NewClientCipher(crypto.DefaultRand()).Encrypt(crypto.Key(session.AuthKey).WithID(), crypto.EncryptedMessageData{
			Salt: session.Salt, SessionID: 7, MessageID: m.id, SeqNo: m.seq,
			MessageDataLen: int32(len(m.body)), MessageDataWithPadding: m.body,
		}, &b); err != nil {
			t.Fatal(err)
		}
		if err := conn.Send(ctx, &b); err != nil {
			t.Fatal(err)
		}
	}
	const calls = 4 // the first of the session, and three
	for len(srv.Calls(tgsim.Filter{})) < calls {
		if err := conn.Recv(ctx, &bin.Buffer{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range srv.Calls(tgsim.Filter{}) {
		if c.Error != "" || c.Method != "help.getConfig" && c.Container != docFirst+5*4 {
			t.Errorf("%+v", c)
		}
		if c.Params.Message == "second" && (len(c.Params.After) != 1 || c.Params.After[0] != docFirst+4) {
			t.Errorf("the second runs after %v", c.Params.After)
		}
	}
	if st := srv.Stats(); st.Violations != 0 {
		t.Errorf("broken rules: %+v", st.Violation)
	}
}

// annotation writes bytes with what they are.
type annotation struct {
	strings.Builder
	err error
}

// put writes n bytes of b and what they say.
func (a *annotation) put(b *bin.Buffer, n int, what string) {
	if n = min(n, b.Len()); a.err == nil {
		line := fmt.Sprintf("% x", b.Buf[:n])
		fmt.Fprintf(a, "%-36s# %s\n", line, what)
	}
	b.Skip(n)
}

func (a *annotation) long(b *bin.Buffer, what string) {
	v, err := (&bin.Buffer{Buf: b.Buf}).Long()
	a.fail(err)
	a.put(b, 8, fmt.Sprintf("%s %d", what, v))
}

func (a *annotation) int(b *bin.Buffer, what string) (v int) {
	v, err := (&bin.Buffer{Buf: b.Buf}).Int()
	a.fail(err)
	a.put(b, 4, fmt.Sprintf("%s %d", what, v))
	return v
}

// constructor writes an id by its name in the schema.
func (a *annotation) constructor(b *bin.Buffer) uint32 {
	id := typeOf(b.Buf)
	name := map[uint32]string{
		proto.MessageContainerTypeID: "msg_container#73f1f8dc", invokeAfterMsgID: "invokeAfterMsg#cb9f372d", bin.TypeVector: "vector#1cb5c415",
	}[id]
	for _, types := range []map[uint32]string{mt.TypesMap(), tg.TypesMap()} {
		if name == "" {
			name = types[id]
		}
	}
	a.put(b, 4, name)
	return id
}

func (a *annotation) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}

func (a *annotation) container(b *bin.Buffer) {
	a.constructor(b)
	for range a.int(b, "messages:") {
		a.WriteString("\n")
		a.long(b, "msg_id")
		a.int(b, "seqno")
		n := a.int(b, "bytes:")
		if n < 0 || n > b.Len() {
			a.fail(errShort)
			return
		}
		a.body(&bin.Buffer{Buf: b.Buf[:n]})
		b.Skip(n)
	}
	if b.Len() > 0 {
		a.fail(fmt.Errorf("%d bytes left", b.Len()))
	}
}

// body writes one of the messages that the document shows.
func (a *annotation) body(b *bin.Buffer) {
	switch id := a.constructor(b); id {
	case invokeAfterMsgID:
		a.long(b, "msg_id")
		a.body(b)
	case tg.MessagesSendMessageRequestTypeID:
		a.int(b, "flags")
		a.constructor(b)
		text, err := (&bin.Buffer{Buf: b.Buf}).String()
		a.fail(err)
		a.put(b, (len(text)+1+3)/4*4, fmt.Sprintf("message %q", text))
		a.long(b, "random_id")
	case tg.UsersGetUsersRequestTypeID:
		a.constructor(b)
		for range a.int(b, "elements:") {
			a.constructor(b)
		}
	case mt.MsgsAckTypeID:
		a.constructor(b)
		for range a.int(b, "elements:") {
			a.long(b, "msg_id")
		}
	}
	if b.Len() > 0 {
		a.fail(fmt.Errorf("%d bytes of a message are not described", b.Len()))
	}
}

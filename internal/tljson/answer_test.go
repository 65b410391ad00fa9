package tljson

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// answerTo decodes what was encoded as the answer to a method.
func answerTo(t *testing.T, method string, put func(b *bin.Buffer)) (*Answer, error) {
	t.Helper()
	a := (&Request{result: theLayer().plan(method).Result}).Answer()
	var b bin.Buffer
	put(&b)
	return a, a.Decode(&b)
}

func TestAnswer(t *testing.T) {
	object := func(o bin.Encoder) func(*bin.Buffer) {
		return func(b *bin.Buffer) {
			if err := o.Encode(b); err != nil {
				t.Fatal(err)
			}
		}
	}
	user := &tg.User{ID: 9007199254740993, Self: true, FirstName: "A\x00\"<"}
	user.SetFlags()
	tests := []struct {
		method  string
		put     func(*bin.Buffer)
		want    string
		objects int
	}{
		{"users.getUsers", object(&tg.UserClassVector{Elems: []tg.UserClass{user, &tg.UserEmpty{ID: 2}}}),
			`[{"_":"user","self":true,"id":"9007199254740993","first_name":"A\u0000\"<"},{"_":"userEmpty","id":"2"}]`, 2},
		{"users.getUsers", func(b *bin.Buffer) { b.PutVectorHeader(0) }, `[]`, 0},
		{"messages.setTyping", func(b *bin.Buffer) { b.PutBool(true) }, `true`, 0},
		{"messages.receivedQueue", func(b *bin.Buffer) { b.PutVectorHeader(2); b.PutLong(1); b.PutLong(1 << 62) }, `["1","4611686018427387904"]`, 0},
		{"contacts.getContactIDs", func(b *bin.Buffer) { b.PutVectorHeader(2); b.PutInt(1); b.PutInt(-2) }, `[1,-2]`, 0},
		{"help.getNearestDc", object(&tg.NearestDC{Country: "NL\xff", ThisDC: 1, NearestDC: 2}), `{"_":"nearestDc","country":"NL` + "\uFFFD" + `","this_dc":1,"nearest_dc":2}`, 1},
		{"messages.getChatInviteImporters", object(&tg.MessagesChatInviteImporters{}), `{"_":"messages.chatInviteImporters","count":0,"importers":[],"users":[]}`, 1},
	}
	for _, tt := range tests {
		t.Run(tt.method, func(t *testing.T) {
			a, err := answerTo(t, tt.method, tt.put)
			if err != nil {
				t.Fatal(err)
			}
			got, err := a.MarshalJSON()
			if err != nil || string(got) != tt.want {
				t.Errorf("got %s, %v", got, err)
			}
			if len(a.Objects) != tt.objects {
				t.Errorf("%d objects", len(a.Objects))
			}
		})
	}
}

// TestBadAnswers: what no such method answers is refused, and nothing panics.
func TestBadAnswers(t *testing.T) {
	tests := []struct {
		name, method, says string
		put                func(*bin.Buffer)
	}{
		{"nothing", "help.getConfig", "Config", func(*bin.Buffer) {}},
		{"of another type", "help.getConfig", "none of config", func(b *bin.Buffer) { b.PutBool(true) }},
		{"unknown", "messages.getHistory", "#12345678", func(b *bin.Buffer) { b.PutID(0x12345678) }},
		{"more than it", "messages.setTyping", "4 bytes follow it", func(b *bin.Buffer) { b.PutBool(true); b.PutInt(0) }},
		{"more elements than bytes", "users.getUsers", "2147483647", func(b *bin.Buffer) { b.PutVectorHeader(1<<31 - 1) }},
		{"a negative number of elements", "users.getUsers", "", func(b *bin.Buffer) { b.PutVectorHeader(-1) }},
		{"an element of another type", "users.getUsers", "element 0", func(b *bin.Buffer) { b.PutVectorHeader(1); b.PutBool(true) }},
		{"cut off", "help.getNearestDc", "", func(b *bin.Buffer) { b.PutID(tg.NearestDCTypeID); b.PutInt(7) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := answerTo(t, tt.method, tt.put); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestNestedAnswer: an answer that is too deep for the decoder's stack is refused
// before it gets there, and a deep one is not.
func TestNestedAnswer(t *testing.T) {
	page := func(depth int) func(*bin.Buffer) {
		return func(b *bin.Buffer) {
			b.PutID(tg.WebPageTypeID)
			b.PutInt32(1 << 10) // flags: cached_page
			b.PutLong(1)
			b.PutString("")
			b.PutString("")
			b.PutInt(0)
			b.PutID(tg.PageTypeID)
			b.PutInt32(0)
			b.PutString("")
			b.PutVectorHeader(1)
			b.PutID(tg.PageBlockTitleTypeID)
			for range depth {
				b.PutID(tg.TextBoldTypeID)
			}
			b.PutID(tg.TextEmptyTypeID)
			b.PutVectorHeader(0)
			b.PutVectorHeader(0)
		}
	}
	answer := func(depth int) func(*bin.Buffer) {
		return func(b *bin.Buffer) {
			b.PutID(tg.MessagesWebPageTypeID)
			page(depth)(b)
			b.PutVectorHeader(0)
			b.PutVectorHeader(0)
		}
	}
	if _, err := answerTo(t, "messages.getWebPage", answer(2_500_000)); !errors.Is(err, errNested) {
		t.Errorf("got %v", err)
	}
	a, err := answerTo(t, "messages.getWebPage", answer(5000))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := a.MarshalJSON(); err != nil || bytes.Count(text, []byte("textBold")) != 5000 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}

// TestWalk: the walk through a value ends where the value does.
func TestWalk(t *testing.T) {
	l := theLayer()
	for name := range l.lines {
		p := l.plan(name)
		if p.Function || undecodable[name] {
			continue
		}
		for seed := range 5 {
			f := &filler{rand.New(rand.NewPCG(uint64(seed), uint64(len(name)))), 20}
			w := walker{layer: l, rest: encoded(t, f.object(p))}
			if err := w.value(l.typ(p.Result)); err != nil || len(w.rest) > 0 {
				t.Errorf("%s: %d bytes left, %v", name, len(w.rest), err)
			}
		}
	}
}

// TestEveryAnswer: whatever a method may answer becomes JSON, of every type there is.
func TestEveryAnswer(t *testing.T) {
	t.Parallel()
	l := theLayer()
	for i, method := range l.methods {
		result := l.typ(l.plan(method).Result)
		if result.kind == kindQuery {
			continue
		}
		f := &filler{rand.New(rand.NewPCG(1, uint64(i))), 30}
		elem, n := result, 1
		a, err := answerTo(t, method, func(b *bin.Buffer) {
			if result.kind == kindVector {
				elem, n = result.elem, 3
				b.PutVectorHeader(n)
			}
			for range n {
				switch elem.kind {
				case kindObject:
					if err := f.object(f.choose(elem.class)).Encode(b); err != nil {
						t.Fatal(err)
					}
				case kindInt:
					b.PutInt(7)
				case kindLong:
					b.PutLong(7)
				case kindDouble:
					b.PutDouble(7)
				case kindString:
					b.PutString("7")
				case kindBytes:
					b.PutBytes([]byte("7"))
				case kindBool:
					b.PutBool(true)
				default:
					t.Errorf("%s answers %s", method, result.name)
				}
			}
		})
		if undecodable[strings.ToLower(result.name[:1])+result.name[1:]] {
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", method, err)
			continue
		}
		if text, err := json.Marshal(a); err != nil || !json.Valid(text) {
			t.Errorf("%s: %v: %s", method, err, text)
		}
	}
}

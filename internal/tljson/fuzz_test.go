package tljson

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/gotd/td/bin"
)

// FuzzDecode: no text makes Decode panic, what it refuses has a reason and a place,
// and what it takes can be encoded once its peers are there.
func FuzzDecode(f *testing.F) {
	methods := theLayer().methods
	add := func(method, params string) { f.Add(uint16(slices.Index(methods, method)), params) }
	add("messages.sendMessage", `{"peer": "@durov", "message": "hi", "reply_to": {"_": "inputReplyToMessage", "reply_to_msg_id": 1}}`)
	add("messages.sendMultiMedia", `{"peer": -100, "multi_media": [{"media": {"_": "file", "base64": "aGk="}, "message": ""}]}`)
	add("users.getUsers", `{"id": ["me", {"user_id": 1}, {"_": "peerUser", "user_id": "2"}, {"user_id": 1, "access_hash": "2"}]}`)
	add("invokeWithLayer", `{"layer": 228, "query": {"_": "initConnection", "api_id": 1, "query": {"_": "help.getConfig"}}}`)
	add("messages.forwardMessages", `{"from_peer": 1, "to_peer": 2, "id": [1, 2]}`)
	add("messages.search", `{"peer": {"_": "inputPeerUserFromMessage", "peer": "x", "msg_id": 1, "user_id": "1"}, "q": "", "filter": {"_": "inputMessagesFilterEmpty"}, "saved_reaction": [{"_": "reactionEmoji", "emoticon": "👍"}]}`)
	add("account.initTakeoutSession", `{"contacts": true, "file_max_size": "1"}`)
	add("contacts.getLocated", `{"geo_point": {"lat": -0, "long": "NaN", "_": "inputGeoPoint"}}`)
	f.Fuzz(func(t *testing.T, n uint16, params string) {
		method := methods[int(n)%len(methods)]
		req, err := Decode(method, []byte(params))
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Code == "" || e.Message == "" || e.Path == "" {
				t.Fatalf("%#v", err)
			}
			return
		}
		req.Randomize(func(i int) int64 { return int64(i) })
		first := encoded(t, req.Body)
		text, err := Append(nil, req.Body)
		if err != nil || !json.Valid(text) {
			t.Fatalf("%v: %s", err, text)
		}
		again, err := Decode(method, text)
		if err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if second := encoded(t, again.Body); !bytes.Equal(first, second) {
			t.Fatalf("%x\n%x\n%s", first, second, text)
		}
	})
}

// FuzzNearest: any name that is no method has three near ones.
func FuzzNearest(f *testing.F) {
	for _, name := range []string{"", "sendMessage", "message.sendMesage", "getHistory", "a.b.c", "\xff", "é.漢"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if near := nearest(name, 3); len(near) != 3 || near[0] == near[1] || near[1] == near[2] {
			t.Fatal(near)
		}
	})
}

// FuzzAnswer: no bytes make an answer panic, and what is read becomes JSON.
func FuzzAnswer(f *testing.F) {
	for i, method := range []string{"users.getUsers", "messages.getHistory", "help.getConfig", "messages.setTyping", "contacts.getContactIDs"} {
		var b bin.Buffer
		b.PutVectorHeader(1)
		b.PutInt(i)
		f.Add(uint16(i), b.Buf)
		f.Add(uint16(len(method)), []byte(method))
	}
	methods := theLayer().methods
	f.Fuzz(func(t *testing.T, n uint16, body []byte) {
		result := theLayer().plan(methods[int(n)%len(methods)]).Result
		a := &Answer{typ: theLayer().typ(result)}
		if a.Decode(&bin.Buffer{Buf: body}) != nil {
			return
		}
		if text, err := a.MarshalJSON(); err != nil || !json.Valid(text) {
			t.Fatalf("%v: %s", err, text)
		}
	})
}

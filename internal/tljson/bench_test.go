package tljson

import (
	"fmt"
	"testing"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// BenchmarkRequest: a typical request, from JSON to the bytes on the wire.
func BenchmarkRequest(b *testing.B) {
	params := []byte(`{"peer": "@durov", "message": "Hello, this is a message of usual length.", "silent": true,
		"reply_to": {"_": "inputReplyToMessage", "reply_to_msg_id": 4711},
		"entities": [{"_": "messageEntityBold", "offset": 0, "length": 5}]}`)
	peer := &tg.InputPeerUser{UserID: 5000000001, AccessHash: 1 << 60}
	var buf bin.Buffer
	b.ReportAllocs()
	for b.Loop() {
		req, err := Decode("messages.sendMessage", params)
		if err != nil {
			b.Fatal(err)
		}
		if err := req.Peers[0].Set(peer); err != nil {
			b.Fatal(err)
		}
		req.Randomize(func(int) int64 { return 1 << 61 })
		buf.Reset()
		if err := req.Body.Encode(&buf); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHistory: a history answer of about a MiB, decoded already, to JSON.
func BenchmarkHistory(b *testing.B) {
	answer := &Answer{typ: theLayer().typ("messages.Messages")}
	body := history(b)
	if err := answer.Decode(&bin.Buffer{Buf: body}); err != nil {
		b.Fatal(err)
	}
	b.Run("ToJSON", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(body)))
		var text []byte
		for b.Loop() {
			var err error
			if text, err = answer.Append(text[:0]); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(text))/float64(len(body)), "json/tl")
	})
	b.Run("Decode", func(b *testing.B) { // gotd's part
		b.ReportAllocs()
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			if err := (&Answer{typ: theLayer().typ("messages.Messages")}).Decode(&bin.Buffer{Buf: body}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("DecodeAndToJSON", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			answer := &Answer{typ: theLayer().typ("messages.Messages")}
			if err := answer.Decode(&bin.Buffer{Buf: body}); err != nil {
				b.Fatal(err)
			}
			if _, err := answer.MarshalJSON(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// history is the TL of a history of about a MiB.
func history(tb testing.TB) []byte {
	var all tg.MessagesChannelMessages
	for i := range 100 {
		u := &tg.User{ID: 5000000000 + int64(i), AccessHash: int64(i) << 40, FirstName: fmt.Sprintf("Person %d", i), Username: fmt.Sprintf("person_%d", i)}
		u.SetFlags()
		all.Users = append(all.Users, u)
	}
	text := "A message of the usual kind, of a length that people write, with a link: https://example.org/ 🙂 и кириллица."
	for i := range 4500 {
		m := &tg.Message{ID: i + 1, PeerID: &tg.PeerChannel{ChannelID: 1500000001}, FromID: &tg.PeerUser{UserID: 5000000000 + int64(i%100)},
			Date: 1790000000 + i, Message: text, Entities: []tg.MessageEntityClass{&tg.MessageEntityURL{Offset: 70, Length: 20}}, Views: i, Post: true}
		m.SetFlags()
		all.Messages = append(all.Messages, m)
	}
	var b bin.Buffer
	if err := all.Encode(&b); err != nil {
		tb.Fatal(err)
	}
	return b.Buf
}

package tgsim_test

import (
	"testing"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/mt"
	"github.com/gotd/td/proto"
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// BenchmarkPackedCalls sends messages in containers of 100; one operation is
// one message, the client's work included.
func BenchmarkPackedCalls(b *testing.B) {
	srv := setup(b, tgsim.Config{})
	ann, sess := user(b, srv, "ann")
	bob, _ := user(b, srv, "bob")
	r := rawConnect(b, srv, sess)
	to := &tg.InputPeerUser{UserID: bob.ID, AccessHash: srv.AccessHash(ann.ID, bob.ID)}
	const size, inFlight = 100, 5
	sent, answered := 0, 0
	push := func() {
		var members []proto.Message
		for range size {
			sent++
			members = append(members, r.member(&tg.MessagesSendMessageRequest{Peer: to, Message: "hello there", RandomID: int64(sent)}))
		}
		r.container(members...)
	}
	b.ResetTimer()
	for range inFlight {
		push()
	}
	var acks []int64
	for answered < b.N {
		m, err := r.next()
		if err != nil {
			b.Fatal(err)
		}
		if id, _ := (&bin.Buffer{Buf: m.Body}).PeekID(); id != proto.ResultTypeID {
			continue
		}
		answered++
		acks = append(acks, m.ID)
		if answered%size == 0 {
			r.frame(r.newID(), r.even(), encode(b, &mt.MsgsAck{MsgIDs: acks}))
			acks = acks[:0]
			push()
		}
	}
	b.ReportMetric(float64(answered)/b.Elapsed().Seconds(), "calls/s")
}

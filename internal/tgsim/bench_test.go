package tgsim_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
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
	p := newPacked(b)
	b.ResetTimer()
	p.run(b.N)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

// BenchmarkMillionCalls is one operation of 1,000,000 sends in containers of
// 100 with 500 in flight, and what memory they took. Server and client are one
// process: with -cpu 1 they share one core, and calls/s is less than what
// the server alone could do. Heap is measured after a collection, RSS is the
// kernel's.
//
//	go test ./internal/tgsim -run '^$' -bench MillionCalls -benchtime 1x -cpu 1
func BenchmarkMillionCalls(b *testing.B) {
	for range b.N {
		p := newPacked(b)
		b.ResetTimer()
		for _, upTo := range []int{100_000, 500_000, 1_000_000} {
			p.run(upTo - p.answered)
			b.StopTimer()
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			b.ReportMetric(float64(m.HeapAlloc>>20), fmt.Sprintf("heap-MiB-at-%dk", upTo/1000))
			b.ReportMetric(float64(kernelKiB(b, "VmRSS")>>10), fmt.Sprintf("rss-MiB-at-%dk", upTo/1000))
			b.StartTimer()
		}
		b.ReportMetric(1_000_000/b.Elapsed().Seconds(), "calls/s")
		b.ReportMetric(float64(kernelKiB(b, "VmHWM")>>10), "peak-rss-MiB")
		st := p.srv.Stats()
		if st.Violations != 0 || st.Calls < 1_000_000 {
			b.Errorf("%d calls, violations %+v", st.Calls, st.Violation)
		}
	}
}

// kernelKiB reads one line of /proc/self/status; 0 where there is none.
func kernelKiB(b *testing.B, name string) (kib int) {
	b.Helper()
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			if _, err := fmt.Sscan(rest, &kib); err != nil {
				b.Fatal(err)
			}
		}
	}
	return kib
}

// packed is a client that sends in containers.
type packed struct {
	b              *testing.B
	srv            *tgsim.Server
	r              *rawClient
	to             tg.InputPeerClass
	sent, answered int
	acks           []int64
}

func newPacked(b *testing.B) *packed {
	srv := setup(b, tgsim.Config{})
	ann, sess := user(b, srv, "ann")
	bob, _ := user(b, srv, "bob")
	return &packed{
		b: b, srv: srv, r: rawConnect(b, srv, sess),
		to: &tg.InputPeerUser{UserID: bob.ID, AccessHash: srv.AccessHash(ann.ID, bob.ID)},
	}
}

// run sends n messages and waits for their answers.
func (p *packed) run(n int) {
	const size, inFlight = 100, 500
	end := p.answered + n
	for p.answered < end {
		for p.sent < end && p.sent-p.answered <= inFlight-size {
			var members []proto.Message
			for range min(size, end-p.sent) {
				p.sent++
				members = append(members, p.r.member(&tg.MessagesSendMessageRequest{Peer: p.to, Message: "hello there", RandomID: int64(p.sent)}))
			}
			p.r.container(members...)
		}
		m, err := p.r.next()
		if err != nil {
			p.b.Fatal(err)
		}
		if id, _ := (&bin.Buffer{Buf: m.Body}).PeekID(); id != proto.ResultTypeID {
			continue
		}
		p.answered++
		if p.acks = append(p.acks, m.ID); len(p.acks) == size {
			p.r.frame(p.r.newID(), p.r.even(), encode(p.b, &mt.MsgsAck{MsgIDs: p.acks}))
			p.acks = p.acks[:0]
		}
	}
}

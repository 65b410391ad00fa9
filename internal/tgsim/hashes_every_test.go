package tgsim

import (
	"reflect"
	"testing"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// TestHashesOfEveryFunction fills the requests of the layer at random and wants
// each access hash in them to be found, and each request described.
func TestHashesOfEveryFunction(t *testing.T) {
	t.Parallel()
	s := &Server{world: newWorld()}
	s.world.users[1] = &account{}
	l := layerTypes()
	with, described := 0, 0
	for _, id := range functions() {
		for seed := range uint64(8) {
			req := l.random(randomSource(seed, []byte(methodName(id))), reflect.TypeOf(newRequest(id)).Elem())
			var body bin.Buffer
			if err := req.Encode(&body); err != nil {
				t.Fatalf("%s: %v", methodName(id), err)
			}
			c := &call{unwrapped: unwrapped{method: id, body: body.Buf}}
			want := 0
			s.world.scanHashes(c.body, func(peer, int64) { want++ })
			s.stats.wrongHashes.Store(0)
			if s.judgeHashes(c, 1) {
				t.Errorf("%s: a random hash is another account's", methodName(id))
			}
			if n := int(s.stats.wrongHashes.Load()); n != want {
				t.Errorf("%s: %d hashes of %d were judged in %v", methodName(id), n, want, req)
			}
			var p Params
			if describe(c, &p); p.PeerKind != "" {
				described++
			}
			if want > 0 {
				with++
			}
		}
	}
	t.Logf("%d requests with hashes, %d with a peer in the record", with, described)
	if with < 500 || described < 500 {
		t.Errorf("%d requests with hashes, %d described", with, described)
	}
}

// BenchmarkRightHash is what it costs to see that the hash of a usual call is
// right: all that judging hashes adds to it.
func BenchmarkRightHash(b *testing.B) {
	s := &Server{world: newWorld()}
	var body bin.Buffer
	req := &tg.MessagesSendMessageRequest{
		Peer:    &tg.InputPeerUser{UserID: 2, AccessHash: s.world.hash(1, peer{kindUser, 2})},
		Message: "hello there", RandomID: 1,
	}
	if err := req.Encode(&body); err != nil {
		b.Fatal(err)
	}
	c := &call{unwrapped: unwrapped{method: tg.MessagesSendMessageRequestTypeID, body: body.Buf}}
	b.ReportAllocs()
	for b.Loop() {
		if s.judgeHashes(c, 1) {
			b.Fatal("foreign")
		}
	}
}

package tgsim_test

import (
	"testing"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/mt"
	"github.com/gotd/td/proto"
	"github.com/gotd/td/tg"
)

// containerRules are those of core.telegram.org/mtproto/service_messages#containers.
func containerRules() []rule {
	const invalid = badMessage + " 64"
	// two is a container that is legal in every respect.
	two := func(t *testing.T, r *rawClient) {
		a, b := r.member(getState), r.member(send(r.session, "x"))
		r.container(a, b)
		open := map[int64]bool{a.ID: true, b.ID: true}
		for len(open) > 0 {
			var res proto.Result
			r.take(&res)
			if !open[res.RequestMessageID] {
				t.Fatalf("answer to %d", res.RequestMessageID)
			}
			delete(open, res.RequestMessageID)
		}
	}
	// packed is a call in gzip in a container, and one alone.
	packed := func(t *testing.T, r *rawClient) {
		m := r.member(proto.GZIP{Data: encode(t, getState)})
		r.container(m)
		r.result(m.ID, &tg.UpdatesState{})
		r.result(r.call(proto.GZIP{Data: encode(t, getState)}), &tg.UpdatesState{})
	}
	pings := func(t *testing.T, r *rawClient, n int) int64 {
		body := encode(t, &mt.PingRequest{PingID: 1})
		var ms []proto.Message
		for range n {
			ms = append(ms, proto.Message{ID: r.newID(), SeqNo: int(r.even()), Bytes: len(body), Body: body})
		}
		return r.container(ms...)
	}
	raw := func(r *rawClient, words ...int) int64 {
		var b bin.Buffer
		b.PutID(proto.MessageContainerTypeID)
		for _, w := range words {
			b.PutInt(w)
		}
		id := r.newID()
		r.frame(id, r.even(), b.Buf)
		return id
	}
	nest := func(t *testing.T, r *rawClient) []byte {
		return encode(t, &proto.MessageContainer{Messages: []proto.Message{r.member(getState)}})
	}
	return []rule{
		{"container in a container", pageService, invalid, "a container inside", func(t *testing.T, r *rawClient) int64 {
			b := nest(t, r)
			return r.container(proto.Message{ID: r.newID(), SeqNo: int(r.even()), Bytes: len(b), Body: b})
		}, two},
		{"container in gzip", pageService, invalid, "packed with gzip", func(t *testing.T, r *rawClient) int64 {
			b := nest(t, r)
			id := r.newID()
			r.frame(id, r.even(), encode(t, proto.GZIP{Data: b}))
			return id
		}, packed},
		{"container in gzip in a container", pageService, invalid, "packed with gzip", func(t *testing.T, r *rawClient) int64 {
			b := encode(t, proto.GZIP{Data: nest(t, r)})
			m := proto.Message{ID: r.newID(), SeqNo: int(r.even()), Bytes: len(b), Body: b}
			r.container(m)
			return m.ID
		}, packed},
		{"empty container", pageService, invalid, "no message inside", func(_ *testing.T, r *rawClient) int64 {
			return r.container()
		}, two},
		{"container of -1 messages", pageService, invalid, "no message inside", func(_ *testing.T, r *rawClient) int64 {
			return raw(r, -1)
		}, two},
		{"container of 1021 messages", pageService, invalid, "more than 1020", func(t *testing.T, r *rawClient) int64 {
			return pings(t, r, 1021)
		}, func(t *testing.T, r *rawClient) {
			pings(t, r, 1020)
			for range 1020 {
				r.take(&mt.Pong{})
			}
		}},
		{"container without a count", pageService, invalid, "do not add up", func(_ *testing.T, r *rawClient) int64 {
			return raw(r)
		}, two},
		{"container cut in a header", pageService, invalid, "do not add up", func(_ *testing.T, r *rawClient) int64 {
			return raw(r, 1, 4, 0)
		}, two},
		{"member that ends beyond its container", pageService, invalid, "do not add up", func(_ *testing.T, r *rawClient) int64 {
			m := r.member(getState)
			m.Bytes += 4
			return r.container(m)
		}, two},
		{"member of half a word", pageService, invalid, "do not add up", func(_ *testing.T, r *rawClient) int64 {
			m := r.member(getState)
			m.Bytes, m.Body = 6, append(m.Body, 0, 0, 0, 0)
			return r.container(m)
		}, two},
		{"bytes after the members", pageService, invalid, "do not add up", func(t *testing.T, r *rawClient) int64 {
			b := nest(t, r)
			id := r.newID()
			r.frame(id, r.even(), append(b, 0, 0, 0, 0))
			return id
		}, two},
		{"member newer than its container", pageService, invalid, "not greater", func(t *testing.T, r *rawClient) int64 {
			id := r.newID()
			m := r.member(getState)
			r.frame(id, r.even(), encode(t, &proto.MessageContainer{Messages: []proto.Message{m}}))
			return id
		}, two},
		{"the same member twice", pageService, invalid, "twice", func(_ *testing.T, r *rawClient) int64 {
			m := r.member(getState)
			return r.container(m, m)
		}, two},
	}
}

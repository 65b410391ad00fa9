package tgsim

import (
	"encoding/binary"
	"hash/maphash"
	"reflect"

	"github.com/gotd/td/tg"
)

// hash is the access hash of p for one account. It is the same as long as the
// world lives, and never 0.
func (w *world) hash(viewer int64, p peer) int64 {
	var b [17]byte
	binary.LittleEndian.PutUint64(b[:], uint64(viewer))
	binary.LittleEndian.PutUint64(b[8:], uint64(p.id))
	b[16] = byte(p.kind)
	h := int64(maphash.Bytes(w.seed, b[:]))
	if h == 0 {
		h = 1 // 0 means "none"
	}
	return h
}

// minHash is the access hash of a min peer. It is good for the peer's photo
// alone, see core.telegram.org/api/min.
func (w *world) minHash(viewer int64, p peer) int64 {
	return w.hash(viewer, peer{p.kind | 0x40, p.id})
}

// verdict is what an access hash is, besides being accepted or not.
type verdict uint8

const (
	hashRight   verdict = iota
	hashForeign         // right for another account of the world
	hashWrong           // right for nobody
)

// verdictLocked judges a hash that viewer presents for p; orMin tells that the
// hash of a min peer does as well. A hash of 0 from a bot, and from a user for
// itself, stands for none; see core.telegram.org/api/peers.
func (w *world) verdictLocked(viewer int64, p peer, hash int64, orMin bool) verdict {
	right := func(viewer int64) bool {
		return hash == w.hash(viewer, p) || orMin && hash == w.minHash(viewer, p)
	}
	if right(viewer) {
		return hashRight
	}
	if hash == 0 {
		if a := w.users[viewer]; a != nil && a.Bot || p == (peer{kindUser, viewer}) {
			return hashRight
		}
		return hashWrong
	}
	for id := range w.users {
		if right(id) {
			return hashForeign
		}
	}
	return hashWrong
}

// hashedKind tells of which kind the peer is that a constructor names with an
// access hash: the id follows, then the hash. There are no others in the layer.
func hashedKind(constructor uint32) kind {
	switch constructor {
	case tg.InputPeerUserTypeID, tg.InputUserTypeID:
		return kindUser
	case tg.InputPeerChannelTypeID, tg.InputChannelTypeID:
		return kindChannel
	}
	return 0
}

// judgeHashes counts the access hashes of a call that are not right for user,
// and tells whether one of them is right for another account.
//
// What a right hash costs is a look at each word of the request, as every value
// of TL begins at one. Only when something there looks like a peer with a hash
// that is not right, the request is decoded to see whether it is one, or bytes
// of a text or file.
func (s *Server) judgeHashes(c *call, user int64) (foreign bool) {
	w := s.world
	found := [3]int{}
	count := func(p peer, hash int64, orMin bool) {
		found[w.verdictLocked(user, p, hash, orMin)]++
	}
	suspect := false
	w.scanHashes(c.body, func(p peer, hash int64) { suspect = suspect || hash != w.hash(user, p) })
	if !suspect {
		return false
	}
	w.mu.RLock()
	defer w.mu.RUnlock()
	if req := newRequest(c.method); req != nil && decode(c, req) == nil {
		walkHashes(reflect.ValueOf(req), count)
	} else { // of another layer, perhaps
		w.scanHashes(c.body, func(p peer, hash int64) { count(p, hash, false) })
	}
	s.stats.foreignHashes.Add(int64(found[hashForeign]))
	s.stats.wrongHashes.Add(int64(found[hashWrong]))
	return found[hashForeign] > 0
}

// scanHashes finds what looks like peers with access hashes.
func (w *world) scanHashes(body []byte, f func(p peer, hash int64)) {
	for ; len(body) >= 20; body = body[4:] {
		if k := hashedKind(binary.LittleEndian.Uint32(body)); k != 0 {
			f(peer{k, int64(binary.LittleEndian.Uint64(body[4:]))}, int64(binary.LittleEndian.Uint64(body[12:])))
		}
	}
}

// walkHashes finds the peers with access hashes in a decoded request. orMin
// tells that the hash of a min peer would do as well.
func walkHashes(v reflect.Value, f func(p peer, hash int64, orMin bool)) {
	switch v.Kind() {
	case reflect.Interface:
		if !v.IsNil() {
			walkHashes(v.Elem(), f)
		}
	case reflect.Pointer:
		switch x := v.Interface().(type) {
		case *tg.InputPeerUser:
			f(peer{kindUser, x.UserID}, x.AccessHash, false)
		case *tg.InputUser:
			f(peer{kindUser, x.UserID}, x.AccessHash, false)
		case *tg.InputPeerChannel:
			f(peer{kindChannel, x.ChannelID}, x.AccessHash, false)
		case *tg.InputChannel:
			f(peer{kindChannel, x.ChannelID}, x.AccessHash, false)
		case *tg.InputPeerPhotoFileLocation:
			walkHashes(reflect.ValueOf(x.Peer), func(p peer, hash int64, _ bool) { f(p, hash, true) })
		default:
			walkHashes(v.Elem(), f)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			walkHashes(v.Field(i), f)
		}
	case reflect.Slice:
		switch v.Type().Elem().Kind() {
		case reflect.Interface, reflect.Struct, reflect.Slice:
			for i := range v.Len() {
				walkHashes(v.Index(i), f)
			}
		}
	}
}

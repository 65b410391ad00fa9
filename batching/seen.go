package batching

// seenSize is how many messages of the server are remembered.
const seenSize = 1024

// seen is the latest messages of the server: one that comes again, or that is
// older than those remembered, is not taken. Source:
// core.telegram.org/mtproto/security_guidelines, Checking msg_id.
type seen struct {
	ids   map[int64]struct{}
	ring  []int64
	next  int
	floor int64 // greatest id that was forgotten
}

func newSeen() seen { return seen{ids: map[int64]struct{}{}} }

// add reports whether the message is new.
func (s *seen) add(id int64) bool {
	if s.has(id) {
		return false
	}
	s.ids[id] = struct{}{}
	if len(s.ring) < seenSize {
		s.ring = append(s.ring, id)
		return true
	}
	old := s.ring[s.next]
	delete(s.ids, old)
	s.floor = max(s.floor, old)
	s.ring[s.next] = id
	s.next = (s.next + 1) % seenSize
	return true
}

// has reports whether the message came before, as far as that is known.
func (s *seen) has(id int64) bool {
	_, ok := s.ids[id]
	return ok || id <= s.floor
}

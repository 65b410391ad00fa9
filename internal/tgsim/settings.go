package tgsim

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// Settings is what can be changed while the server runs.
type Settings struct {
	// RTT is added to every answer.
	RTT time.Duration
	// ClockSkew is how far the server's clock is ahead of the real one: its
	// msg_ids, the window it accepts msg_ids in, salts and the key exchange
	// follow it; dates in answers to API calls do not.
	ClockSkew time.Duration
	// RotateSaltEvery gives a key a new salt after so many of its frames were
	// accepted; 0 = by the clock alone.
	RotateSaltEvery int
	// SaltOverlap is how long a rotation leaves the old salt valid.
	SaltOverlap time.Duration
	// GzipFrom is the size in bytes from which answers are packed with gzip,
	// if that makes them smaller; negative = never.
	GzipFrom int
	// GzipErrors packs every rpc_error, which makes it larger and is legal.
	GzipErrors bool
	// DetailedInfo announces what would be sent again with msg_detailed_info
	// or msg_new_detailed_info; the client has to ask with msg_resend_req. See
	// core.telegram.org/mtproto/service_messages_about_messages#extended-voluntary-communication-of-status-of-one-message.
	DetailedInfo bool
}

// live holds the Settings; the hot path reads them without a lock.
type live struct {
	settings atomic.Pointer[Settings]

	mu     sync.Mutex                          // serializes writers
	banned atomic.Pointer[map[int64]*rpcError] // by user id; a copy per change
}

// Settings returns what holds now.
func (s *Server) Settings() Settings { return *s.live.settings.Load() }

// Change lets f change the settings.
func (s *Server) Change(f func(*Settings)) Settings {
	s.live.mu.Lock()
	defer s.live.mu.Unlock()
	next := s.Settings()
	f(&next)
	s.live.settings.Store(&next)
	return next
}

// now is the server's clock.
func (s *Server) now() time.Time {
	now := time.Now()
	if d := s.live.settings.Load().ClockSkew; d != 0 {
		return now.Add(d)
	}
	return now
}

func (s *Server) rtt() time.Duration { return s.live.settings.Load().RTT }

// Ban answers every call of the user with 401 and this error, as
// USER_DEACTIVATED_BAN; "" lifts the ban. Its keys stay known. See
// core.telegram.org/api/errors#401-unauthorized.
func (s *Server) Ban(userID int64, text string) {
	s.live.mu.Lock()
	defer s.live.mu.Unlock()
	next := map[int64]*rpcError{}
	if old := s.live.banned.Load(); old != nil {
		next = maps.Clone(*old)
	}
	delete(next, userID)
	if text != "" {
		next[userID] = &rpcError{401, text}
	}
	s.live.banned.Store(&next)
}

// banned is why a user may not call at all, nil if it may.
func (s *Server) banned(user int64) *rpcError {
	if all := s.live.banned.Load(); all != nil {
		return (*all)[user]
	}
	return nil
}

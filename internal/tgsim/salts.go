package tgsim

import (
	"time"

	"github.com/gotd/td/mt"
)

// Salts follow core.telegram.org/mtproto/description#server-salt: each lives
// for an hour and overlaps its successor by half of it.
const (
	saltStep = 30 * time.Minute
	saltLife = 2 * saltStep
	maxSalts = 64
)

type salt struct {
	value        int64
	since, until time.Time
}

// saltChain is the salts of one key, oldest first. It is guarded by the key.
type saltChain []salt

func newSaltChain(first int64, now time.Time) saltChain {
	return saltChain{{value: first, since: now, until: now.Add(saltLife)}}
}

// grow makes the chain reach n salts beyond the one valid now, and drops what
// is over.
func (c *saltChain) grow(now time.Time, n int) {
	s := *c
	for len(s) > 1 && !s[0].until.After(now) {
		s = s[1:]
	}
	last := s[len(s)-1]
	if last.until.Before(now) { // the key slept for longer than the chain
		last = salt{value: randomLong(), since: now, until: now.Add(saltLife)}
		s = saltChain{last}
	}
	end := now.Add(time.Duration(n) * saltStep)
	for last.since.Before(end) {
		since := last.since.Add(saltStep)
		last = salt{value: randomLong(), since: since, until: since.Add(saltLife)}
		s = append(s, last)
	}
	*c = s
}

// current is the newest salt that is valid now.
func (c *saltChain) current(now time.Time) int64 {
	c.grow(now, 1)
	v := (*c)[0].value
	for _, s := range *c {
		if !s.since.After(now) && s.until.After(now) {
			v = s.value
		}
	}
	return v
}

// valid reports whether a client may use v now.
func (c *saltChain) valid(v int64, now time.Time) bool {
	for i, s := range *c {
		// The oldest has no beginning: the server's clock may be set back.
		if s.value == v && (i == 0 || !s.since.After(now)) && s.until.After(now) {
			return true
		}
	}
	return false
}

// future answers get_future_salts with as many as were asked for, 1 to 64, the
// one in use first. Each becomes valid when it says. See
// core.telegram.org/mtproto/service_messages#request-for-several-future-salts.
func (c *saltChain) future(now time.Time, n int) []mt.FutureSalt {
	n = min(max(n, 1), maxSalts)
	c.grow(now, n)
	var out []mt.FutureSalt
	for _, s := range *c {
		if len(out) < n && s.until.After(now) {
			out = append(out, mt.FutureSalt{
				ValidSince: int(s.since.Unix()),
				ValidUntil: int(s.until.Unix()),
				Salt:       s.value,
			})
		}
	}
	return out
}

// rotate makes the next announced salt the one in use: it and those behind it
// move to the front in time. What was valid stays so for overlap at most.
func (c *saltChain) rotate(now time.Time, overlap time.Duration) {
	c.grow(now, 1) // at least one begins later
	end := now.Add(overlap)
	var old, next saltChain
	var early time.Duration
	for _, s := range *c {
		if !s.since.After(now) {
			if s.until.After(end) {
				s.until = end
			}
			old = append(old, s)
			continue
		}
		if len(next) == 0 {
			early = s.since.Sub(now)
		}
		next = append(next, salt{s.value, s.since.Add(-early), s.until.Add(-early)})
	}
	if overlap <= 0 {
		old = nil
	}
	if len(old) > maxSalts {
		old = old[len(old)-maxSalts:]
	}
	*c = append(old, next...)
}

// rotateDueLocked counts an accepted frame and rotates the salt when it is
// time; it requires k.mu. The frame itself was judged with the salt before.
func (k *authKey) rotateDueLocked(now time.Time, set *Settings) {
	if set.RotateSaltEvery <= 0 {
		return
	}
	if k.frames++; k.frames >= set.RotateSaltEvery {
		k.frames = 0
		k.salts.rotate(now, set.SaltOverlap)
	}
}

// RotateSalts gives every key a new salt. The one in use stays valid for
// Settings.SaltOverlap; a message with a stale salt is answered with
// bad_server_salt naming the outer message.
func (s *Server) RotateSalts() { s.RotateSaltsOf(0) }

// RotateSaltsOf is RotateSalts for the keys of one user, 0 = all keys.
func (s *Server) RotateSaltsOf(userID int64) {
	now, overlap := s.now(), s.Settings().SaltOverlap
	for _, k := range s.keysOf(userID) {
		k.mu.Lock()
		k.salts.rotate(now, overlap)
		k.mu.Unlock()
	}
}

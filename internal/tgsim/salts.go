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
	for _, s := range *c {
		if s.value == v && !s.since.After(now) && s.until.After(now) {
			return true
		}
	}
	return false
}

// future answers get_future_salts. Clients that get a single salt ask again
// and again, so there are always several.
func (c *saltChain) future(now time.Time, n int) []mt.FutureSalt {
	n = min(max(n, 4), maxSalts)
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

// rotate replaces every salt; the one in use stays valid for overlap.
func (c *saltChain) rotate(now time.Time, overlap time.Duration) {
	old := salt{value: c.current(now), since: now.Add(-saltLife), until: now.Add(overlap)}
	*c = newSaltChain(randomLong(), now)
	if overlap > 0 {
		*c = append(saltChain{old}, *c...)
	}
}

// RotateSalts gives every key a new salt. The one in use stays valid for
// Config.SaltOverlap; a message with a stale salt is answered with
// bad_server_salt naming the outer message.
func (s *Server) RotateSalts() {
	now := time.Now()
	for _, k := range s.keysOf(0) {
		k.mu.Lock()
		k.salts.rotate(now, s.cfg.SaltOverlap)
		k.mu.Unlock()
	}
}

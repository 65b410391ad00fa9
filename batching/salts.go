package batching

import (
	"slices"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/mt"
)

const (
	saltsAsked = 4           // each is good for an hour, half of it shared with the next
	saltsPause = time.Minute // between questions
	saltsEarly = time.Minute // before the last known salt ends
)

// salts is the server's salts as far as they are known. Conn.mu guards it.
// Source: core.telegram.org/mtproto/description, Server Salt.
type salts struct {
	current int64
	coming  []mt.FutureSalt // oldest first
	askedAt time.Time
}

// at returns the salt to use now: the one in use until it ends.
func (s *salts) at(now time.Time) int64 {
	for len(s.coming) > 0 {
		first := s.coming[0]
		if unix(first.ValidUntil).After(now.Add(saltsEarly)) || len(s.coming) == 1 {
			if !unix(first.ValidSince).After(now) {
				s.current = first.Salt
			}
			break
		}
		s.coming = s.coming[1:]
	}
	return s.current
}

// ask returns a question for salts if those that are known end soon. It travels
// with other messages.
func (s *salts) ask(now time.Time, others int) *message {
	if others == 0 || now.Sub(s.askedAt).Abs() < saltsPause {
		return nil
	}
	if n := len(s.coming); n > 0 && unix(s.coming[n-1].ValidUntil).After(now.Add(2*saltsEarly)) {
		return nil
	}
	s.askedAt = now
	var b bin.Buffer
	_ = (&mt.GetFutureSaltsRequest{Num: saltsAsked}).Encode(&b) // one number
	return &message{body: b.Buf}
}

// learn takes the server's answer.
func (s *salts) learn(fs mt.FutureSalts) {
	s.coming = slices.Clone(fs.Salts)
	slices.SortFunc(s.coming, func(a, b mt.FutureSalt) int { return a.ValidSince - b.ValidSince })
}

// use takes a salt that the server says is the one now. What it announced before
// did not come true.
func (s *salts) use(salt int64) {
	if salt != s.current {
		s.current, s.coming = salt, nil
	}
}

func unix(sec int) time.Time { return time.Unix(int64(sec), 0) }

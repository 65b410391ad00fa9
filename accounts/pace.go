package accounts

import (
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Pace is how fast an account makes calls at most. What is not set in it is as the
// next one says: the account's own goes before its worker's, and that before
// DefaultPace. Parse it with ParsePace; String reads back.
type Pace struct {
	All      Limit // calls of any kind
	Messages Limit // messages that are sent, forwarded or edited
	Chat     Limit // of these, those of one private chat
	Group    Limit // of these, those of one group or channel
	Resolves Limit // questions about usernames, phones and invites
}

// paced are the parts of a Pace by their names, in the order of String.
var paced = []struct {
	name string
	of   func(*Pace) *Limit
}{
	{"all", func(p *Pace) *Limit { return &p.All }},
	{"messages", func(p *Pace) *Limit { return &p.Messages }},
	{"chat", func(p *Pace) *Limit { return &p.Chat }},
	{"group", func(p *Pace) *Limit { return &p.Group }},
	{"resolves", func(p *Pace) *Limit { return &p.Resolves }},
}

// DefaultPace is what Telegram asks of bots. Of users it publishes no limits.
// Source: core.telegram.org/bots/faq, "My bot is hitting limits".
func DefaultPace(k Kind) Pace {
	if k != Bot {
		return Pace{}
	}
	return Pace{Messages: Limit{n: 30, unit: 's'}, Chat: Limit{n: 1, unit: 's'}, Group: Limit{n: 20, unit: 'm'}}
}

// Or is p, with the parts of q where p has none.
func (p Pace) Or(q Pace) Pace {
	for _, part := range paced {
		*part.of(&p) = cmp.Or(*part.of(&p), *part.of(&q))
	}
	return p
}

// Equal tells whether both are the same. Package go-cmp wants it.
func (p Pace) Equal(q Pace) bool { return p == q }

// ParsePace reads "messages=30/s chat=1/s:3 group=off": parts of a Pace with their
// limits, separated by spaces or commas. The empty text is the zero Pace.
func ParsePace(s string) (Pace, error) { return Pace{}.With(s) }

// With is p with the parts that s names, as ParsePace reads them, in the place of
// those that it has. A part becomes "default": not set; so do all by this word alone.
func (p Pace) With(s string) (Pace, error) {
	fields := strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' })
	if len(fields) == 1 && fields[0] == byDefault {
		return Pace{}, nil
	}
	given := map[string]bool{}
	for _, field := range fields {
		name, text, ok := strings.Cut(field, "=")
		if !ok {
			return Pace{}, fmt.Errorf("%.40q is no pace; give NAME=LIMIT, as messages=30/s", field)
		}
		part := limitOf(&p, name)
		if part == nil {
			return Pace{}, fmt.Errorf("%.40q is nothing that has a pace; use all, messages, chat, group or resolves", name)
		}
		if given[name] {
			return Pace{}, fmt.Errorf("%s is given twice", name)
		}
		given[name] = true
		l, err := parseLimit(text)
		if err != nil {
			return Pace{}, fmt.Errorf("%s=%.40s: %w", name, text, err)
		}
		*part = l
	}
	return p, nil
}

// byDefault is the text of what is not set.
const byDefault = "default"

func limitOf(p *Pace, name string) *Limit {
	for _, part := range paced {
		if part.name == name {
			return part.of(p)
		}
	}
	return nil
}

// String lists what is set, "" if nothing is.
func (p Pace) String() string {
	var parts []string
	for _, part := range paced {
		if l := *part.of(&p); l != (Limit{}) {
			parts = append(parts, part.name+"="+l.String())
		}
	}
	return strings.Join(parts, " ")
}

var (
	_ encoding.TextMarshaler   = Pace{}
	_ encoding.TextUnmarshaler = (*Pace)(nil)
)

// MarshalText implements encoding.TextMarshaler.
func (p Pace) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Pace) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePace(string(text))
	return err
}

// Limit is a number of events in a unit of time, or off: no limit. The zero Limit is
// neither, but not set.
type Limit struct {
	n     int  // 0: off, or not set
	unit  byte // s, m, h or d
	burst int  // 0: the default
	off   bool
}

// units of time by their letters.
var units = map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}

// maxLimit bounds both numbers of a limit: beyond it is no pace.
const maxLimit = 100_000

var (
	errNoLimit = errors.New(`it is no limit; give a number for each second, minute, hour or day, as 30/s or 20/m, with a burst as 1/s:5 if you like, or "off" for no limit`)
	errZero    = errors.New(`nothing would ever leave; pause the account instead, or give "off" for no limit`)
)

// parseLimit reads "30/s", "20/m:5", "off" and "default".
func parseLimit(s string) (Limit, error) {
	switch s {
	case "off":
		return Limit{off: true}, nil
	case byDefault:
		return Limit{}, nil
	}
	rate, burst, hasBurst := strings.Cut(s, ":")
	count, unit, _ := strings.Cut(rate, "/")
	if len(unit) != 1 || units[unit[0]] == 0 {
		return Limit{}, errNoLimit
	}
	l := Limit{unit: unit[0]}
	err := error(nil)
	if l.n, err = parseCount(count); err != nil {
		return Limit{}, err
	}
	if hasBurst {
		if l.burst, err = parseCount(burst); err != nil {
			return Limit{}, err
		}
		if l.burst == (Limit{n: l.n, unit: l.unit}).Burst() {
			l.burst = 0
		}
	}
	return l, nil
}

func parseCount(s string) (int, error) {
	n, err := strconv.Atoi(s)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange), n < 0:
		return 0, errNoLimit
	case n > maxLimit:
		return 0, fmt.Errorf("%d is the most; beyond that give %q for no limit", maxLimit, "off")
	case n == 0:
		return 0, errZero
	}
	return n, nil
}

// String is what parseLimit reads.
func (l Limit) String() string {
	switch {
	case l.off:
		return "off"
	case l.n == 0:
		return byDefault
	case l.burst == 0:
		return fmt.Sprintf("%d/%c", l.n, l.unit)
	}
	return fmt.Sprintf("%d/%c:%d", l.n, l.unit, l.burst)
}

// Limited tells whether the limit is one.
func (l Limit) Limited() bool { return l.n > 0 }

// PerSecond is the rate of a limit that is one.
func (l Limit) PerSecond() float64 { return float64(l.n) / units[l.unit].Seconds() }

// Burst is how many events may be at once after a pause: if nothing else was said as
// many as in a second, and 3 at least, as schedules have whole seconds.
func (l Limit) Burst() int {
	if l.burst > 0 {
		return l.burst
	}
	return max(3, int(l.PerSecond()))
}

// PacedError: the account would be faster than its pace. The call did not leave.
type PacedError struct {
	Account ID
	What    string // all, messages, chat, group or resolves
	Limit   Limit
	Wait    time.Duration
}

func (e *PacedError) Error() string {
	return fmt.Sprintf("account %s has to wait %v to keep its pace, %s=%s; nothing was sent", e.Account, e.Wait, e.What, e.Limit)
}

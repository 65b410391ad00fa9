package rpcerror

import (
	"strings"
	"time"
)

// MaxWait is the longest pause that is believed.
const MaxWait = 14 * 24 * time.Hour

// Verdict is what is known of an error.
type Verdict struct {
	Class Class
	Row   string        // the pattern that its name matches; "" if its code decided
	Wait  time.Duration // the pause that it demands: 1 second to MaxWait; 0 if it demands none
	DC    int           // the data center that it names, if its class is Elsewhere
	About Peers         // whom it means, of those that the call names
	Says  string        // to a producer, the part of a sentence; "" if nothing is known
	// Began tells that Telegram failed while it ran the call: part of it may be done.
	Began bool
}

// Act is what is done about the error.
func (v Verdict) Act() Act { return v.Class.Act() }

// Classify looks at an error as it came: 420, FLOOD_WAIT_3.
func Classify(code int, name string) Verdict {
	pattern, n := shape(name)
	r, ok := rows[pattern]
	for i := 0; !ok && i < len(prefixes); i++ {
		if strings.HasPrefix(name, strings.TrimSuffix(prefixes[i].pattern, "*")) {
			r, ok = prefixes[i], true
		}
	}
	if !ok {
		r = byCode(code, pattern)
	}
	v := Verdict{Class: r.class, Row: r.pattern, About: r.about, Says: r.says}
	switch {
	case v.Act() == Wait:
		v.Wait = min(max(time.Duration(n)*time.Second, time.Second), MaxWait)
	case v.Class == Elsewhere:
		v.DC = n
	}
	v.Began = v.Class == Trouble || internal(code) && v.Class != NotRun && v.Act() != Wait
	return v
}

// byCode judges an error whose name is not known. A 401 says nothing of the account
// then: if its key is refused, the next call is told so by a name that is known.
func byCode(code int, pattern string) row {
	switch {
	case internal(code):
		return row{class: Trouble}
	case code == 420 && strings.HasSuffix(pattern, "_WAIT_%d"):
		return row{class: Flood}
	}
	return row{class: Fail}
}

// internal tells the codes of Telegram's own trouble. Source:
// core.telegram.org/api/errors, 500 INTERNAL and "Other error codes".
func internal(code int) bool { return code >= 500 || code < 0 }

// shape is a name with %d in the place of its numbers, and the last of these. It is
// large enough for MaxWait and never more than that many seconds.
func shape(name string) (pattern string, n int) {
	parts := strings.Split(name, "_")
	for i, p := range parts {
		if p == "" || strings.Trim(p, "0123456789") != "" {
			continue
		}
		parts[i], n = "%d", 0
		for _, digit := range p {
			n = min(10*n+int(digit-'0'), int(MaxWait/time.Second))
		}
	}
	return strings.Join(parts, "_"), n
}

// rows are those of the table by pattern, prefixes the others.
var rows, prefixes = func() (rows map[string]row, prefixes []row) {
	rows = make(map[string]row, len(table))
	for _, r := range table {
		if strings.HasSuffix(r.pattern, "*") {
			prefixes = append(prefixes, r)
		} else {
			rows[r.pattern] = r
		}
	}
	return rows, prefixes
}()

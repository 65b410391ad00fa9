package jobs

import (
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
)

// FuzzMessage reads tasks as another program may have left them in Redis.
func FuzzMessage(f *testing.F) {
	f.Add([]byte("\x0a\x04send\x12\x02{}"))
	f.Add([]byte("\x0a\x04send\x30\x03\x7a\x06\x0a\x01k\x12\x01v"))
	f.Add([]byte("\x7a\x02\x0a\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMessage(b)
		if err == nil && len(m.Type)+len(m.Payload) > len(b) {
			t.Errorf("read %q and %q out of %q", m.Type, m.Payload, b)
		}
	})
}

func FuzzParseWake(f *testing.F) {
	f.Add(Wake{Account: "alice"}.String())
	f.Add(Wake{Account: "alice", Due: time.Unix(1795349971, 0)}.String())
	f.Add("alice x")
	f.Fuzz(func(t *testing.T, s string) {
		w, err := ParseWake(s)
		if err != nil {
			return
		}
		if _, err := accounts.ParseID(string(w.Account)); err != nil {
			t.Errorf("%q wakes %q: %v", s, w.Account, err)
		}
		if again, err := ParseWake(w.String()); err != nil || again != w {
			t.Errorf("%q is %+v, but its text %q is %+v (%v)", s, w, w.String(), again, err)
		}
	})
}

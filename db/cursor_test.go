package db

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzParseCursor(f *testing.F) {
	f.Add("")
	f.Add("1795349971000000.0198c2f0-5c5e-7d8e-b2d4-5a0f0e6b7d21")
	f.Add("-1.x")
	f.Add("9223372036854775807.x")
	f.Add("5.\xff")
	f.Add("5.\x00")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCursor(s)
		if err != nil {
			return
		}
		if !utf8.ValidString(c.id) || strings.Contains(c.id, "\x00") {
			t.Errorf("%q is taken, and Postgres refuses its id", s)
		}
		if again, err := ParseCursor(c.String()); err != nil || again != c {
			t.Errorf("%q is %+v, but its text %q is %+v (%v)", s, c, c.String(), again, err)
		}
	})
}

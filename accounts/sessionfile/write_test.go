package sessionfile

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/accounts"
)

// TestWrite reads again what it writes, of each session that there is.
func TestWrite(t *testing.T) {
	t.Parallel()
	for _, v := range vectors(t) {
		found, err := ReadFrom(t.Context(), strings.NewReader(v.Text), Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range Written() {
			var b bytes.Buffer
			if err := Write(&b, f, found[0].Session); err != nil {
				t.Errorf("%s as %s: %v", v.Name, f, err)
				continue
			}
			again, err := ReadFrom(t.Context(), &b, Options{Format: f})
			if err != nil {
				t.Errorf("%s as %s: %v", v.Name, f, err)
				continue
			}
			w := v.Want
			w.Format, w.UserID, w.Bot = f, 0, nil // which neither says
			host, port, err := Address(found[0].Session)
			if err != nil {
				t.Fatal(err)
			}
			if w.Address, w.Port = host, port; strings.Contains(host, "web") && f == Telethon {
				w.Address, w.Port, _ = Address(accounts.Session{DC: w.DC}) // it has no place for names
			}
			if diff := cmp.Diff(w, got(again[0])); diff != "" {
				t.Errorf("%s as %s (-want +got):\n%s", v.Name, f, diff)
			}
		}
	}
}

// TestWriteTelethon is byte for byte what the other library has written.
func TestWriteTelethon(t *testing.T) {
	t.Parallel()
	for _, v := range vectors(t) {
		if v.Want.Format != Telethon {
			continue
		}
		found, err := ReadFrom(t.Context(), strings.NewReader(v.Text), Options{})
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := Write(&b, Telethon, found[0].Session); err != nil || b.String() != v.Text+"\n" {
			t.Errorf("%s: %v, wrote %s\nwant %s", v.Name, err, b.String(), v.Text)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	t.Parallel()
	s := accounts.Session{DC: 2, Key: madeUp(t, "x")}
	for _, tt := range []struct {
		f    Format
		s    accounts.Session
		want string
	}{
		{Pyrogram, s, "pyrogram is not written; use telethon or gotd"},
		{Gotd, accounts.Session{DC: 2}, "the session has no auth key"},
		{Telethon, accounts.Session{DC: 300, Key: s.Key, Addr: "127.0.0.1:1"}, "telethon: it has no place for data center 300"},
		{Telethon, accounts.Session{DC: 77, Key: s.Key}, "telethon: no address of data center 77 is known"},
	} {
		var b bytes.Buffer
		if err := Write(&b, tt.f, tt.s); err == nil || err.Error() != tt.want || b.Len() > 0 {
			t.Errorf("%v: error %v, wrote %q", tt.s.DC, err, b.String())
		}
	}
}

package accounts_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tgswitchboard/switchboard/accounts"
)

func parsePace(t *testing.T, s string) accounts.Pace {
	t.Helper()
	p, err := accounts.ParsePace(s)
	if err != nil {
		t.Fatalf("ParsePace(%q): %v", s, err)
	}
	return p
}

func TestParsePace(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", ""},
		{"messages=30/s", "messages=30/s"},
		{" resolves=100/d,  all=5/s:5 chat=off,group=20/m:10 ", "all=5/s chat=off group=20/m:10 resolves=100/d"},
		{"chat=1/s:3", "chat=1/s"}, // the burst that it has anyway
		{"chat=2/h:1", "chat=2/h:1"},
		{"chat=default messages=100000/d", "messages=100000/d"},
		{"default", ""},
	}
	for _, tt := range tests {
		p := parsePace(t, tt.in)
		if got := p.String(); got != tt.want {
			t.Errorf("ParsePace(%q) = %q, want %q", tt.in, got, tt.want)
		}
		if again := parsePace(t, p.String()); again != p {
			t.Errorf("%q is read back as %q", p, again)
		}
	}
}

func TestParsePaceErrors(t *testing.T) {
	for in, want := range map[string]string{
		"fast":                        "NAME=LIMIT",
		"default chat=off":            "NAME=LIMIT",
		"mesages=1/s":                 "use all, messages, chat, group or resolves",
		"=1/s":                        "use all, messages, chat, group or resolves",
		"chat=1/s chat=off":           "chat is given twice",
		"chat=":                       "it is no limit",
		"chat=fast":                   "it is no limit",
		"chat=1":                      "it is no limit",
		"chat=1/w":                    "it is no limit",
		"chat=1/sec":                  "it is no limit",
		"chat=-1/s":                   "it is no limit",
		"chat=1.5/s":                  "it is no limit",
		"chat=1/s:":                   "it is no limit",
		"chat=1/s:x":                  "it is no limit",
		"chat=0/s":                    "pause the account",
		"chat=1/s:0":                  "pause the account",
		"chat=100001/s":               "100000 is the most",
		"chat=1/s:100001":             "100000 is the most",
		"chat=99999999999999999999/s": "100000 is the most",
	} {
		if p, err := accounts.ParsePace(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParsePace(%q) = %q, %v; want an error with %q", in, p, err, want)
		}
	}
}

func TestPaceOr(t *testing.T) {
	own := parsePace(t, "messages=5/s chat=off")
	got := own.Or(parsePace(t, "chat=9/s resolves=1/m")).Or(accounts.DefaultPace(accounts.Bot))
	if want := "messages=5/s chat=off group=20/m resolves=1/m"; got.String() != want {
		t.Errorf("the pace is %q, want %q", got, want)
	}
	if p := accounts.DefaultPace(accounts.User); p != (accounts.Pace{}) {
		t.Errorf("users have limits: %q", p)
	}
}

func TestPaceWith(t *testing.T) {
	p := parsePace(t, "messages=5/s chat=off")
	for in, want := range map[string]string{
		"chat=default group=1/m": "messages=5/s group=1/m",
		"":                       "messages=5/s chat=off",
		"default":                "",
	} {
		if got, err := p.With(in); err != nil || got.String() != want {
			t.Errorf("With(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestLimit(t *testing.T) {
	for in, want := range map[string]struct {
		perSecond float64
		burst     int
	}{
		"30/s": {30, 30}, "1/s": {1, 3}, "30/m": {.5, 3}, "900/h": {.25, 3}, "86400/d": {1, 3}, "600/m": {10, 10}, "1/s:1": {1, 1},
	} {
		l := parsePace(t, "chat="+in).Chat
		if l.PerSecond() != want.perSecond || l.Burst() != want.burst || !l.Limited() {
			t.Errorf("%s is %v a second, burst %d, limited %v; want %+v", in, l.PerSecond(), l.Burst(), l.Limited(), want)
		}
	}
	for _, in := range []string{"off", "default"} {
		if parsePace(t, "chat="+in).Chat.Limited() {
			t.Errorf("%s is a limit", in)
		}
	}
}

func TestPaceInJSON(t *testing.T) {
	a := accounts.Account{ID: "a", Pace: parsePace(t, "chat=2/s")}
	text, err := json.Marshal(a)
	if err != nil || !strings.Contains(string(text), `"pace":"chat=2/s"`) {
		t.Fatalf("%s, %v", text, err)
	}
	var back accounts.Account
	if err := json.Unmarshal(text, &back); err != nil || back.Pace != a.Pace {
		t.Errorf("read back as %q, %v", back.Pace, err)
	}
	if text, err := json.Marshal(accounts.Account{}); err != nil || strings.Contains(string(text), "pace") {
		t.Errorf("%s, %v: nothing is set", text, err)
	}
}

// Whatever is read is written so that it is read again, and has limits that can be
// kept.
func FuzzParsePace(f *testing.F) {
	for _, s := range []string{"", "default", "messages=30/s chat=1/s:3,group=off", "all=100000/d:1 resolves=default", "chat=1/s chat=1/s", "chat=0/s", "a=b=c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := accounts.ParsePace(s)
		if err != nil {
			if len(err.Error()) > 400 {
				t.Errorf("the error has %d characters", len(err.Error()))
			}
			return
		}
		if again, err := accounts.ParsePace(p.String()); err != nil || again != p {
			t.Errorf("%q is read as %q, and that as %q, %v", s, p, again, err)
		}
		for _, l := range []accounts.Limit{p.All, p.Messages, p.Chat, p.Group, p.Resolves} {
			if l.Limited() && (l.PerSecond() <= 0 || l.Burst() < 1) {
				t.Errorf("%q has limit %s: %v a second, burst %d", s, l, l.PerSecond(), l.Burst())
			}
		}
	})
}

package apikey

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/jobs"
)

func TestSecretRoundTrip(t *testing.T) {
	t.Parallel()
	a, b := NewSecret(), NewSecret()
	if a.Hash() == b.Hash() || a.Reveal() == b.Reveal() {
		t.Error("two secrets are one")
	}
	got, err := ParseSecret(a.Reveal())
	if err != nil || got.Hash() != a.Hash() {
		t.Errorf("ParseSecret: %v", err)
	}
}

func TestSecretNeverPrints(t *testing.T) {
	t.Parallel()
	s := NewSecret()
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", s, "in", struct{ S Secret }{s})
	js, err := json.Marshal(map[string]any{"s": s})
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf("%v %+v %#v %s %q", s, struct{ S, t Secret }{s, s}, s, s, s) + log.String() + string(js)
	if strings.Contains(all, strings.TrimPrefix(s.Reveal(), prefix)) {
		t.Error(all)
	}
}

func TestNoSecret(t *testing.T) {
	t.Parallel()
	good := NewSecret().Reveal()
	for _, text := range []string{"", "sbk_", good[1:], good + "A", good[:len(good)-1], good[:10] + "\n" + good[11:], strings.Replace(good, "sbk_", "SBK_", 1)} {
		if _, err := ParseSecret(text); err == nil {
			t.Errorf("%q is a secret", text)
		}
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "", true}, {"*", "alice", true}, {"alice", "alice", true}, {"alice", "alice2", false}, {"alice", "Alice", false},
		{"support-*", "support-1", true}, {"support-*", "support-", true}, {"support-*", "xsupport-1", false},
		{"*-1", "a-1-1", true}, {"a*b*c", "a.b.b.c", true}, {"a*b*c", "acb", false}, {"", "a", false}, {"**a**", "bab", true},
		{"messages.*", "messages.sendMessage", true}, {"messages.*", "messagesXsend", false},
	} {
		if got := match(tt.pattern, tt.name); got != tt.want {
			t.Errorf("match(%q, %q) = %v", tt.pattern, tt.name, got)
		}
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	good := Key{Name: "shop", Rate: 10, Scope: Scope{Accounts: []string{"support-*"}, Kinds: []jobs.Kind{jobs.KindSend}}}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Key){
		"name":                  func(k *Key) { k.Name = "a b" },
		"has 0 characters":      func(k *Key) { k.Name = "" },
		"rate":                  func(k *Key) { k.Rate = 0 },
		"out of range":          func(k *Key) { k.Rate = MaxRate + 1 },
		"for no account":        func(k *Key) { k.Accounts = nil },
		"of account names":      func(k *Key) { k.Accounts = []string{"a b"} },
		"for no kind":           func(k *Key) { k.Kinds = nil },
		`no kind of job "fly"`:  func(k *Key) { k.Kinds = []jobs.Kind{"fly"} },
		"no method":             func(k *Key) { k.Kinds = []jobs.Kind{jobs.KindInvoke} },
		"methods are for":       func(k *Key) { k.Methods = []string{"*"} },
		"of method names":       func(k *Key) { k.Kinds, k.Methods = []jobs.Kind{jobs.KindInvoke}, []string{"messages.*;"} },
		"has 101 patterns":      func(k *Key) { k.Accounts = strings.Split(strings.Repeat("a,", 100)+"a", ",") },
		"has 129 characters":    func(k *Key) { k.Accounts = []string{strings.Repeat("a", 129)} },
		"NaN is out of range; ": func(k *Key) { k.Rate = math.NaN() },
	} {
		k := good
		change(&k)
		if err := k.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestValid(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, tt := range []struct {
		key  Key
		want bool
	}{
		{Key{}, true},
		{Key{ExpiresAt: now}, false},
		{Key{ExpiresAt: now.Add(1)}, true},
		{Key{RevokedAt: now}, false},
	} {
		if got := tt.key.Valid(now); got != tt.want {
			t.Errorf("%+v: %v", tt.key, got)
		}
	}
}

// FuzzSecret: what is a secret is written in one way.
func FuzzSecret(f *testing.F) {
	f.Add(NewSecret().Reveal())
	f.Add("sbk_x")
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := ParseSecret(text); err == nil && (s.Reveal() != text || len(text) != 47) {
			t.Errorf("%q", text)
		}
	})
}

// FuzzMatch compares with path.Match, for which a slash is special.
func FuzzMatch(f *testing.F) {
	f.Add("a*b", "axb")
	f.Add("**", "")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if strings.ContainsAny(pattern, `/\[?`) || strings.Contains(name, "/") || len(pattern) > 50 || len(name) > 50 {
			return
		}
		if want, err := path.Match(pattern, name); err == nil && match(pattern, name) != want {
			t.Errorf("match(%q, %q) = %v", pattern, name, !want)
		}
	})
}

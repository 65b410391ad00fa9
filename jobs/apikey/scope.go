package apikey

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
)

// Scope is what a key may do. The zero Scope is nothing.
type Scope struct {
	// Accounts are patterns of names; * stands for any text.
	Accounts []string `json:"accounts"`
	// Kinds are the kinds of job that may be enqueued. A batch needs those of its calls
	// too.
	Kinds []jobs.Kind `json:"kinds"`
	// Methods are patterns of names of raw methods, for jobs of kind invoke.
	Methods []string `json:"methods,omitempty"`
	// Webhook is told of the outcomes of jobs that name no webhook of their own; "" is
	// none.
	Webhook string `json:"webhook,omitempty"`
}

// Everything is the scope of who needs no key.
func Everything() Scope {
	return Scope{Accounts: []string{"*"}, Kinds: jobs.Kinds(), Methods: []string{"*"}}
}

// Limits of a scope.
const (
	maxPatterns = 100
	maxPattern  = 128
)

func (s *Scope) validate() error {
	if s.Webhook != "" {
		if err := (&jobs.Webhook{URL: s.Webhook}).Validate(); err != nil {
			return err
		}
	}
	if len(s.Accounts) == 0 {
		return errors.New("the key is for no account; give patterns such as support-*, or * for all")
	}
	if len(s.Kinds) == 0 {
		return fmt.Errorf("the key is for no kind of job; give some of %s", kindNames())
	}
	for _, k := range s.Kinds {
		if !slices.Contains(jobs.Kinds(), k) {
			return fmt.Errorf("there is no kind of job %q; use some of %s", k, kindNames())
		}
	}
	switch raw := slices.Contains(s.Kinds, jobs.KindInvoke); {
	case raw && len(s.Methods) == 0:
		return errors.New("the key is for jobs of kind invoke and no method; give patterns such as messages.*, or * for all")
	case !raw && len(s.Methods) > 0:
		return errors.New("methods are for the kind invoke, which the key is not for; add the kind, or leave the methods out")
	}
	for _, p := range s.Accounts {
		if err := validPattern(p, "account", func(c byte) bool { _, err := accounts.ParseID("a" + string(c)); return err == nil }); err != nil {
			return err
		}
	}
	for _, p := range s.Methods {
		if err := validPattern(p, "method", func(c byte) bool {
			return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_'
		}); err != nil {
			return err
		}
	}
	if n := max(len(s.Accounts), len(s.Methods)); n > maxPatterns {
		return fmt.Errorf("the key has %d patterns; at most %d are allowed", n, maxPatterns)
	}
	return nil
}

func kindNames() string {
	var names []string
	for _, k := range jobs.Kinds() {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

func validPattern(p, what string, allowed func(byte) bool) error {
	if p == "" || len(p) > maxPattern {
		return fmt.Errorf("the pattern %.40q of %s names has %d characters; give 1 to %d", p, what, len(p), maxPattern)
	}
	for i := range len(p) {
		if c := p[i]; c != '*' && !allowed(c) {
			return fmt.Errorf("the pattern %q of %s names has %q in it, which no such name has", p, what, c)
		}
	}
	return nil
}

// Sees tells whether the account is the key's.
func (s *Scope) Sees(account accounts.ID) bool { return matchAny(s.Accounts, string(account)) }

// SeesAll tells a key for which no account is hidden.
func (s *Scope) SeesAll() bool { return slices.Contains(s.Accounts, "*") }

// AllowsKind tells whether a kind may be enqueued.
func (s *Scope) AllowsKind(k jobs.Kind) bool { return slices.Contains(s.Kinds, k) }

// AllowsMethod tells whether a raw method may be called.
func (s *Scope) AllowsMethod(name string) bool { return matchAny(s.Methods, name) }

func matchAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return match(p, name) })
}

// match compares with a pattern in time that grows with the product of the two lengths
// at most, whatever stars the pattern has.
func match(pattern, name string) bool {
	p, n := 0, 0
	star, mark := -1, 0 // the last star, and how far into the name it reaches
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && pattern[p] == name[n]:
			p++
			n++
		case star >= 0:
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

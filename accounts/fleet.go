package accounts

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Labels are what an account is marked with, and what a worker asks of accounts.
type Labels map[string]string

// ParseLabels reads "key=value" texts. A key has one value.
func ParseLabels(texts []string) (Labels, error) {
	if len(texts) == 0 {
		return nil, nil
	}
	ls := Labels{}
	for _, text := range texts {
		k, v, ok := strings.Cut(text, "=")
		if !ok || k == "" {
			return nil, fmt.Errorf("%q is not key=value", text)
		}
		if old, twice := ls[k]; twice && old != v {
			return nil, fmt.Errorf("%s is given twice, as %q and %q", k, old, v)
		}
		ls[k] = v
	}
	return ls, nil
}

// String lists the labels in the order of their keys.
func (ls Labels) String() string {
	var parts []string
	for k, v := range ls {
		parts = append(parts, k+"="+v)
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}

// in tells whether an account has all of the labels.
func (ls Labels) in(account Labels) bool {
	for k, v := range ls {
		if got, ok := account[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// Worker is one incarnation of a worker, as it registers.
type Worker struct {
	ID       string
	Labels   Labels // it serves accounts that have all of these
	Weight   int    // its share grows with it; 0: it is leaving, and has none
	Capacity int    // accounts that it holds at most
	Keys     KeyIDs // of its keyset; the store may leave them out of a Fleet
}

// Member is a worker whose time has not run out.
type Member struct {
	Worker
	Age  time.Duration // since it registered
	Left time.Duration // until its time runs out, if it is not renewed
}

// Group is the accounts that have the same labels, and are all parked or all served.
type Group struct {
	Set    string // as the store names it
	Labels Labels
	Parked bool
	Free   int            // accounts that no live worker holds
	Held   map[string]int // accounts by the worker that holds them
}

// Fleet is a look at all live workers and all accounts.
type Fleet struct {
	Members []Member // by ID
	Groups  []Group  // by Set
}

// Unserved is accounts of one set of labels that are not parked and that nobody
// holds, nor will while the workers are these.
type Unserved struct {
	Labels   Labels
	Accounts int
	Reason   string
}

// Unserved lists what no live worker's labels and capacity cover.
func (f Fleet) Unserved() (us []Unserved) {
	for _, g := range f.Groups {
		if g.Parked || g.Free == 0 {
			continue
		}
		if why := f.whyUnserved(g.Labels, false); why != "" {
			us = append(us, Unserved{Labels: g.Labels, Accounts: g.Free, Reason: why})
		}
	}
	return us
}

// WhyUnserved tells why nobody takes an account that nobody holds; "" if somebody
// will. Use it for many accounts of one look.
func (f Fleet) WhyUnserved() func(Account) string {
	why := map[string]string{}
	return func(a Account) string {
		labels, parked := Labels(a.Labels), a.Status.Parked()
		key := fmt.Sprint(parked, labels)
		text, known := why[key]
		if !known {
			text = f.whyUnserved(labels, parked)
			why[key] = text
		}
		return text
	}
}

func (f Fleet) whyUnserved(account Labels, parked bool) string {
	staying := slices.DeleteFunc(slices.Clone(f.Members), func(m Member) bool { return m.Weight == 0 })
	if len(staying) == 0 {
		return "no worker runs"
	}
	serving := slices.DeleteFunc(staying, func(m Member) bool { return !m.Labels.in(account) })
	if len(serving) == 0 {
		if len(account) == 0 {
			return "no worker serves accounts without labels"
		}
		return "no worker serves label " + account.String()
	}
	held := f.held(parked) // parked ones make room for others
	if !slices.ContainsFunc(serving, func(m Member) bool { return held[m.ID] < m.Capacity }) {
		return "every worker that serves it is full"
	}
	return ""
}

// held is how many accounts each worker holds, with those that are parked or without.
func (f Fleet) held(parked bool) map[string]int {
	held := map[string]int{}
	for _, g := range f.Groups {
		if g.Parked && !parked {
			continue
		}
		for worker, n := range g.Held {
			held[worker] += n
		}
	}
	return held
}

// Package raw tells what can be known of a raw call without Telegram: whether there
// is such a method and the deployment allows it, what is wrong with its parameters,
// and whom it names. Producers and workers share it, so that a job is refused in the
// same words when it is enqueued and when it runs.
//
// It resolves nobody, and sends nothing.
package raw

import (
	"errors"
	"fmt"
	"slices"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/tljson"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/peers"
)

// Allowed are restricted methods that a deployment allows by name.
// tljson.Restricted tells which are.
type Allowed []string

// Read reads a raw call that the account is to make; "" is any account. The error is
// a *jobs.FieldError whose path begins with "invoke" and whose Code is that of a
// tljson.Error, of a peers.ParseError, or peers.CodeOtherAccount.
func Read(inv *jobs.Invoke, account accounts.ID, allowed Allowed) (*tljson.Request, error) {
	if err := allowed.check(inv.Method); err != nil {
		return nil, err
	}
	req, err := tljson.Decode(inv.Method, inv.Params)
	if err != nil {
		return nil, Refused(err)
	}
	for _, m := range req.Wrapped {
		if err := allowed.check(m); err != nil {
			return nil, err
		}
	}
	for i := range req.Peers {
		if err := checkPeer(&req.Peers[i], account); err != nil {
			return nil, err
		}
	}
	return req, nil
}

func (a Allowed) check(method string) error {
	why, restricted := tljson.Restricted(method)
	if !restricted || slices.Contains(a, method) {
		return nil
	}
	return &jobs.FieldError{Path: "invoke.method", Code: tljson.CodeUnsafeMethod, Message: fmt.Sprintf(
		"%s is refused: %s; a deployment that wants it runs its workers with --allow-method %s", method, why, method)}
}

// Refused is the error of a raw call that package tljson refuses.
func Refused(err error) error {
	var e *tljson.Error
	if !errors.As(err, &e) {
		return err
	}
	path := "invoke.method"
	if e.Path != "" {
		path = "invoke." + e.Path
	}
	return &jobs.FieldError{Path: path, Code: e.Code, Message: e.Message}
}

// kinds are what references by id show, as the end of a sentence.
var kinds = map[peers.Kind]string{peers.User: "a user", peers.Chat: "a basic group", peers.Channel: "a channel or supergroup"}

func checkPeer(p *tljson.Peer, account accounts.ID) error {
	ref, err := peers.Parse(p.Text)
	if err == nil && account != "" {
		err = ref.UsableBy(account)
	}
	if err != nil {
		return jobs.InvalidPeer("invoke."+p.Path, err)
	}
	switch p.Class {
	case tljson.User:
		err = ref.Expect(peers.User)
	case tljson.Channel:
		err = ref.Expect(peers.Channel)
	}
	var wrong *peers.WrongKindError
	if errors.As(err, &wrong) {
		return Refused(p.WrongKind(kinds[wrong.Got]))
	}
	return nil
}

// Check returns a check of the raw calls of a job, alone or in a batch, for a
// jobs.Client.
func Check(allowed Allowed) func(*jobs.Envelope) error {
	return func(e *jobs.Envelope) error {
		if e.Invoke != nil {
			_, err := Read(e.Invoke, e.Account, allowed)
			return err
		}
		if e.Batch == nil {
			return nil
		}
		for i, c := range e.Batch.Calls {
			if c.Invoke == nil {
				continue
			}
			if _, err := Read(c.Invoke, e.Account, allowed); err != nil {
				return jobs.InCall(i, err)
			}
		}
		return nil
	}
}

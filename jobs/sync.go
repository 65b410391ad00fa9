package jobs

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/tgswitchboard/switchboard/accounts"
)

// What a Sync walks.
const (
	SyncDialogs      = "dialogs"      // the account's conversations, in every folder
	SyncContacts     = "contacts"     // the account's contacts
	SyncParticipants = "participants" // the members of a group or channel
	SyncMessages     = "messages"     // the messages of a conversation: senders, and whom they forward
)

// Sync walks a list at Telegram, so that the account comes to know the peers on
// it. It goes on where an earlier run stopped.
type Sync struct {
	What string `json:"what"`
	// Of is anything that peers.Parse accepts: whose participants or messages.
	// Dialogs and contacts are the account's own.
	Of string `json:"of,omitempty"`
	// Limit is how many dialogs, participants or messages are enough; 0 is all.
	Limit int `json:"limit,omitempty"`
}

func (s Sync) fill(e *Envelope) { e.Sync = &s }

func (s *Sync) validate(account accounts.ID) error {
	switch s.What {
	case SyncDialogs, SyncContacts:
		if s.Of != "" {
			return invalid("sync.of", "is %q, but %s are the account's own; leave it out", s.Of, s.What)
		}
	case SyncParticipants, SyncMessages:
		if s.Of == "" {
			return invalid("sync.of", "is missing; say whose %s", s.What)
		}
		if err := validatePeer("sync.of", s.Of, account); err != nil {
			return err
		}
	case "":
		return invalid("sync.what", "is missing; use %s, %s, %s or %s", SyncDialogs, SyncContacts, SyncParticipants, SyncMessages)
	default:
		return invalid("sync.what", "%q is unknown; use %s, %s, %s or %s", s.What, SyncDialogs, SyncContacts, SyncParticipants, SyncMessages)
	}
	if s.Limit < 0 {
		return invalid("sync.limit", "%d is below 0; 0 is all", s.Limit)
	}
	if s.Limit > 0 && s.What == SyncContacts {
		return invalid("sync.limit", "is for lists that come in pages; contacts come all at once, so leave it out")
	}
	return nil
}

// SyncResult is the result of a sync, also of one that was cancelled or has failed
// on its way.
type SyncResult struct {
	What string `json:"what"`
	Of   string `json:"of,omitempty"` // the peer as this account refers to it
	// Items is how many dialogs, contacts, participants or messages came.
	Items int `json:"items"`
	// Total is how many there are, as Telegram says.
	Total int `json:"total"`
	// Peers is how many different users, groups and channels came with them. Above
	// 2048 it is an estimate, a few percent off.
	Peers int `json:"peers"`
	// Complete says that the walk reached the end and Telegram kept nothing back.
	Complete bool `json:"complete"`
}

// Summary says in a few words what came.
func (r *SyncResult) Summary() string {
	says := fmt.Sprintf("%d of %d %s, %d peers", r.Items, max(r.Total, r.Items), r.What, r.Peers)
	if !r.Complete {
		says += ", not complete"
	}
	return says
}

// Tally is how far a job has come.
type Tally struct {
	Done  int `json:"done"`
	Total int `json:"total"` // 0 while it is not known
}

func (t Tally) String() string {
	if t.Total == 0 {
		return fmt.Sprint(t.Done)
	}
	return fmt.Sprintf("%d of %d", t.Done, t.Total)
}

// Cursors keeps how far jobs without an outcome have come, so that the next run
// goes on from there. Package db implements it.
type Cursors interface {
	// Save replaces the job's cursor while the lease is in force. It returns
	// accounts.ErrLeaseLost if it is not, and nothing is stored then.
	Save(ctx context.Context, l accounts.Lease, job string, cursor json.RawMessage) error
	// Load returns nil if there is none.
	Load(ctx context.Context, job string) (json.RawMessage, error)
	// Forget is for a job that has its outcome.
	Forget(ctx context.Context, job string) error
}

package accounts

import "time"

// EventKind is what an Event tells.
type EventKind string

// The kinds of event.
const (
	EventAdded   EventKind = "added"      // with status To
	EventStatus  EventKind = "status"     // From became To
	EventVerdict EventKind = "verdict"    // Telegram says To, and the account stays From: it is paused, or worse off
	EventFlood   EventKind = "flood_wait" // Telegram demanded a pause
	EventAlarm   EventKind = "alarm"      // an operator should know

	EventSet      EventKind = "set"      // its settings were changed
	EventExported EventKind = "exported" // its session was written to a file
	EventRemoved  EventKind = "removed"  // the account was From until then
	EventRotated  EventKind = "rotated"  // of no account: what is sealed was sealed anew with another key
)

// Event is one line in an account's log.
type Event struct {
	ID      int64     `json:"id"` // grows; not in the order in which events can be seen
	Account ID        `json:"account"`
	At      time.Time `json:"at"`
	Kind    EventKind `json:"event"`
	From    Status    `json:"from,omitempty"`
	To      Status    `json:"to,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	Who     string    `json:"who,omitempty"` // a worker's name, or operator@host
}

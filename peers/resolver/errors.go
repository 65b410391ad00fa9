package resolver

import (
	"fmt"
	"time"

	"github.com/gotd/td/tgerr"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/rpcerror"
	"github.com/tgswitchboard/switchboard/peers"
)

// classOf is what an error of Telegram's in the chain means, "" if there is none.
func classOf(err error) rpcerror.Class {
	e, ok := tgerr.As(err)
	if !ok {
		return ""
	}
	return rpcerror.Classify(e.Code, e.Message).Class
}

// Error says why a reference does not resolve for an account.
type Error struct {
	Code    string // one of the codes below
	Message string // one sentence that says what would do
	Err     error  // Telegram's, if it was asked; or peers.ErrUnknown
}

func (e *Error) Error() string { return e.Message }
func (e *Error) Unwrap() error { return e.Err }

// Codes of an Error.
const (
	CodeUnknown          = "peer_unknown"
	CodeNotOccupied      = "username_not_occupied"
	CodeBadUsername      = "username_invalid"
	CodePhoneNotOccupied = "phone_not_occupied"
	CodeNotJoined        = "not_joined"
	CodeBadInvite        = "invite_invalid"
	CodeWrongKind        = "peer_wrong_kind" // a walk: the peer has no such list
	CodeNotForBot        = "bot_not_allowed" // Telegram tells this to no bot
)

// BudgetError reports that an account has asked Telegram about as many new names as
// it may for now. Nothing was sent.
type BudgetError struct {
	Account accounts.ID
	What    string        // "usernames" or "phone numbers"
	Wait    time.Duration // until the next may be asked about
}

func (e *BudgetError) Error() string {
	return fmt.Sprintf("account %s has asked about as many %s as it may for now; the next in %v", e.Account, e.What, e.Wait.Round(time.Second))
}

func unknown(account accounts.ID, key peers.Key) *Error {
	return &Error{Code: CodeUnknown, Err: peers.ErrUnknown, Message: fmt.Sprintf(
		"account %s has never met %s %d; it can be met through a username, a phone in its contacts, a dialog, a common chat (sync participants), or a message reference",
		account, key.Kind, key.ID)}
}

func notForBots(account accounts.ID, what string, err error) *Error {
	return &Error{Code: CodeNotForBot, Err: err, Message: fmt.Sprintf(
		"account %s is a bot, and Telegram does not let bots look up %s; name the peer by username or id", account, what)}
}

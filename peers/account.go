package peers

import (
	"fmt"

	"github.com/tgswitchboard/switchboard/accounts"
)

// Account returns the account that obtained r, "" if r does not say.
func (r Ref) Account() accounts.ID { return accounts.ID(r.acct) }

// WithAccount returns r marked as obtained by an account; "" removes the mark.
// Only references by id can be marked: any other comes back unchanged. It is
// the zero Ref if id is no account's name, so that the mark cannot get lost.
func (r Ref) WithAccount(id accounts.ID) Ref {
	if !r.byID() {
		return r
	}
	if id != "" && !validAccount(string(id)) {
		return Ref{}
	}
	r.acct = string(id)
	return r
}

// UsableBy returns *OtherAccountError if r was obtained by an account other than
// id. A reference that does not say who obtained it is usable by all.
func (r Ref) UsableBy(id accounts.ID) error {
	if r.acct == "" || r.acct == string(id) {
		return nil
	}
	return &OtherAccountError{Ref: r, Account: id}
}

func validAccount(s string) bool {
	_, err := accounts.ParseID(s)
	return err == nil
}

// CodeOtherAccount is the error code of an OtherAccountError in results.
const CodeOtherAccount = "peer_ref_of_other_account"

// OtherAccountError reports a reference that one account obtained and another
// was to use. An access hash is worth nothing to any account but its own.
type OtherAccountError struct {
	Ref     Ref         // Ref.Account obtained it
	Account accounts.ID // was to use it
}

func (e *OtherAccountError) Error() string {
	return fmt.Sprintf("peer %s was obtained by account %s and cannot be used by account %s; name it by username, or resolve it with account %s",
		quote(e.Ref.WithAccessHash(0).String()), e.Ref.acct, e.Account, e.Account) // the hash is none of the other's business
}

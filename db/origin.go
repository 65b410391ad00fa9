package db

import (
	"context"
	"slices"

	"gorm.io/gorm"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/peers"
)

// Origin is what is stored together with an account that was used elsewhere before.
type Origin struct {
	Told  string       // the reason in the event
	Peers []peers.Peer // that it knows, in the order in which it saw them
	// SecondSession lets it be the same user as another account. Otherwise that is an
	// *accounts.DuplicateError, if the user's id is known of both.
	SecondSession bool
}

// From returns the store whose CreateAccount takes an account from elsewhere: all that
// belongs to it, or nothing.
func (s *Accounts) From(o Origin) *Accounts { return &Accounts{d: s.d, who: s.who, origin: &o} }

// peersAtOnce is how many peers of an account one statement stores.
const peersAtOnce = 5000

// admit refuses an account of a user that another account is of. Those who add
// accounts of one user come one after the other, until their transactions end.
func (o *Origin) admit(tx *gorm.DB, d *DB, a accounts.Account) error {
	if o == nil || o.SecondSession || a.UserID == 0 {
		return nil
	}
	if !d.lite {
		// Positive numbers are others' locks.
		if err := tx.Exec("SELECT pg_advisory_xact_lock(?)", -a.UserID).Error; err != nil {
			return err
		}
	}
	var same []string
	err := tx.Raw("SELECT id FROM accounts WHERE user_id = ? AND user_id <> 0 ORDER BY id LIMIT 1", a.UserID).Scan(&same).Error
	if err == nil && len(same) > 0 {
		err = &accounts.DuplicateError{Account: accounts.ID(same[0]), UserID: a.UserID}
	}
	return err
}

// told is the reason in the event of an account that was added.
func (o *Origin) told(a accounts.Account) string {
	if o == nil {
		return a.Reason
	}
	return o.Told
}

// savePeers stores what a new account knows of peers.
func (o *Origin) savePeers(ctx context.Context, tx *gorm.DB, d *DB, id accounts.ID) error {
	if o == nil {
		return nil
	}
	store := d.Peers()
	for some := range slices.Chunk(o.Peers, peersAtOnce) {
		seen := make([]peers.Sighting, len(some))
		for i, p := range some {
			seen[i] = peers.Sighting{Account: id, Peer: p}
		}
		rows, err := store.flush(seen)
		if err != nil {
			return err
		}
		if rows == "" { // peers that cannot be
			continue
		}
		if err := store.write(d.plannedIn(ctx, tx), rows); err != nil {
			return err
		}
	}
	return nil
}

// whoHas is why an account was not inserted.
func whoHas(tx *gorm.DB, a accounts.Account) error {
	var same []string
	err := tx.Raw("SELECT id FROM accounts WHERE auth_key_id = ?", a.KeyID).Scan(&same).Error
	if err != nil {
		return err
	}
	if len(same) > 0 {
		return &accounts.DuplicateError{Account: accounts.ID(same[0])}
	}
	return accounts.ErrExists
}

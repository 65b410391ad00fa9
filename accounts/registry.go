package accounts

import (
	"context"
	"fmt"
	"time"
)

// Store keeps accounts and their sealed sessions. Package db implements it.
type Store interface {
	// CreateAccount stores the account and its sealed session, and writes the event
	// down, in one transaction; ErrExists if the name is taken, a *DuplicateError if
	// another account has the auth key.
	CreateAccount(ctx context.Context, a Account, sealed []byte) error
	// Account returns ErrNotFound for an unknown name.
	Account(ctx context.Context, id ID) (Account, error)
	// Accounts lists by name, at most limit of those after the given name.
	Accounts(ctx context.Context, after ID, limit int) ([]Account, error)
	// SetStatus changes a status, if the account may come to it from what it is, and
	// writes the event down, in one transaction. One that it has stays. A verdict that
	// changes nothing is written down alone; what else is not allowed is a
	// *StatusError. ErrNotFound for an unknown name.
	SetStatus(ctx context.Context, id ID, s Status, reason string) error
	// SetUserID stores the account's Telegram id.
	SetUserID(ctx context.Context, id ID, userID int64) error
	// SetPace returns ErrNotFound for an unknown name.
	SetPace(ctx context.Context, id ID, p Pace) error
	// Paces are those of the accounts that have one of their own.
	Paces(ctx context.Context) (map[ID]Pace, error)
	// Session returns the sealed session; ErrNotFound if there is none.
	Session(ctx context.Context, id ID) ([]byte, error)
	// SaveSession replaces the sealed session while the lease is in force, ErrLeaseLost
	// otherwise, by one with the auth key of this id: ErrOtherKey if a new login has
	// given the account another one.
	SaveSession(ctx context.Context, l Lease, keyID string, sealed []byte) error
	// SetAccount changes proxy, application, device, labels and Secrets to those of a, and
	// writes the event down, in one transaction; ErrChanged if the account was updated at
	// another time than was, ErrNotFound for an unknown name.
	SetAccount(ctx context.Context, a Account, was time.Time, told string) error
	// Unkeyed lists accounts of which the auth key's id is not stored, as Accounts.
	Unkeyed(ctx context.Context, after ID, limit int) ([]Unkeyed, error)
	// SetKeyIDs stores ids of auth keys where there are none. It returns who has the
	// same key as another account, and stores nothing for them.
	SetKeyIDs(ctx context.Context, ids map[ID]string) ([]ID, error)
	// ReplaceSession stores the session of a new login, and makes the account active
	// that needed one, in one transaction with the event. Of a it takes name, user id,
	// auth key id and data center. ErrOtherUser if the account is another user's, a
	// *StatusError if it needs no login, ErrNotFound for an unknown name.
	ReplaceSession(ctx context.Context, a Account, sealed []byte) error

	SealedStore
}

// Registry is the store of accounts as a worker or operator with the key sees
// it.
type Registry struct {
	store Store
	keys  Keyset
}

// NewRegistry returns a registry over the store that seals with keys.
func NewRegistry(store Store, keys Keyset) *Registry {
	return &Registry{store: store, keys: keys}
}

// Add stores a new account with its session; ErrExists if the name is taken, a
// *DuplicateError if another account has the session.
func (r *Registry) Add(ctx context.Context, a Account, s Session) (Account, error) {
	a = a.withDefaults()
	if a.DC == 0 {
		a.DC = s.DC
	}
	if err := a.validate(); err != nil {
		return Account{}, err
	}
	a.KeyID = s.Key.IDText()
	sealed, err := r.keys.seal(a.ID, s)
	if err != nil {
		return Account{}, err
	}
	hidden, err := r.keys.hide(a)
	if err != nil {
		return Account{}, err
	}
	if err := r.store.CreateAccount(ctx, hidden, sealed); err != nil {
		return Account{}, fmt.Errorf("add account %s: %w", a.ID, err)
	}
	return a, nil
}

// Account returns one account, with its secrets: ErrWrongKey if they do not open.
func (r *Registry) Account(ctx context.Context, id ID) (Account, error) {
	a, err := r.store.Account(ctx, id)
	if err != nil {
		return Account{}, err
	}
	return r.keys.reveal(a)
}

// Session opens the account's session.
func (r *Registry) Session(ctx context.Context, id ID) (Session, error) {
	sealed, err := r.store.Session(ctx, id)
	if err != nil {
		return Session{}, fmt.Errorf("session of account %s: %w", id, err)
	}
	return r.keys.open(id, sealed)
}

// SaveSession replaces the session of a leased account by one with the same auth key.
func (r *Registry) SaveSession(ctx context.Context, l Lease, s Session) error {
	sealed, err := r.keys.seal(l.Account, s)
	if err != nil {
		return err
	}
	if err := r.store.SaveSession(ctx, l, s.Key.IDText(), sealed); err != nil {
		return fmt.Errorf("save session of account %s: %w", l.Account, err)
	}
	return nil
}

// LogIn stores the session of a new login of an account that needs one; see Store. Who
// holds the account finds it within seconds: it does not connect before.
func (r *Registry) LogIn(ctx context.Context, id ID, userID int64, s Session) (Account, error) {
	sealed, err := r.keys.seal(id, s)
	if err != nil {
		return Account{}, err
	}
	if err := r.store.ReplaceSession(ctx, Account{ID: id, UserID: userID, KeyID: s.Key.IDText(), DC: s.DC}, sealed); err != nil {
		return Account{}, fmt.Errorf("log in account %s: %w", id, err)
	}
	return r.Account(ctx, id)
}

// SetStatus changes an account's status, or writes down the verdict that it does not
// change for; see Store.
func (r *Registry) SetStatus(ctx context.Context, id ID, s Status, reason string) error {
	return r.store.SetStatus(ctx, id, s, reason)
}

// SetUserID stores the Telegram id that the account's session proved to have.
func (r *Registry) SetUserID(ctx context.Context, id ID, userID int64) error {
	return r.store.SetUserID(ctx, id, userID)
}

// SetPace changes the account's own pace. Workers know of it within seconds.
func (r *Registry) SetPace(ctx context.Context, id ID, p Pace) error {
	return r.store.SetPace(ctx, id, p)
}

// Paces are those of the accounts that have one of their own.
func (r *Registry) Paces(ctx context.Context) (map[ID]Pace, error) { return r.store.Paces(ctx) }

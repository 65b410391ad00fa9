package accounts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
)

// APIHash is an application's secret (api_hash), which goes with its id. It never prints
// itself: string(h) is all of it.
type APIHash string

func (h APIHash) shown() string {
	if h == "" {
		return ""
	}
	return "[api hash]"
}

func (h APIHash) String() string               { return h.shown() }
func (h APIHash) GoString() string             { return h.shown() }
func (h APIHash) LogValue() slog.Value         { return slog.StringValue(h.shown()) }
func (h APIHash) MarshalText() ([]byte, error) { return []byte(h.shown()), nil }

// secrets are the settings of an account that are sealed, beside its session.
type secrets struct {
	Proxy   string `json:"proxy,omitempty"`
	APIHash string `json:"api_hash,omitempty"`
}

// boundSettings is the associated data: sealed settings open for their own account only,
// and not as a session.
func boundSettings(id ID) []byte { return []byte("switchboard settings v1 " + id) }

// hide is the account as it is stored: its secrets are sealed, and what is left of them in
// the clear is what may be shown.
func (k Keyset) hide(a Account) (Account, error) {
	s := secrets{APIHash: string(a.APIHash)}
	if a.Proxy.HasSecret() {
		s.Proxy = string(a.Proxy)
		a.Proxy = Proxy(a.Proxy.String())
	}
	a.APIHash, a.Secrets = "", nil
	if s == (secrets{}) {
		return a, nil
	}
	plain, err := json.Marshal(s)
	if err != nil {
		return Account{}, fmt.Errorf("seal settings of account %s: %w", a.ID, err)
	}
	defer clear(plain)
	if a.Secrets, err = k.aead.Encrypt(plain, boundSettings(a.ID)); err != nil {
		return Account{}, fmt.Errorf("seal settings of account %s: %w", a.ID, err)
	}
	return a, nil
}

// reveal is the inverse of hide. An account of an older version has its proxy in the
// clear.
func (k Keyset) reveal(a Account) (Account, error) {
	if len(a.Secrets) == 0 {
		return a, nil
	}
	plain, err := k.aead.Decrypt(a.Secrets, boundSettings(a.ID))
	if err != nil {
		return Account{}, fmt.Errorf("open settings of account %s: %w", a.ID, ErrWrongKey)
	}
	defer clear(plain)
	var s secrets
	if err := json.Unmarshal(plain, &s); err != nil {
		return Account{}, fmt.Errorf("open settings of account %s: they have an unknown form", a.ID)
	}
	if s.Proxy != "" {
		a.Proxy = Proxy(s.Proxy)
	}
	a.APIHash, a.Secrets = APIHash(s.APIHash), nil
	return a, nil
}

// ErrChanged: somebody else has changed the account meanwhile.
var ErrChanged = errors.New("the account has been changed meanwhile")

// setTries is how often Set begins anew because somebody else was faster.
const setTries = 5

// Set changes an account's settings: proxy, application, device, labels. told says in the
// account's log what was changed. A worker that is connected has to give the account back
// before it goes by a new proxy, application or device: see Borrow.
func (r *Registry) Set(ctx context.Context, id ID, told string, change func(*Account) error) (Account, error) {
	for range setTries {
		was, err := r.store.Account(ctx, id)
		if err != nil {
			return Account{}, err
		}
		a, err := r.keys.reveal(was)
		if err != nil {
			return Account{}, err
		}
		if err := change(&a); err != nil {
			return Account{}, err
		}
		if err := a.validate(); err != nil {
			return Account{}, err
		}
		hidden, err := r.keys.hide(a)
		if err != nil {
			return Account{}, err
		}
		switch err := r.store.SetAccount(ctx, hidden, was.UpdatedAt, told); {
		case err == nil:
			return a, nil
		case !errors.Is(err, ErrChanged):
			return Account{}, err
		}
	}
	return Account{}, fmt.Errorf("set account %s: %w", id, ErrChanged)
}

package accounts

import (
	"context"
	"fmt"
)

// Unkeyed is an account of which the id of the auth key is not stored: a program that
// knew nothing of it has added the account.
type Unkeyed struct {
	Account ID
	Sealed  []byte
}

// FillKeyIDs stores the ids of auth keys that are not stored yet, so that duplicates of
// these accounts are recognized. It opens their sessions. It returns the accounts that
// have the same auth key as another one: one of two uses it at the risk of both.
func (r *Registry) FillKeyIDs(ctx context.Context) (twice []ID, err error) {
	const page = 1000
	for after := ID(""); ; {
		some, err := r.store.Unkeyed(ctx, after, page)
		if err != nil {
			return twice, fmt.Errorf("look for auth keys without an id: %w", err)
		}
		ids := make(map[ID]string, len(some))
		for _, u := range some {
			s, err := r.keys.open(u.Account, u.Sealed)
			if err != nil {
				return twice, err
			}
			ids[u.Account], after = s.Key.IDText(), u.Account
		}
		if len(some) == 0 {
			return twice, nil
		}
		again, err := r.store.SetKeyIDs(ctx, ids)
		if err != nil {
			return twice, fmt.Errorf("store the ids of auth keys: %w", err)
		}
		twice = append(twice, again...)
		if len(some) < page {
			return twice, nil
		}
	}
}

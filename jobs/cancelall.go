package jobs

import (
	"context"
	"errors"

	"github.com/tgswitchboard/switchboard/accounts"
)

// cancelAtOnce is how many jobs CancelAll looks at.
const cancelAtOnce = 1000

// CancelAll cancels what is on the account's line, the next 1000 jobs of it. left is how
// many of them there are yet: those that are being run, of which syncs end soon, and those
// whose outcome the account's worker has still to record. Call it until there are none.
func (c *Client) CancelAll(ctx context.Context, account accounts.ID) (cancelled, left int, err error) {
	rs, err := c.List(ctx, Filter{Account: account, Limit: cancelAtOnce})
	if err != nil {
		return 0, 0, err
	}
	for _, r := range rs {
		if r.State == Cancelled || r.State == Running && r.Error != nil {
			continue // the worker knows
		}
		switch err := c.cancelOn(ctx, account, r.ID); {
		case errors.Is(err, ErrRunning), errors.Is(err, ErrNotFound): // it may have ended since
		case err != nil:
			return cancelled, len(rs), err
		default:
			cancelled++
		}
	}
	return cancelled, len(rs), nil
}

// Forget takes an account that was removed off the list of known ones, so that those who
// enqueue for it are told that it is not known. Its line stays as it is.
func (c *Client) Forget(ctx context.Context, account accounts.ID) error {
	if err := c.rdb.SRem(ctx, AccountsKey, string(account)).Err(); err != nil {
		return unavailable("forget account "+string(account), err)
	}
	return nil
}

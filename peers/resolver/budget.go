package resolver

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"

	"github.com/tgswitchboard/switchboard/accounts"
)

// budgets bound what accounts ask Telegram about names that they do not know.
// Telegram answers too many such questions with flood waits of hours.
type budgets struct {
	perDay   int // usernames and invites; negative: no bound. Immutable
	accounts *otter.Cache[accounts.ID, *budget]
	refusals atomic.Uint64
}

type budget struct{ names, phones *rate.Limiter }

// phoneEvery is how often a phone may be asked about.
// Source: core.telegram.org/method/contacts.resolvePhone.
const phoneEvery = 3 * time.Second

func newBudgets(perDay int) *budgets {
	return &budgets{perDay: perDay, accounts: otter.Must(&otter.Options[accounts.ID, *budget]{MaximumSize: 100_000})}
}

func (b *budgets) of(account accounts.ID) *budget {
	all, _ := b.accounts.ComputeIfAbsent(account, func() (*budget, bool) {
		limit := rate.Inf
		if b.perDay > 0 {
			limit = rate.Limit(float64(b.perDay) / (24 * time.Hour).Seconds())
		}
		return &budget{rate.NewLimiter(limit, max(b.perDay, 1)), rate.NewLimiter(rate.Every(phoneEvery), 1)}, false
	})
	return all
}

// takeName takes one question about a username or an invite.
func (b *budgets) takeName(account accounts.ID, now time.Time) (taken, error) {
	return b.take(account, "usernames", b.of(account).names, now)
}

// takePhone takes one question about a phone number.
func (b *budgets) takePhone(account accounts.ID, now time.Time) (taken, error) {
	return b.take(account, "phone numbers", b.of(account).phones, now)
}

func (b *budgets) take(account accounts.ID, what string, l *rate.Limiter, now time.Time) (taken, error) {
	t := taken{l.ReserveN(now, 1), now}
	wait := t.DelayFrom(now)
	if wait == 0 {
		return t, nil
	}
	t.CancelAt(now)
	b.refusals.Add(1)
	return taken{}, &BudgetError{Account: account, What: what, Wait: wait}
}

// taken is one question of a budget.
type taken struct {
	*rate.Reservation
	at time.Time
}

// unless gives the question back if err says that it was put off to keep the account's
// pace: it is asked later, and counts then.
func (t taken) unless(err error) {
	var paced *accounts.PacedError
	if errors.As(err, &paced) {
		t.CancelAt(t.at)
	}
}

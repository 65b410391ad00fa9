package resolver

import (
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
func (b *budgets) takeName(account accounts.ID, now time.Time) error {
	return b.take(account, "usernames", b.of(account).names, now)
}

// takePhone takes one question about a phone number.
func (b *budgets) takePhone(account accounts.ID, now time.Time) error {
	return b.take(account, "phone numbers", b.of(account).phones, now)
}

func (b *budgets) take(account accounts.ID, what string, l *rate.Limiter, now time.Time) error {
	if l.AllowN(now, 1) {
		return nil
	}
	b.refusals.Add(1)
	wait := (1 - l.TokensAt(now)) / float64(l.Limit())
	return &BudgetError{Account: account, What: what, Wait: time.Duration(wait * float64(time.Second))}
}

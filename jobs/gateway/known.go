package gateway

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
)

// knownFor is how long an account that there was counts as one that there is.
const knownFor = 10 * time.Second

// knownAccounts remembers which accounts there are, so that not every job asks.
type knownAccounts struct {
	ask func(context.Context, []accounts.ID) (map[accounts.ID]*Problem, error)

	mu   sync.Mutex // guards below
	seen map[accounts.ID]time.Time
}

func newKnownAccounts(ask func(context.Context, []accounts.ID) (map[accounts.ID]*Problem, error)) *knownAccounts {
	return &knownAccounts{ask: ask, seen: map[accounts.ID]time.Time{}}
}

// missing says of those accounts that are not there what is to be done.
func (k *knownAccounts) missing(ctx context.Context, ids map[accounts.ID]bool) (map[accounts.ID]*Problem, error) {
	now := time.Now()
	var unsure []accounts.ID
	k.mu.Lock()
	for id := range ids {
		if now.Sub(k.seen[id]) > knownFor {
			unsure = append(unsure, id)
		}
	}
	k.mu.Unlock()
	if len(unsure) == 0 {
		return nil, nil
	}
	missing, err := k.ask(ctx, unsure)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, id := range unsure {
		if missing[id] == nil {
			k.seen[id] = now
		} else {
			delete(k.seen, id)
		}
	}
	return missing, nil
}

// exist asks the ledger, or Redis if there is none, or it is down: jobs are taken
// without it.
func (g *Gateway) exist(ctx context.Context, ids []accounts.ID) (map[accounts.ID]*Problem, error) {
	missing := map[accounts.ID]*Problem{}
	if g.ledger != nil {
		there, err := g.ledger.Exist(ctx, ids)
		if err == nil {
			for _, id := range ids {
				if !there[id] {
					missing[id] = problem(http.StatusUnprocessableEntity, "there is no account %q; check the name, or give force=true if it is about to be added", id)
				}
			}
			return missing, nil
		}
		g.cfg.Log.Warn("accounts cannot be looked up in the database", "error", err)
	}
	for _, id := range ids {
		known, others, err := g.client.KnownAccount(ctx, id)
		if err != nil {
			return nil, err
		}
		if !known {
			missing[id] = problem(http.StatusUnprocessableEntity, "no worker has served an account %q%s; check the name, or give force=true if it is new", id, g.suchAs(others))
		}
	}
	return missing, nil
}

// suchAs names some accounts, if nobody has to be kept from knowing them.
func (g *Gateway) suchAs(others []accounts.ID) string {
	if g.keys != nil || len(others) == 0 {
		return ""
	}
	names := make([]string, len(others))
	for i, id := range others {
		names[i] = string(id)
	}
	return fmt.Sprintf(", only such as %s", strings.Join(names, ", "))
}

package resolver

import (
	"context"
	"sync"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/peers"
)

// Harvesting returns an invoker that learns the peers of each answer for the account.
func (r *Resolver) Harvesting(account accounts.ID, inv tg.Invoker) tg.Invoker {
	return harvester{r: r, account: account, inv: inv}
}

type harvester struct {
	r       *Resolver
	account accounts.ID
	inv     tg.Invoker
}

func (h harvester) Invoke(ctx context.Context, in bin.Encoder, out bin.Decoder) error {
	if err := h.inv.Invoke(ctx, in, out); err != nil {
		return err
	}
	h.r.Learn(h.account, out)
	return nil
}

// LearnUpdates is Learn for what Telegram sends unasked.
func (r *Resolver) LearnUpdates(account accounts.ID, us tg.UpdatesClass) { r.Learn(account, us) }

// Learn takes the peers out of an answer or update: a pointer to a TL type. They are
// known to the account at once, and stored soon after. It takes some microseconds:
// memory is changed by Run, or by whoever looks something up first.
func (r *Resolver) Learn(account accounts.ID, answer any) {
	s := sight{now: r.now()}
	if r.inbox.empty() {
		s.sameUser = func(u *tg.User) bool { return r.memory.sameUser(account, u, s.now) }
		s.sameChat = func(p peers.Peer) bool { return r.memory.sameChat(account, p) }
	}
	s.look(answer)
	s.met()
	r.counts.learned.Add(uint64(len(s.peers)))
	if len(s.peers)+len(s.gone)+len(s.renamed) > 0 {
		r.learn(learned{account, s.peers, s.renamed, s.gone})
	}
}

// learned is what one answer tells of peers.
type learned struct {
	account accounts.ID
	peers   []peers.Peer
	renamed []peers.Peer
	gone    []peers.Message
}

func (r *Resolver) learn(l learned) {
	if r.inbox.put(l) > r.cfg.Backlog {
		r.settle() // nobody else does
	}
}

// settle makes memory know what was learned before the call.
func (r *Resolver) settle() { r.inbox.take(r.absorb) }

// absorb puts what was learned into memory, and passes on what is news for the store.
func (r *Resolver) absorb(l learned) {
	for _, p := range l.renamed {
		if known, ok := r.memory.peer(l.account, p.Key); ok && !known.Min {
			known.Usernames, known.Title, known.SeenAt = p.Usernames, p.Title, p.SeenAt
			p = known
		} else {
			p.Min = true
		}
		l.peers = append(l.peers, p)
	}
	fresh := l.peers[:0]
	for _, p := range l.peers {
		if r.memory.remember(l.account, p) {
			fresh = append(fresh, p)
		}
	}
	if len(fresh)+len(l.gone) > 0 {
		r.tell(news{l.account, fresh, l.gone, r.now()})
	}
}

// news is what the store has to hear of one answer.
type news struct {
	account accounts.ID
	seen    []peers.Peer
	gone    []peers.Message
	since   time.Time // it waits to be stored
}

// tell passes news on without waiting for the store.
func (r *Resolver) tell(n news) {
	select {
	case r.news <- n:
	default: // the store is slow
		r.unheard(n)
	}
}

// unheard notes that the store has not heard of what is remembered: it is news again
// when it is seen again.
func (r *Resolver) unheard(n news) {
	r.counts.unstored.Add(uint64(len(n.seen)))
	for _, p := range n.seen {
		r.memory.unstored(n.account, p.Key)
	}
}

// flushTimeout limits one write of the store.
const flushTimeout = 30 * time.Second

// Run puts what was learned into memory and, in batches, into the store, until ctx is
// done; then it stores the rest and returns nil.
func (r *Resolver) Run(ctx context.Context) error {
	var settling sync.WaitGroup
	settling.Go(func() { r.inbox.run(ctx, r.absorb) })
	for {
		select {
		case n := <-r.news:
			r.flush(ctx, n)
			continue
		case <-ctx.Done():
		}
		settling.Wait()
		r.running.Wait() // what is being asked is learned too
		r.settle()
		for {
			select {
			case n := <-r.news:
				r.flush(ctx, n)
			default:
				return nil
			}
		}
	}
}

// flush stores news and all that wait behind, in their order, also when ctx ends
// meanwhile.
func (r *Resolver) flush(ctx context.Context, first news) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	r.counts.oldest.Store(&first.since)
	defer r.counts.oldest.Store(nil)
	batch := []news{first}
	for n := len(first.seen); n < r.cfg.FlushSize && len(batch) < r.cfg.FlushSize; {
		select {
		case next := <-r.news:
			batch = append(batch, next)
			n += len(next.seen)
			continue
		default:
		}
		break
	}
	var seen []peers.Sighting
	gone := map[accounts.ID][]peers.Message{}
	for _, n := range batch {
		for _, p := range n.seen {
			seen = append(seen, peers.Sighting{Account: n.account, Peer: p})
		}
		if len(n.gone) > 0 {
			gone[n.account] = append(gone[n.account], n.gone...)
		}
	}
	if len(seen) > 0 {
		if err := r.store.SavePeers(ctx, seen); err != nil {
			r.log.Warn("peers not stored; they are learned again when seen again", "peers", len(seen), "error", err)
			for _, n := range batch {
				r.unheard(n)
			}
		} else {
			r.counts.stored.Add(uint64(len(seen)))
		}
	}
	// After the sightings: a message that was deleted is not seen again.
	for account, messages := range gone {
		if err := r.forgetMessages(ctx, account, messages); err != nil {
			r.log.Warn("deleted messages not forgotten; a request that needs one of them tells", "account", account, "error", err)
		}
	}
}

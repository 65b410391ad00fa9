package gateway

import (
	"context"
	"slices"
	"sync"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
)

// feed shares one subscription to all outcomes between all streams.
type feed struct {
	mu      sync.Mutex // guards below
	joined  bool       // outcomes are heard
	streams map[accounts.ID][]*listener
	wake    chan struct{} // closed when there is a first stream, and replaced
}

// listener is a stream's ear. It hears ids: the outcomes lie in Redis.
type listener struct {
	account accounts.ID
	ids     chan string   // backlog
	resync  chan struct{} // size 1: some may have been missed, so look at the ledger
}

// backlog is how many outcomes a stream may be behind before it has to look at the
// ledger.
const backlog = 1024

func newFeed() *feed {
	return &feed{streams: map[accounts.ID][]*listener{}, wake: make(chan struct{})}
}

// run listens while there are streams, until ctx is done.
func (f *feed) run(ctx context.Context, c *jobs.Client) {
	for ctx.Err() == nil {
		f.mu.Lock()
		wake, none := f.wake, len(f.streams) == 0
		f.mu.Unlock()
		if none {
			select {
			case <-wake:
			case <-ctx.Done():
				return
			}
		}
		fctx, cancel := context.WithCancel(ctx)
		c.Follow(fctx, f.hears, func(r jobs.Result) {
			if !f.tell(r.Account, r.ID) {
				cancel() // nobody listens any more
			}
		})
		cancel()
		f.mu.Lock()
		f.joined = false
		f.mu.Unlock()
	}
}

// hears notes that outcomes are heard from now on, and that some may have been missed.
func (f *feed) hears() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.joined = true
	for _, ls := range f.streams {
		for _, l := range ls {
			l.missed()
		}
	}
}

func (l *listener) missed() {
	select {
	case l.resync <- struct{}{}:
	default:
	}
}

// tell gives an id to those who follow its account, and tells whether anybody follows
// any.
func (f *feed) tell(account accounts.ID, id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.streams[account] {
		select {
		case l.ids <- id:
		default:
			l.missed()
		}
	}
	return len(f.streams) > 0
}

// add begins to follow an account. The listener is told to look at the ledger as soon
// as outcomes are heard.
func (f *feed) add(account accounts.ID) *listener {
	l := &listener{account: account, ids: make(chan string, backlog), resync: make(chan struct{}, 1)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.streams) == 0 {
		close(f.wake)
		f.wake = make(chan struct{})
	}
	f.streams[account] = append(f.streams[account], l)
	if f.joined {
		l.missed()
	}
	return l
}

func (f *feed) remove(l *listener) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rest := slices.DeleteFunc(f.streams[l.account], func(other *listener) bool { return other == l })
	if len(rest) == 0 {
		delete(f.streams, l.account)
	} else {
		f.streams[l.account] = rest
	}
}

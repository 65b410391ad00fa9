package pool

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/rpcerror"
)

var errStillBlocked = errors.New("a flood wait is still running; nothing was sent")

// transfers are the methods that move files, as a flood names them.
const transfers = "upload.*"

// floodKey is what has to wait: a method, what is sent into a chat, or, if it is
// zero, the whole account.
type floodKey struct {
	method string
	chat   int64
}

// floods are an account's pauses. They end on whole seconds, so that all jobs that
// wait for one are due in the same second, whenever each met it.
type floods struct {
	began atomic.Int64 // counts pauses, those that are over too

	mu    sync.Mutex // guards below
	until map[floodKey]time.Time
}

// load takes what the store has.
func (f *floods) load(stored []accounts.Flood) {
	f.until = make(map[floodKey]time.Time, len(stored))
	for _, s := range stored {
		f.until[floodKey{s.Method, s.Chat}] = wholeSecond(s.Until)
		f.began.Add(1)
	}
}

// begin notes a pause that is demanded until then at least, and returns its end. To
// the end of one that begins now chance adds a little: accounts that were refused
// together do not come back together. fresh tells that nothing like it was known.
func (f *floods) begin(k floodKey, wait time.Duration) (until time.Time, known, fresh bool) {
	demanded := time.Now().Add(wait)
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.until[k]
	if !before.Before(demanded) {
		return before, true, false
	}
	until = wholeSecond(demanded.Add(rand.N(min(max(wait/8, time.Second), 30*time.Second))))
	f.until[k] = until
	f.began.Add(1)
	return until, false, demanded.Sub(before) > time.Second
}

// wholeSecond is the first one that is not before t. It keeps the monotonic reading.
func wholeSecond(t time.Time) time.Time {
	if part := time.Duration(t.Nanosecond()); part > 0 {
		return t.Add(time.Second - part)
	}
	return t
}

// blocking is the pause of some keys that ends last; false if there is none.
func (f *floods) blocking(keys ...floodKey) (k floodKey, wait time.Duration, blocked bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, each := range keys {
		until, ok := f.until[each]
		if !ok {
			continue
		}
		left := time.Until(until)
		if left <= 0 {
			delete(f.until, each)
		} else if left > wait {
			k, wait, blocked = each, left, true
		}
	}
	return k, wait, blocked
}

// paused is the error of a call that may not be made now, nil if it may.
func (c *Conn) paused(method string, in bin.Encoder) error {
	if c.floods.began.Load() == 0 {
		return nil
	}
	keys := []floodKey{{}, {method: method}}
	if isTransfer(method) {
		keys = append(keys, floodKey{method: transfers})
	}
	if chat := c.sendsTo(in); chat != 0 {
		keys = append(keys, floodKey{chat: chat})
	}
	return c.pausedAny(keys...)
}

func (c *Conn) pausedAny(keys ...floodKey) error {
	k, wait, blocked := c.floods.blocking(keys...)
	if !blocked {
		return nil
	}
	return &accounts.FloodWaitError{Account: c.account.ID, Method: k.method, Chat: k.chat, Wait: wait, Err: errStillBlocked}
}

// flooded blocks what a call's error wants to wait, here and for the next holder.
func (c *Conn) flooded(ctx context.Context, r request, v rpcerror.Verdict, err error) error {
	k := floodKey{method: r.method}
	switch v.Class {
	case rpcerror.Slowmode:
		if chat := c.sendsTo(r.in); chat != 0 {
			k = floodKey{chat: chat}
		}
	case rpcerror.Transfers:
		if isTransfer(r.method) {
			k.method = transfers
		}
	}
	return c.pause(ctx, k, v.Wait, err)
}

func (c *Conn) pause(ctx context.Context, k floodKey, wait time.Duration, err error) error {
	until, known, fresh := c.floods.begin(k, wait)
	flood := &accounts.FloodWaitError{Account: c.account.ID, Method: k.method, Chat: k.chat, Wait: time.Until(until), Err: err}
	if known {
		return flood // calls that left together were refused together
	}
	if fresh {
		c.pool.counts.floods.Add(1)
		c.pool.counts.floodTime.Add(int64(wait))
	}
	fctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	stored := accounts.Flood{Account: c.account.ID, Method: k.method, Chat: k.chat, Error: nameOf(err), Until: until}
	if ferr := c.pool.floods.SaveFlood(fctx, stored); ferr != nil {
		c.pool.log.Error("flood wait not stored; a successor would not know of it", "account", c.account.ID, "what", stored.What(), "error", ferr)
	}
	return flood
}

// connecting is what waits when a connection is flooded: at home the whole account,
// elsewhere what is done there.
func (d *center) connecting() floodKey {
	if d.isAway() {
		return floodKey{method: fmt.Sprintf("initConnection at data center %d", d.dc)}
	}
	return floodKey{}
}

func isTransfer(method string) bool {
	return strings.HasPrefix(method, strings.TrimSuffix(transfers, "*"))
}

// sendsTo is the chat into which a call sends messages, as the Bot API numbers peers,
// 0 if it sends none. These are the methods that slow mode is about. Source: the
// error tables of core.telegram.org/methods, SLOWMODE_WAIT_X.
func (c *Conn) sendsTo(in bin.Encoder) int64 {
	switch in := unwrapped(in).(type) {
	case *tg.MessagesSendMessageRequest:
		return c.chat(in.Peer)
	case *tg.MessagesSendMediaRequest:
		return c.chat(in.Peer)
	case *tg.MessagesSendMultiMediaRequest:
		return c.chat(in.Peer)
	case *tg.MessagesSendInlineBotResultRequest:
		return c.chat(in.Peer)
	case *tg.MessagesForwardMessagesRequest:
		return c.chat(in.ToPeer)
	}
	return 0
}

// chat is a peer's number in the Bot API. Source: core.telegram.org/api/bots/ids.
func (c *Conn) chat(p tg.InputPeerClass) int64 {
	const channels = -1_000_000_000_000
	switch p := p.(type) {
	case *tg.InputPeerSelf:
		return c.userID.Load()
	case *tg.InputPeerUser:
		return p.UserID
	case *tg.InputPeerUserFromMessage:
		return p.UserID
	case *tg.InputPeerChat:
		return -p.ChatID
	case *tg.InputPeerChannel:
		return channels - p.ChannelID
	case *tg.InputPeerChannelFromMessage:
		return channels - p.ChannelID
	}
	return 0
}

// unwrapped is the call inside of invokeWithTakeout and its like.
func unwrapped(in bin.Encoder) bin.Encoder {
	for {
		w, ok := in.(interface{ GetQuery() bin.Object })
		if !ok || w.GetQuery() == nil {
			return in
		}
		in = w.GetQuery()
	}
}

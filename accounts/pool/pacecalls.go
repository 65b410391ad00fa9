package pool

import (
	"context"
	"time"

	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/batching"
)

// tollKind is what pacing takes a method for.
type tollKind byte

const (
	tollCall     tollKind = iota // like any other
	tollMessage                  // sends, forwards or edits messages
	tollQuestion                 // about a username, a phone or an invite
	tollFree                     // not paced
)

// tolls are the methods that are more than a call. Parts of files are free, as a file
// is one thing however many it has; and so is what a connection begins with.
var tolls = map[string]tollKind{
	"ephemeral.sendMessage":               tollMessage,
	"messages.editInlineBotMessage":       tollMessage,
	"messages.editMessage":                tollMessage,
	"messages.forwardMessages":            tollMessage,
	"messages.sendEncrypted":              tollMessage,
	"messages.sendEncryptedFile":          tollMessage,
	"messages.sendEncryptedService":       tollMessage,
	"messages.sendInlineBotResult":        tollMessage,
	"messages.sendMedia":                  tollMessage,
	"messages.sendMessage":                tollMessage,
	"messages.sendMultiMedia":             tollMessage,
	"messages.sendQuickReplyMessages":     tollMessage,
	"messages.sendScheduledMessages":      tollMessage,
	"messages.sendScreenshotNotification": tollMessage,
	"messages.startBot":                   tollMessage,

	"contacts.resolvePhone":    tollQuestion,
	"contacts.resolveUsername": tollQuestion,
	"contacts.search":          tollQuestion,
	"messages.checkChatInvite": tollQuestion,

	"auth.exportAuthorization": tollFree,
	"upload.getFile":           tollFree,
	"upload.saveBigFilePart":   tollFree,
	"upload.saveFilePart":      tollFree,
}

// toll is a call as pacing sees it.
type toll struct {
	kind tollKind
	n    int   // messages
	to   int64 // their chat, as the Bot API numbers peers; 0: none, or Saved Messages
}

func (c *Conn) tollOf(r request) toll {
	t := toll{kind: tolls[r.method]}
	if t.kind != tollMessage {
		return t
	}
	in := unwrapped(r.in)
	switch in := in.(type) {
	case interface{ GetPeer() tg.InputPeerClass }:
		t.to = c.chat(in.GetPeer())
	case interface{ GetToPeer() tg.InputPeerClass }: // a forward
		t.to = c.chat(in.GetToPeer())
	}
	if t.to == c.userID.Load() {
		t.to = 0
	}
	switch in := in.(type) {
	case *tg.MessagesForwardMessagesRequest:
		t.n = len(in.ID)
	case *tg.MessagesSendMultiMediaRequest:
		t.n = len(in.MultiMedia)
	case *tg.MessagesSendQuickReplyMessagesRequest:
		t.n = len(in.ID)
	case *tg.MessagesSendScheduledMessagesRequest:
		t.n = len(in.ID)
	}
	t.n = max(t.n, 1)
	return t
}

// paceBy is until when a call that begins now may wait for its turn; zero if the
// account has no limits.
func (c *Conn) paceBy() (by time.Time) {
	if c.pacer.Load() != nil {
		by = time.Now().Add(paceWait)
	}
	return by
}

// keepPace returns when the call may leave: at once, or by then at the latest. The zero
// time is paceBy. The error is a *accounts.PacedError if that is too early.
func (c *Conn) keepPace(ctx context.Context, r request, by time.Time) error {
	p := c.pacer.Load()
	if p == nil {
		return nil
	}
	if by.IsZero() {
		by = time.Now().Add(paceWait)
	}
	return p.pass(ctx, c.tollOf(r), by, true)
}

// sendPaced makes calls leave as their pace lets them: together those that need not
// wait, and then one by one for a while. Those that do not leave have an error.
// In no order, none waits for one before it whose chat has to.
func (l *link) sendPaced(ctx context.Context, p *pacer, rs []request, errs []error, ordered bool) {
	c, by := l.at.conn, time.Now().Add(paceWait)
	if len(rs) > 1 {
		by = time.Now().Add(pacedTogether)
	}
	var now []*batching.Call
	var later []int
	for i, r := range rs {
		switch {
		case errs[i] != nil:
		case ordered && len(later) > 0, !p.try(c.tollOf(r)):
			later = append(later, i)
		default:
			now = append(now, r.call)
		}
	}
	if len(now) > 0 {
		l.conn.Send(now...)
	}
	var why error
	for _, i := range later {
		if ordered && why != nil {
			errs[i] = ErrNotRun
			continue
		}
		err := p.pass(ctx, c.tollOf(rs[i]), by, why == nil)
		if err == nil {
			err = c.stillAllowed(rs[i]) // it may have waited
		}
		if errs[i] = err; err == nil {
			l.conn.Send(rs[i].call)
		} else {
			why = err
		}
	}
}

// setPace has the account's own pace count from now on, with nothing taken from it yet.
func (c *Conn) setPace(own accounts.Pace) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pace = own
	c.pacer.Store(newPacer(c.account.ID, c.pool.cfg.pace(c.account.Kind, own), &c.pool.paced))
}

// renewPaces asks for the paces of accounts, if that was not done just now. It never
// fails: those that are known go on.
func (p *Pool) renewPaces(ctx context.Context) {
	now, last := time.Now().UnixNano(), p.pacesAt.Load()
	if now-last < int64(p.cfg.PacesEvery) || !p.pacesAt.CompareAndSwap(last, now) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	paces, err := p.registry.Paces(ctx)
	if err != nil {
		p.log.Warn("the paces of accounts cannot be read; those that are known count", "error", err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, c := range p.conns {
		c.mu.Lock()
		changed := c.pace != paces[id]
		c.mu.Unlock()
		if changed {
			c.setPace(paces[id])
			p.log.Info("the account's pace has changed", "account", id, "pace", paces[id].String())
		}
	}
}

// pace is what counts for an account.
func (c Config) pace(k accounts.Kind, own accounts.Pace) accounts.Pace {
	ofKind := c.PaceUsers
	if k == accounts.Bot {
		ofKind = c.PaceBots
	}
	return own.Or(ofKind).Or(accounts.DefaultPace(k))
}

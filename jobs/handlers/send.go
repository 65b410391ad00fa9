package handlers

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/telegram/message/entity"
	"github.com/gotd/td/telegram/message/html"
	"github.com/gotd/td/telegram/message/markdown"
	"github.com/gotd/td/telegram/message/styling"
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/pool"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/peers"
	"github.com/tgswitchboard/switchboard/peers/resolver"
)

// send looks up what it needs by inv, and sends by last.
func (h *Handlers) send(ctx context.Context, j *job, a accounts.Account, inv, last tg.Invoker) (any, error) {
	m, err := h.message(ctx, a, h.asking(a, inv, j.envelope.Send.SearchDialogs), j.envelope.Send, randomID(j.id))
	if err != nil {
		return nil, err
	}
	var c call = m
	answer := c.answer()
	if err := last.Invoke(ctx, c.request(), answer); err != nil {
		if c, err = c.anew(ctx, h.askingAgain(a, inv), err); err != nil {
			return nil, err
		}
		answer = c.answer()
		if err := last.Invoke(ctx, c.request(), answer); err != nil {
			return nil, err
		}
	}
	return c.result(answer)
}

// message is a send that is ready to leave.
type message struct {
	req     *tg.MessagesSendMessageRequest
	ref     peers.Ref // as the producer wrote the peer
	to      resolver.Found
	account accounts.ID
}

// message makes the request of a send.
func (h *Handlers) message(ctx context.Context, a accounts.Account, look find, send *jobs.Send, random int64) (message, error) {
	to, err := peers.Parse(send.To)
	if err != nil {
		return message{}, jobs.InvalidPeer("send.to", err)
	}
	found, err := look(ctx, to)
	if err != nil {
		return message{}, err
	}
	text, entities, err := styled(ctx, look, send)
	if err != nil {
		return message{}, err
	}
	req := &tg.MessagesSendMessageRequest{
		Peer:     found.Input(),
		Message:  text,
		Silent:   send.Silent,
		RandomID: random,
	}
	if len(entities) > 0 {
		req.SetEntities(entities)
	}
	if send.ReplyTo != 0 {
		req.SetReplyTo(&tg.InputReplyToMessage{ReplyToMsgID: send.ReplyTo})
	}
	return message{req: req, ref: to, to: found, account: a.ID}, nil
}

func (m message) request() bin.Encoder   { return m.req }
func (m message) answer() bin.Decoder    { return &tg.UpdatesBox{} }
func (m message) failed(err error) error { return err }
func (m message) once() bool             { return false }

func (m message) result(answer bin.Decoder) (any, error) {
	id, date, err := sent(answer.(*tg.UpdatesBox).Updates, m.req.RandomID)
	if err != nil {
		return nil, err
	}
	return jobs.SendResult{MessageID: id, Date: int64(date), Peer: m.to.Ref(m.account).String()}, nil
}

func (m message) anew(ctx context.Context, look lookAgain, why error) (call, error) {
	to, err := look(ctx, m.ref, m.to, why)
	if err != nil {
		return nil, err
	}
	req := *m.req
	req.Peer = to.Input()
	return message{req: &req, ref: m.ref, to: to, account: m.account}, nil
}

// randomID is the message's identity at Telegram, which drops a second message
// with the same one. It depends on the job alone, so that a repeated run, on any
// worker, sends nothing twice. Source: core.telegram.org/method/messages.sendMessage.
func randomID(job string) int64 {
	sum := sha256.Sum256([]byte("switchboard random_id " + job))
	return int64(binary.BigEndian.Uint64(sum[:]) | 1) // 0 would be no id
}

// styled takes markup off a text.
func styled(ctx context.Context, look find, send *jobs.Send) (string, []tg.MessageEntityClass, error) {
	if send.Markup == "" {
		return send.Text, nil, nil
	}
	// A link to tg://user?id= mentions somebody.
	mention := func(id int64) (tg.InputUserClass, error) {
		found, err := look(ctx, peers.UserRef(id))
		if err != nil {
			return nil, err
		}
		return found.InputUser(), nil
	}
	option := html.String(mention, send.Text)
	if send.Markup == "markdown" {
		option = markdown.String(mention, send.Text)
	}
	var b entity.Builder
	if err := styling.Perform(&b, option); err != nil {
		var unknown *resolver.Error
		if errors.As(err, &unknown) {
			return "", nil, err
		}
		return "", nil, &jobs.FieldError{Path: "send.text", Message: fmt.Sprintf("is no %s: %v", send.Markup, err)}
	}
	text, entities := b.Complete()
	if strings.TrimSpace(text) == "" {
		return "", nil, &jobs.FieldError{Path: "send.text", Message: "is empty once its markup is taken off"}
	}
	if n := jobs.UTF16Len(text); n > jobs.MaxText {
		return "", nil, &jobs.FieldError{Path: "send.text", Message: fmt.Sprintf("has %d UTF-16 units without its markup; Telegram allows %d in one message, so split it", n, jobs.MaxText)}
	}
	return text, entities, nil
}

// sent finds the id and date of the message that was sent under a random_id.
func sent(us tg.UpdatesClass, random int64) (id, date int, err error) {
	switch us := us.(type) {
	case *tg.UpdateShortSentMessage:
		return us.ID, us.Date, nil
	case *tg.Updates:
		id, date = sentIn(us.Updates, random), us.Date
	case *tg.UpdatesCombined:
		id, date = sentIn(us.Updates, random), us.Date
	}
	if id == 0 {
		return 0, 0, fmt.Errorf("messages.sendMessage: %w: %T names no message with the random_id that was sent", pool.ErrBadAnswer, us)
	}
	return id, date, nil
}

func sentIn(us []tg.UpdateClass, random int64) int {
	for _, u := range us {
		if u, ok := u.(*tg.UpdateMessageID); ok && u.RandomID == random {
			return u.ID
		}
	}
	return 0
}

package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
)

const (
	// overlap is how much later than others an outcome may be recorded that finished
	// before them and still is found by who goes on at a place behind it.
	overlap = time.Minute
	// sentMemory is how many of the last outcomes a stream does not send twice.
	sentMemory = 4096
	streamPage = 500
	keyCheck   = time.Second // a stream of a revoked key ends so soon
)

type streamInput struct {
	Account string `query:"account" required:"true" doc:"the account"`
	Last    string `header:"Last-Event-ID" doc:"Go on behind this event. Browsers send it themselves."`
}

// stream is one client that follows an account.
type stream struct {
	g       *Gateway
	visit   *visit
	account accounts.ID
	w       io.Writer
	rc      *http.ResponseController

	place Place           // of the last event, or where the client wants to go on
	sent  map[string]bool // by event id
	order []string        // what is in sent, the oldest first
}

// streamOutcomes sends the outcomes of an account as server-sent events.
func (g *Gateway) streamOutcomes(ctx context.Context, in *streamInput) (*huma.StreamResponse, error) {
	v := visitOf(ctx)
	account, err := accounts.ParseID(in.Account)
	if err != nil {
		return nil, at(http.StatusUnprocessableEntity, "query.account", "%v", err)
	}
	if !v.Sees(account) {
		return nil, at(http.StatusForbidden, "query.account", "the key is not for account %q", account)
	}
	place, err := ParsePlace(in.Last)
	if err != nil {
		return nil, at(http.StatusUnprocessableEntity, "header.Last-Event-ID", "%v", err)
	}
	v.about(account)
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		r, w := humago.Unwrap(hctx)
		s := &stream{g: g, visit: v, account: account, w: w, rc: http.NewResponseController(w), place: place, sent: map[string]bool{}}
		if place.IsZero() {
			s.place = Place{Finished: time.Now(), ID: "0"}
		}
		h := w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Accel-Buffering", "no") // nginx would keep events back
		w.WriteHeader(http.StatusOK)
		if err := s.run(r.Context(), !place.IsZero()); err != nil && r.Context().Err() == nil {
			g.cfg.Log.Warn("a stream ended", "account", account, "error", err)
		}
	}}, nil
}

// run sends events until the client goes, its key ends, or the gateway does. resume
// says that the client has had events before.
func (s *stream) run(ctx context.Context, resume bool) error {
	l := s.g.feed.add(s.account)
	defer s.g.feed.remove(l)
	alive, check := time.NewTicker(s.g.cfg.Alive), time.NewTicker(keyCheck)
	defer alive.Stop()
	defer check.Stop()
	// What the stream hears first is that outcomes are heard. Nothing was missed by a
	// client that is new.
	first := true
	for {
		var err error
		select {
		case <-l.resync:
			if !first || resume {
				err = s.catchUp(ctx)
			}
			if first && err == nil {
				err = s.write(": outcomes of %s follow\nretry: 1000\n\n", s.account)
			}
			first = false
		case id := <-l.ids:
			err = s.tell(ctx, id)
		case <-alive.C:
			err = s.write(": alive\n\n")
		case <-check.C:
			if s.g.keys != nil && !s.g.keys.valid(s.visit.caller) {
				return nil
			}
		case <-s.g.draining.Done():
			return nil
		case <-ctx.Done():
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// tell sends the outcome of a job that was heard of, if it is one of this Redis: what is
// published is heard in all its databases.
func (s *stream) tell(ctx context.Context, id string) error {
	r, err := s.g.client.GetOn(ctx, s.account, id)
	switch {
	case errors.Is(err, jobs.ErrNotFound):
		return nil
	case err != nil:
		return err
	case !r.State.Final() || r.Account != s.account: // it is run again already
		return nil
	}
	if r.ResultOmitted && s.g.ledger != nil {
		if whole, err := s.g.ledger.Outcome(ctx, id); err == nil {
			r = whole
		}
	}
	return s.send(r)
}

// catchUp sends what is in the ledger behind the last event. Outcomes are not recorded
// in the order in which they finish, so it begins a little before it.
func (s *stream) catchUp(ctx context.Context) error {
	if s.g.ledger == nil {
		return s.write("event: gap\ndata: {\"detail\":\"outcomes may have been missed; this gateway runs without the database that has them\"}\n\n")
	}
	last := s.place
	s.remember(last.String())
	for from := (Place{Finished: last.Finished.Add(-overlap), ID: "0"}); ; {
		page, err := s.g.ledger.Since(ctx, s.account, from, streamPage)
		if err != nil {
			return err
		}
		for _, r := range page {
			if err := s.send(r); err != nil {
				return err
			}
		}
		if len(page) < streamPage {
			return nil
		}
		from = placeOf(page[len(page)-1])
	}
}

// remember notes an event id, and tells whether it is new.
func (s *stream) remember(event string) bool {
	if s.sent[event] {
		return false
	}
	if len(s.order) >= sentMemory {
		delete(s.sent, s.order[0])
		s.order = s.order[1:]
	}
	s.sent[event], s.order = true, append(s.order, event)
	return true
}

// send sends an outcome that was not sent before.
func (s *stream) send(r jobs.Result) error {
	place := placeOf(r)
	if !s.remember(place.String()) {
		return nil
	}
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := s.write("id: %s\nevent: outcome\ndata: %s\n\n", place, data); err != nil {
		return err
	}
	if place.Finished.After(s.place.Finished) {
		s.place = place
	}
	return nil
}

func (s *stream) write(format string, args ...any) error {
	if err := s.rc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(s.w, format, args...); err != nil {
		return err
	}
	return s.rc.Flush()
}

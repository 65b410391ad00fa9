package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/peers"
	"github.com/tgswitchboard/switchboard/peers/resolver"
)

// errCancelled: the producer does not want the job any more.
var errCancelled = errors.New("the job was cancelled while it ran")

// errLong: the task's time is nearly over. The job is given back between two pages,
// rather than in the middle of one, which asynq would count.
var errLong = errors.New("the walk goes on in another run")

// lastPage is how much of a task's time is left for one more page.
const lastPage = time.Minute

// tellLimit is for one question or message to Redis between two pages. A walk does
// not depend on it.
const tellLimit = 2 * time.Second

// walk is how far a sync has come. It belongs to the goroutine that runs the job. A
// nil walk is of a job that is no sync.
type walk struct {
	walked
	says jobs.Result // what of its progress is the same for this run

	pages   int // of this run
	unsaved bool
	stored  bool // the store has some
	savedAt time.Time
	toldAt  time.Time
}

// walked is what the store keeps.
type walked struct {
	Kind  peers.Kind      `json:"kind,omitempty"` // whose list it is, with ID
	ID    int64           `json:"id,omitempty"`
	Ref   string          `json:"ref,omitempty"`
	At    resolver.Cursor `json:"at"`
	Items int             `json:"items"`
	Total int             `json:"total"`
	Peers sketch          `json:"peers"`
	Done  bool            `json:"done,omitempty"`
}

// resumeWalk finds out how far earlier runs of a sync came.
func (h *Handlers) resumeWalk(ctx context.Context, j *job) error {
	text, err := patiently(ctx, h, j, "read how far the sync came", func(ctx context.Context) (json.RawMessage, error) {
		return h.Cursors.Load(ctx, j.id)
	})
	if err != nil {
		return err
	}
	j.walk = &walk{stored: text != nil, savedAt: time.Now()}
	if text == nil {
		return nil
	}
	if err := json.Unmarshal(text, &j.walk.walked); err != nil {
		h.Log.Warn("how far a sync came cannot be read; it begins again", "job_id", j.id, "account", j.lease.Account, "error", err)
		j.walk.walked = walked{}
	}
	return nil
}

// sync asks for page after page. Its error is that of a page; what came before is in
// j.walk.
func (h *Handlers) sync(ctx context.Context, j *job, a accounts.Account, inv tg.Invoker) (any, error) {
	want, w := j.envelope.Sync, j.walk
	list := resolver.Walk{What: want.What}
	if want.Of != "" {
		of, err := h.whose(ctx, j, a, inv)
		if err != nil {
			return nil, err
		}
		list.Of = of
	}
	for {
		if w.over(want) {
			return w.result(want), nil
		}
		page, err := h.Resolver.Page(ctx, a, inv, list, w.At, w.left(want))
		if err != nil {
			return nil, err
		}
		w.add(page)
		if w.over(want) {
			continue
		}
		if err := h.between(ctx, j); err != nil {
			return nil, err
		}
	}
}

// whose finds the peer whose list it is. A walk that has begun stays with its peer,
// whoever has the name by now.
func (h *Handlers) whose(ctx context.Context, j *job, a accounts.Account, inv tg.Invoker) (resolver.Found, error) {
	w := j.walk
	ref, err := peers.Parse(j.envelope.Sync.Of)
	if err != nil {
		return resolver.Found{}, jobs.InvalidPeer("sync.of", err)
	}
	begun := peers.Key{Kind: w.Kind, ID: w.ID}
	if _, byID := ref.Peer().Key(); !byID && ref.Form() != peers.FormSelf && begun.Valid() {
		f, err := h.Resolver.Resolve(ctx, a, inv, begun.Ref(), resolver.Ask{})
		if !errors.Is(err, peers.ErrUnknown) {
			return f, err
		}
	}
	f, err := h.Resolver.Resolve(ctx, a, inv, ref, resolver.Ask{})
	if err != nil {
		return f, err
	}
	if f.Key != begun {
		w.walked = walked{Kind: f.Kind, ID: f.ID}
	}
	w.Ref = f.Ref(a.ID).String()
	return f, nil
}

// between is what has to be done after a page that is not the last. What it stores
// it stores before the next page is asked for.
func (h *Handlers) between(ctx context.Context, j *job) error {
	w := j.walk
	switch {
	case !j.lease.Valid():
		return accounts.ErrLeaseLost
	case ctx.Err() != nil:
		return ctx.Err() // keep stores the cursor
	}
	if end, ok := ctx.Deadline(); ok && time.Until(end) < lastPage {
		return errLong
	}
	if time.Since(w.savedAt) >= h.cfg.TellEvery {
		if err := h.saveWalk(ctx, j); err != nil {
			return err
		}
	}
	if time.Since(w.toldAt) >= h.cfg.TellEvery {
		w.toldAt = time.Now()
		h.tell(ctx, j)
	}
	return h.wanted(ctx, j)
}

// tell publishes how far the sync has come. It is not tried again: there will be
// news.
func (h *Handlers) tell(ctx context.Context, j *job) {
	ctx, cancel := context.WithTimeout(ctx, tellLimit)
	defer cancel()
	r := j.walk.says
	r.Progress = j.walk.tally(j.envelope.Sync)
	if err := jobs.PublishProgress(ctx, h.Redis, r); err != nil {
		h.Log.Debug("progress not published", "job_id", j.id, "account", j.lease.Account, "error", err)
	}
}

// wanted returns errCancelled if the producer does not want the job any more.
func (h *Handlers) wanted(ctx context.Context, j *job) error {
	ctx, cancel := context.WithTimeout(ctx, tellLimit)
	defer cancel()
	cancelled, err := h.Cancels.Cancelled(ctx, j.lease.Account, j.id)
	if err != nil {
		h.Log.Debug("not known whether the job is cancelled", "job_id", j.id, "account", j.lease.Account, "error", err)
	}
	if cancelled {
		return errCancelled
	}
	return nil
}

// saveWalk stores how far the sync has come, also if its time is over.
func (h *Handlers) saveWalk(ctx context.Context, j *job) error {
	w := j.walk
	if !w.unsaved {
		return nil
	}
	text, err := json.Marshal(w.walked)
	if err != nil {
		return fmt.Errorf("job %s: write how far the sync came: %w", j.id, err)
	}
	w.stored = true // also after an error: perhaps
	err = h.change(ctx, j, "store how far the sync came", func(ctx context.Context) error {
		return h.Cursors.Save(ctx, j.lease, j.id, text)
	})
	if err != nil {
		return err
	}
	w.unsaved, w.savedAt = false, time.Now()
	return nil
}

func (w *walk) add(p resolver.Page) {
	w.At, w.Items, w.Total, w.Done = p.Next, w.Items+p.Items, p.Total, p.Done
	for _, k := range p.Peers {
		w.Peers.add(k)
	}
	w.pages++
	w.unsaved = true
}

// moved tells whether this run has brought something.
func (w *walk) moved() bool { return w != nil && w.pages > 0 }

// over tells whether there is nothing more to ask for.
func (w *walk) over(want *jobs.Sync) bool {
	return w.Done || want.Limit > 0 && w.Items >= want.Limit
}

// left is how many items are still wanted, 0 if all are.
func (w *walk) left(want *jobs.Sync) int {
	if want.Limit == 0 {
		return 0
	}
	return want.Limit - w.Items
}

func (w *walk) result(want *jobs.Sync) jobs.SyncResult {
	complete := w.Done
	switch {
	case want.What == jobs.SyncParticipants:
		complete = w.over(want) && w.Items >= w.Total // Telegram may keep some back
	case want.Limit > 0 && w.Items >= want.Limit:
		complete = w.Done || w.Items >= w.Total
	}
	return jobs.SyncResult{What: want.What, Of: w.Ref, Items: w.Items, Total: w.Total, Peers: w.Peers.count(), Complete: complete}
}

// partly is the result of a sync that ends on its way, nil if nothing has come.
func (w *walk) partly(want *jobs.Sync) json.RawMessage {
	if w.At.Seen == 0 && w.Items == 0 {
		return nil
	}
	r := w.result(want)
	r.Complete = false
	text, err := json.Marshal(r)
	if err != nil { // numbers and text
		return nil
	}
	return text
}

func (w *walk) tally(want *jobs.Sync) *jobs.Tally {
	t := jobs.Tally{Done: w.Items, Total: max(w.Total, w.Items)}
	if want.Limit > 0 {
		t.Total = min(t.Total, want.Limit)
	}
	return &t
}

// inStore tells whether the store may have something to forget.
func (w *walk) inStore() bool { return w != nil && w.stored }

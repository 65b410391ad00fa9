package gateway

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/raw"
)

type enqueueInput struct {
	Key   string `header:"Idempotency-Key" doc:"The same key with the same body is the same job: it is made once. With many jobs each gets the key, a slash and its number. It belongs to the account, as a job's own idempotency_key does."`
	Force bool   `query:"force" doc:"Take jobs for accounts that are not known."`

	w http.ResponseWriter
	r *http.Request
}

// Resolve keeps the request: its body is read by the handler.
func (in *enqueueInput) Resolve(ctx huma.Context) []error {
	in.r, in.w = humago.Unwrap(ctx)
	return nil
}

// Accepted is a job that is on its account's line.
type Accepted struct {
	jobs.Job
	State jobs.State `json:"state,omitempty" doc:"pending, or scheduled; missing of a job that existed"`
}

// Placed is what became of one of many jobs.
type Placed struct {
	Status int       `json:"status" doc:"201 it is made, 200 it existed, or why not, as for a single job"`
	Job    *Accepted `json:"job,omitempty"`
	Error  *Problem  `json:"error,omitempty"`
}

// PlacedList is what became of many jobs, in their order.
type PlacedList struct {
	Jobs []Placed `json:"jobs"`
}

type enqueueOutput struct {
	Status   int
	Location string `header:"Location"`
	Replayed string `header:"Idempotent-Replayed"`
	Body     any
}

// postJobs takes one job, or many.
func (g *Gateway) postJobs(ctx context.Context, in *enqueueInput) (*enqueueOutput, error) {
	v := visitOf(ctx)
	body, p := g.readBody(in.w, in.r)
	if p != nil {
		return nil, p
	}
	orders, many, p := decode(body)
	if p == nil {
		p = in.applyKey(orders, many)
	}
	if p == nil {
		p = v.take(len(orders)-1, time.Now())
	}
	if p != nil {
		return nil, p
	}
	placed := g.place(ctx, v, orders, in.Force)
	if many {
		if first := placed[0].Error; first != nil && first.Status == http.StatusServiceUnavailable && noneMade(placed) {
			return nil, first
		}
		return &enqueueOutput{Status: http.StatusMultiStatus, Body: PlacedList{placed}}, nil
	}
	one := placed[0]
	if one.Error != nil {
		return nil, one.Error
	}
	out := &enqueueOutput{Status: one.Status, Location: "/v1/jobs/" + one.Job.ID, Body: one.Job}
	if one.Job.Existing {
		out.Replayed = "true"
	}
	return out, nil
}

func noneMade(placed []Placed) bool {
	for _, p := range placed {
		if p.Error == nil {
			return false
		}
	}
	return true
}

// applyKey gives the header's key to jobs that have none of their own.
func (in *enqueueInput) applyKey(orders []*order, many bool) *Problem {
	if len(in.r.Header.Values("Idempotency-Key")) == 0 {
		return nil
	}
	key, p := idempotencyKey(in.Key)
	if p != nil {
		return p
	}
	for i, o := range orders {
		switch {
		case many && o.IdempotencyKey == "":
			o.IdempotencyKey = key + "/" + strconv.Itoa(i)
		case many:
		case o.IdempotencyKey != "" && o.IdempotencyKey != key:
			return at(http.StatusUnprocessableEntity, "body.idempotency_key", "is not that of the header Idempotency-Key; give one of them")
		default:
			o.IdempotencyKey = key
		}
	}
	return nil
}

// readBody reads JSON within the limits of size and time.
func (g *Gateway) readBody(w http.ResponseWriter, r *http.Request) ([]byte, *Problem) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, at(http.StatusUnsupportedMediaType, "header.Content-Type", "is %.60q; send application/json", r.Header.Get("Content-Type"))
	}
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return nil, at(http.StatusUnsupportedMediaType, "header.Content-Encoding", "is %.60q; send the body as it is", enc)
	}
	if r.ContentLength > g.cfg.MaxBody {
		return nil, g.tooLarge()
	}
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(g.cfg.BodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, g.cfg.MaxBody))
	_ = rc.SetReadDeadline(time.Time{})
	var large *http.MaxBytesError
	switch {
	case err == nil:
		return body, nil
	case errors.As(err, &large):
		return nil, g.tooLarge()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, at(http.StatusRequestTimeout, "body", "did not arrive within %v; send it faster, or less of it", g.cfg.BodyTimeout).with("Connection", "close")
	}
	return nil, at(http.StatusBadRequest, "body", "ended early")
}

func (g *Gateway) tooLarge() *Problem {
	return at(http.StatusRequestEntityTooLarge, "body", "has more than %d bytes; send fewer jobs in one request", g.cfg.MaxBody).with("Connection", "close")
}

// place puts orders on their accounts' lines, those that are right, and tells of each.
func (g *Gateway) place(ctx context.Context, v *visit, orders []*order, force bool) []Placed {
	for _, o := range orders {
		if o.problem == nil {
			o.problem = g.webhook(v, o)
		}
		if o.problem == nil {
			o.problem = g.check(v, o)
		}
	}
	if !force {
		g.checkAccounts(ctx, orders)
	}
	ours, err := g.claimKeys(ctx, orders)
	if err != nil {
		p := g.failed(ctx, err)
		for _, o := range orders {
			if o.problem == nil {
				o.problem = p
			}
		}
	}
	placed := make([]Placed, len(orders))
	g.enqueueAll(ctx, orders, placed, ours)
	for i, o := range orders {
		if p := &placed[i]; o.problem != nil {
			p.Status, p.Error = o.problem.Status, o.problem
		} else {
			g.placed.Set(p.Job.ID, o.Account)
			v.about(o.Account, p.Job.ID)
		}
	}
	return placed
}

// enqueueAll enqueues orders without a problem, in their order.
func (g *Gateway) enqueueAll(ctx context.Context, orders []*order, placed []Placed, ours map[*order]string) {
	var good []int
	for i, o := range orders {
		if o.problem == nil {
			good = append(good, i)
		}
	}
	items := func(yield func(jobs.Item) bool) {
		for _, i := range good {
			if !yield(jobs.Item{Envelope: orders[i].Envelope, Options: []jobs.Option{jobs.At(orders[i].at)}}) {
				return
			}
		}
	}
	n := 0
	last := jobs.ErrUnavailable // of what was not even tried
	for job, err := range g.client.EnqueueMany(ctx, items) {
		o := orders[good[n]]
		if err == nil {
			placed[good[n]] = accepted(job, o)
		} else {
			last = err
			o.problem = g.refused(ctx, o, err)
			if key := ours[o]; key != "" && errors.Is(err, jobs.ErrConflict) {
				g.release(ctx, key)
			}
		}
		n++
	}
	for _, i := range good[n:] {
		orders[i].problem = g.refused(ctx, orders[i], last)
	}
}

func accepted(job jobs.Job, o *order) Placed {
	a := &Accepted{Job: job}
	switch {
	case job.Existing:
		return Placed{Status: http.StatusOK, Job: a}
	case o.at.After(time.Now()):
		a.State = jobs.Scheduled
	default:
		a.State = jobs.Pending
	}
	return Placed{Status: http.StatusCreated, Job: a}
}

// refused is failed for one order, which knows its place.
func (g *Gateway) refused(ctx context.Context, o *order, err error) *Problem {
	var f *jobs.FieldError
	if errors.As(err, &f) {
		return field(o.where, f)
	}
	p := g.failed(ctx, err)
	if p.Status == http.StatusConflict {
		p.Errors = []Fault{{Location: join(o.where, "idempotency_key"), Message: p.Detail}}
	}
	return p
}

// check tells whether an order is right, and the key's to give.
func (g *Gateway) check(v *visit, o *order) *Problem {
	var f *jobs.FieldError
	if err := o.Validate(); errors.As(err, &f) {
		return field(o.where, f)
	}
	if !v.Sees(o.Account) {
		return at(http.StatusForbidden, join(o.where, "account"), "the key is not for account %q; it is for %s", o.Account, strings.Join(v.Accounts, ", "))
	}
	if p := v.checkKind(o.where, o.Kind()); p != nil {
		return p
	}
	if o.Invoke != nil {
		return g.checkCall(v, o.where, o.Account, o.Invoke)
	}
	if o.Batch == nil {
		return nil
	}
	for i, c := range o.Batch.Calls {
		where := join(o.where, "batch.calls["+strconv.Itoa(i)+"]")
		p := v.checkKind(where, c.Kind())
		if p == nil && c.Invoke != nil {
			p = g.checkCall(v, where, o.Account, c.Invoke)
		}
		if p != nil {
			return p
		}
	}
	return nil
}

func (v *visit) checkKind(where string, k jobs.Kind) *Problem {
	if v.AllowsKind(k) {
		return nil
	}
	return at(http.StatusForbidden, join(where, string(k)), "the key is not for jobs of kind %s", k)
}

// checkCall checks a raw call, and those that are wrapped in it.
func (g *Gateway) checkCall(v *visit, where string, account accounts.ID, call *jobs.Invoke) *Problem {
	if !v.AllowsMethod(call.Method) {
		return forbidden(where, call.Method)
	}
	req, err := raw.Read(call, account, g.cfg.Allowed)
	var f *jobs.FieldError
	if errors.As(err, &f) {
		return field(where, f)
	}
	if err != nil {
		return at(http.StatusUnprocessableEntity, join(where, "invoke"), "%v", err)
	}
	for _, method := range req.Wrapped {
		if !v.AllowsMethod(method) {
			return forbidden(where, method)
		}
	}
	return nil
}

func forbidden(where, method string) *Problem {
	return at(http.StatusForbidden, join(where, "invoke.method"), "the key is not for the raw method %.100q", method)
}

// checkAccounts refuses orders for accounts that are not there.
func (g *Gateway) checkAccounts(ctx context.Context, orders []*order) {
	ids := map[accounts.ID]bool{}
	for _, o := range orders {
		if o.problem == nil {
			ids[o.Account] = true
		}
	}
	missing, err := g.known.missing(ctx, ids)
	for _, o := range orders {
		switch {
		case o.problem != nil:
		case err != nil:
			o.problem = g.failed(ctx, err)
		case missing[o.Account] != nil:
			o.problem = at(missing[o.Account].Status, join(o.where, "account"), "%s", missing[o.Account].Detail)
		}
	}
}

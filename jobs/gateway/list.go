package gateway

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
)

type listInput struct {
	Account string    `query:"account" doc:"jobs of this account alone"`
	State   string    `query:"state" enum:"running,pending,scheduled,waiting,blocked,succeeded,failed,unknown,cancelled" doc:"Jobs in this state alone. Without it: all that have no outcome."`
	Kind    jobs.Kind `query:"kind" enum:"send,resolve,batch,sync,invoke" doc:"outcomes of this kind of job alone"`
	Error   string    `query:"error" maxLength:"128" example:"FLOOD*" doc:"Outcomes with the error of this name alone; FLOOD* is all that begin so."`
	Since   time.Time `query:"since" doc:"outcomes of that time or later"`
	Until   time.Time `query:"until" doc:"outcomes before that time"`
	Limit   int       `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"so many jobs at most"`
	Cursor  string    `query:"cursor" doc:"The page behind this place among outcomes: next of the page before."`
}

// JobList is a page of jobs.
type JobList struct {
	Jobs []jobs.Result `json:"jobs"`
	Next string        `json:"next,omitempty" doc:"cursor of the next page; missing if there is none. A page may have fewer jobs than the limit, or none, and still have a next one"`
}

type listOutput struct{ Body JobList }

// listJobs lists jobs on lines, or outcomes in the ledger.
func (g *Gateway) listJobs(ctx context.Context, in *listInput) (*listOutput, error) {
	v := visitOf(ctx)
	account := accounts.ID(in.Account)
	if account != "" {
		if _, err := accounts.ParseID(in.Account); err != nil {
			return nil, at(http.StatusUnprocessableEntity, "query.account", "%v", err)
		}
		if !v.Sees(account) {
			return nil, at(http.StatusForbidden, "query.account", "the key is not for account %q", account)
		}
	}
	place, err := ParsePlace(in.Cursor)
	if err != nil {
		return nil, at(http.StatusUnprocessableEntity, "query.cursor", "%v", err)
	}
	state := jobs.State(in.State)
	if state.Final() {
		return g.outcomes(ctx, v, Query{
			Account: account, States: []jobs.State{state}, Kind: in.Kind, Error: in.Error,
			Since: in.Since, Until: in.Until, Before: place, Limit: in.Limit,
		})
	}
	if only := in.onlyOutcomes(); only != "" {
		return nil, at(http.StatusUnprocessableEntity, "query."+only, "chooses among outcomes; give state with one of theirs: succeeded, failed, unknown or cancelled")
	}
	f := jobs.Filter{Account: account, Limit: in.Limit, Visible: v.Sees}
	if state != "" {
		f.States = []jobs.State{state}
	}
	found, err := g.client.List(ctx, f)
	if err != nil {
		return nil, g.failed(ctx, err)
	}
	return &listOutput{JobList{Jobs: found}}, nil
}

// onlyOutcomes names a parameter that was given and means nothing for jobs on lines.
func (in *listInput) onlyOutcomes() string {
	switch {
	case in.Kind != "":
		return "kind"
	case in.Error != "":
		return "error"
	case !in.Since.IsZero():
		return "since"
	case !in.Until.IsZero():
		return "until"
	case in.Cursor != "":
		return "cursor"
	}
	return ""
}

// outcomes lists a page from the ledger. Of a key that does not see all accounts, what
// is hidden is read over, a few pages at most.
func (g *Gateway) outcomes(ctx context.Context, v *visit, q Query) (*listOutput, error) {
	if g.ledger == nil {
		return nil, at(http.StatusUnprocessableEntity, "query.state", "is %q, but outcomes are in the database, which this gateway runs without", fmt.Sprint(q.States[0]))
	}
	const most = 5
	out := JobList{Jobs: []jobs.Result{}}
	for range most {
		page, next, err := g.ledger.Outcomes(ctx, q)
		if err != nil {
			return nil, g.failed(ctx, err)
		}
		for _, r := range page {
			if v.Sees(r.Account) {
				out.Jobs = append(out.Jobs, r)
			}
		}
		out.Next, q.Before = next.String(), next
		if next.IsZero() || len(out.Jobs) > 0 {
			break
		}
	}
	return &listOutput{out}, nil
}

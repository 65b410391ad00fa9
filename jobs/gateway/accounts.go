package gateway

import (
	"context"
	"net/http"
	"slices"

	"github.com/tgswitchboard/switchboard/accounts"
)

type accountsInput struct {
	After string `query:"after" doc:"accounts behind this name alone: next of the page before"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"so many accounts at most"`
}

// AccountList is a page of accounts, by name.
type AccountList struct {
	Accounts []Account   `json:"accounts"`
	Next     accounts.ID `json:"next,omitempty" doc:"where the next page begins; missing if there is none. A page may have fewer accounts than the limit, or none, and still have a next one"`
}

type accountsOutput struct{ Body AccountList }

// listAccounts lists accounts that the caller sees.
func (g *Gateway) listAccounts(ctx context.Context, in *accountsInput) (*accountsOutput, error) {
	v := visitOf(ctx)
	after := accounts.ID(in.After)
	if after != "" {
		if _, err := accounts.ParseID(in.After); err != nil {
			return nil, at(http.StatusUnprocessableEntity, "query.after", "%v", err)
		}
	}
	out := AccountList{Accounts: []Account{}}
	const most = 10 // pages of hidden accounts that are read over
	for range most {
		page, err := g.accountPage(ctx, after, in.Limit)
		if err != nil {
			return nil, g.failed(ctx, err)
		}
		for _, a := range page {
			if v.Sees(a.Name) {
				out.Accounts = append(out.Accounts, a)
			}
		}
		out.Next = ""
		if len(page) < in.Limit {
			break
		}
		after = page[len(page)-1].Name
		out.Next = after
		if len(out.Accounts) > 0 {
			break
		}
	}
	return &accountsOutput{out}, nil
}

// accountPage asks the ledger, or for the names that Redis knows.
func (g *Gateway) accountPage(ctx context.Context, after accounts.ID, limit int) ([]Account, error) {
	if g.ledger != nil {
		return g.ledger.Accounts(ctx, after, limit)
	}
	names, err := g.client.Served(ctx)
	if err != nil {
		return nil, err
	}
	from, found := slices.BinarySearch(names, after)
	if found {
		from++
	}
	var page []Account
	for _, name := range names[from:min(from+limit, len(names))] {
		page = append(page, Account{Name: name})
	}
	return page, nil
}

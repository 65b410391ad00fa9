package db

import (
	"context"
	"encoding/json"

	"github.com/tgswitchboard/switchboard/accounts"
)

const members = `SELECT id, labels, weight, capacity, registered_at, expires_at, {now} AS now
	FROM workers WHERE expires_at > {now} ORDER BY id`

// groups counts accounts that are not reserved by what makes their set (see setOf), and by the live worker
// that holds them. It reads all of both tables: 10,000 accounts take some milliseconds.
const groups = `SELECT a.status NOT IN ('active', 'restricted') AS parked, coalesce(a.labels, '') AS labels, coalesce(w.id, '') AS worker,
		count(*) AS accounts
	FROM accounts a LEFT JOIN leases l ON l.account = a.id LEFT JOIN workers w ON w.id = l.worker AND w.expires_at > {now}
	WHERE NOT ` + reservedNow + `
	GROUP BY 1, 2, 3 ORDER BY 1, 2, 3`

// Fleet looks at all live workers and accounts, for a worker or somebody else.
func (s *Leases) Fleet(ctx context.Context, who string) (accounts.Fleet, error) {
	f, err := s.fleet(ctx)
	return f, s.d.fail(ctx, "look at the fleet for "+who, err)
}

// Unserved counts, by labels, the accounts that are not parked and that no live worker
// holds or will take, and says why. It costs what each worker's look costs.
func (s *Leases) Unserved(ctx context.Context) ([]accounts.Unserved, error) {
	f, err := s.fleet(ctx)
	return f.Unserved(), s.d.fail(ctx, "look for unserved accounts", err)
}

func (s *Leases) fleet(ctx context.Context) (f accounts.Fleet, err error) {
	var ws []struct {
		ID, Labels       string
		Weight, Capacity int
		RegisteredAt     stamp
		ExpiresAt        stamp
		Now              stamp
	}
	if err := s.d.run(ctx).Raw(s.d.sql(members)).Scan(&ws).Error; err != nil {
		return f, err
	}
	for _, w := range ws {
		m := accounts.Member{
			Worker: accounts.Worker{ID: w.ID, Weight: w.Weight, Capacity: w.Capacity},
			Age:    w.Now.Sub(w.RegisteredAt.Time), Left: w.ExpiresAt.Sub(w.Now.Time),
		}
		if err := json.Unmarshal([]byte(w.Labels), &m.Labels); err != nil {
			return f, err
		}
		f.Members = append(f.Members, m)
	}
	var rows []struct {
		Parked         bool
		Labels, Worker string
		Accounts       int
	}
	if err := s.d.planned(ctx).Raw(s.d.sql(groups)).Scan(&rows).Error; err != nil {
		return f, err
	}
	for _, r := range rows {
		set := r.Labels
		if r.Parked {
			set = parkedSet + set
		}
		if n := len(f.Groups); n == 0 || f.Groups[n-1].Set != set {
			g := accounts.Group{Set: set, Parked: r.Parked, Held: map[string]int{}}
			if err := unmarshalLabels(r.Labels, &g.Labels); err != nil {
				return f, err
			}
			f.Groups = append(f.Groups, g)
		}
		g := &f.Groups[len(f.Groups)-1]
		if r.Worker == "" {
			g.Free = r.Accounts
		} else {
			g.Held[r.Worker] = r.Accounts
		}
	}
	return f, nil
}

// unmarshalLabels reads an account's labels as they are stored.
func unmarshalLabels(text string, ls *accounts.Labels) error {
	if text == "" {
		return nil
	}
	return json.Unmarshal([]byte(text), ls)
}

const holders = `SELECT l.account, l.worker FROM leases l JOIN workers w ON w.id = l.worker AND w.expires_at > {now}
	WHERE l.account BETWEEN ? AND ?`

// Holders tells which live workers hold the accounts between two names, both
// included.
func (s *Leases) Holders(ctx context.Context, from, to accounts.ID) (map[accounts.ID]string, error) {
	var rows []struct{ Account, Worker string }
	if err := s.d.planned(ctx).Raw(s.d.sql(holders), string(from), string(to)).Scan(&rows).Error; err != nil {
		return nil, s.d.fail(ctx, "look for the holders of accounts", err)
	}
	by := make(map[accounts.ID]string, len(rows))
	for _, r := range rows {
		by[accounts.ID(r.Account)] = r.Worker
	}
	return by, nil
}

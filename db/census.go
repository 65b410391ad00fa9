package db

import (
	"context"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
)

// Census counts the whole fleet.
type Census struct {
	Workers  int // with a heartbeat in time
	Accounts map[accounts.Status]int
}

const census = `SELECT status AS name, count(*) AS n FROM accounts GROUP BY status
	UNION ALL SELECT '', count(*) FROM workers WHERE expires_at > {now}`

// Census asks with one statement, which reads an index of accounts.
func (d *DB) Census(ctx context.Context) (Census, error) {
	var rows []struct {
		Name string
		N    int
	}
	if err := d.run(ctx).Raw(d.sql(census)).Scan(&rows).Error; err != nil {
		return Census{}, d.fail(ctx, "count accounts and workers", err)
	}
	c := Census{Accounts: map[accounts.Status]int{}}
	for _, r := range rows {
		if r.Name == "" {
			c.Workers = r.N
		} else {
			c.Accounts[accounts.Status(r.Name)] = r.N
		}
	}
	return c, nil
}

// Connections is a pool of connections to the database.
type Connections struct {
	Max         int // 0: no limit
	InUse, Idle int
	Waits       int64 // for a free one, so far
	WaitTime    time.Duration
}

// Connections describes the pool of connections to the database.
func (d *DB) Connections() Connections {
	s := d.pool.Stats()
	return Connections{Max: s.MaxOpenConnections, InUse: s.InUse, Idle: s.Idle, Waits: s.WaitCount, WaitTime: s.WaitDuration}
}

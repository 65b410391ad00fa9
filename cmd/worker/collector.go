package main

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/db"
)

// collector reads what the packages of a node count, when somebody asks.
type collector struct {
	node *node

	mu      sync.Mutex // guards below, and is held while the database is asked: one asks for all
	asked   time.Time
	fleet   fleetCount
	isThere bool // the database answered
}

// fleetCount is what the database says of the whole fleet.
type fleetCount struct {
	db.Census
	unserved int // accounts that are not parked and that nobody holds, nor will
}

var _ prometheus.Collector = (*collector)(nil)

func describe(metric, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name(metric), help, labels, nil)
}

var (
	descInFlight  = describe("jobs_in_flight", "Jobs between dequeue and acknowledgement.")
	descServed    = describe("accounts_served", "Accounts whose queues this worker serves.")
	descReady     = describe("accounts_ready", "Accounts with work that wait for their turn.")
	descRedisUp   = describe("redis_up", "1 while the queue can be reached.")
	descRedisTime = describe("redis_changed_timestamp_seconds", "Since when switchboard_redis_up is what it is.")

	descFloods    = describe("flood_waits_total", "Pauses that Telegram demanded.")
	descFloodTime = describe("flood_wait_seconds_total", "How long these pauses were, together.")
	descPaceWaits = describe("pace_waits_total", "Calls that waited in their slot for their account's pace.", "limit")
	descPaceTime  = describe("pace_wait_seconds_total", "How long these calls waited, together.", "limit")
	descPaceAway  = describe("pace_returns_total", "Calls that were put off to keep their account's pace.", "limit")
	descOpen      = describe("connections_open", "Connections to Telegram.")
	descConnects  = describe("connects_total", "Connections that became ready.")
	descConnFails = describe("connect_failures_total", "Connections that did not become ready.")

	descHeld      = describe("leases_held", "Accounts that this worker holds.")
	descParked    = describe("leases_parked", "Of these, accounts that are parked: no job of theirs is begun.")
	descClaimed   = describe("leases_claimed_total", "Leases that were claimed.")
	descReleased  = describe("leases_released_total", "Leases that were given back.")
	descLost      = describe("leases_lost_total", "Leases that were held when the heartbeat ran out.")
	descRenewals  = describe("lease_renewals_total", "Heartbeats.", "result")
	descRemaining = describe("lease_remaining_seconds", "Until all leases end if no heartbeat succeeds.")
	descWorkers   = describe("workers_live", "Workers of the fleet with a heartbeat in time.")
	descAccounts  = describe("accounts", "Accounts of the fleet.", "status")
	descUnserved  = describe("accounts_unserved", "Accounts that are not parked and that no worker's labels and capacity cover.")

	descResolves   = describe("resolves_total", "Peers that were found.", "source")
	descUnresolved = describe("resolve_failures_total", "Peers that were not found.")
	descRefusals   = describe("resolve_refusals_total", "Questions that an account's budget did not allow.")
	descLearned    = describe("peers_learned_total", "Peers in answers and updates.")
	descStored     = describe("peers_stored_total", "Peers that were news, and are stored.")
	descUnstored   = describe("peers_unstored_total", "Peers that were news, and were not stored.")
	descBacklog    = describe("harvest_backlog", "Answers with news that wait to be stored.")
	descLag        = describe("harvest_lag_seconds", "Age of the oldest news that are being stored.")

	descDeleted = describe("outcomes_deleted_total", "Outcomes that this worker deleted because of their age.")

	descOutbox     = describe("outbox_rows", "Jobs in the outbox at this worker's last look, 10000 at most.")
	descOutboxLag  = describe("outbox_lag_seconds", "How long the first of them had been there.")
	descRelayed    = describe("outbox_relayed_total", "Jobs that this worker took out of the outbox.")
	descOutboxDrop = describe("outbox_conflicts_total", "Of these, jobs whose idempotency key belonged to a different job; they are dropped.")

	descDBUp    = describe("database_up", "1 if the database answered the last question about the fleet.")
	descDBConns = describe("database_connections", "Connections to the database.", "state")
	descDBMax   = describe("database_connections_max", "Connections to the database at most; 0 is no limit.")
	descDBWaits = describe("database_waits_total", "Statements that waited for a free connection.")
	descDBTime  = describe("database_wait_seconds_total", "How long statements waited for a free connection.")
)

// Describe implements prometheus.Collector: all of Collect is checked as it comes.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	p := points{ch}
	c.work(p)
	c.leases(p)
	c.peers(p)
	c.database(p)
}

func (c *collector) work(p points) {
	d := c.node.dispatch.Stats()
	p.gauge(descInFlight, float64(d.InFlight))
	p.gauge(descServed, float64(d.Accounts))
	p.gauge(descReady, float64(d.Ready))
	p.gauge(descRedisUp, asFloat(d.RedisErr == nil))
	p.gauge(descRedisTime, float64(d.RedisSince.UnixMilli())/1e3)

	s := c.node.pool.Stats()
	p.count(descFloods, float64(s.Floods))
	p.count(descFloodTime, s.FloodTime.Seconds())
	for _, limit := range s.Paced {
		p.count(descPaceWaits, float64(limit.Waits), limit.Limit)
		p.count(descPaceTime, limit.WaitTime.Seconds(), limit.Limit)
		p.count(descPaceAway, float64(limit.SentAway), limit.Limit)
	}
	p.gauge(descOpen, float64(c.node.pool.Connected()))
	p.count(descConnects, float64(s.Connects))
	p.count(descConnFails, float64(s.ConnectFailures))
}

func (c *collector) leases(p points) {
	s := c.node.leases.Stats()
	p.gauge(descHeld, float64(s.Held))
	p.gauge(descParked, float64(s.Parked))
	p.gauge(descRemaining, s.Remaining.Seconds())
	p.count(descClaimed, float64(s.Claimed))
	p.count(descReleased, float64(s.Released))
	p.count(descLost, float64(s.Lost))
	p.count(descRenewals, float64(s.Renewals), "ok")
	p.count(descRenewals, float64(s.RenewFailures), "failed")
}

func (c *collector) peers(p points) {
	s := c.node.resolver.Stats()
	for source, n := range s.Resolved {
		p.count(descResolves, float64(n), source)
	}
	p.count(descUnresolved, float64(s.Failed))
	p.count(descRefusals, float64(s.Refused))
	p.count(descLearned, float64(s.Learned))
	p.count(descStored, float64(s.Stored))
	p.count(descUnstored, float64(s.Unstored))
	p.gauge(descBacklog, float64(s.Backlog))
	p.gauge(descLag, s.Lag.Seconds())
}

func (c *collector) database(p points) {
	p.count(descDeleted, float64(c.node.prunes.deleted.Load()))
	p.gauge(descOutbox, float64(c.node.relay.rows.Load()))
	p.gauge(descOutboxLag, time.Duration(c.node.relay.lag.Load()).Seconds())
	p.count(descRelayed, float64(c.node.relay.moved.Load()))
	p.count(descOutboxDrop, float64(c.node.relay.conflicts.Load()))
	s := c.node.db.Connections()
	p.gauge(descDBConns, float64(s.InUse), "in_use")
	p.gauge(descDBConns, float64(s.Idle), "idle")
	p.gauge(descDBMax, float64(s.Max))
	p.count(descDBWaits, float64(s.Waits))
	p.count(descDBTime, s.WaitTime.Seconds())

	fleet, ok := c.countFleet()
	p.gauge(descDBUp, asFloat(ok))
	if !ok {
		return // old figures would look like new ones
	}
	p.gauge(descWorkers, float64(fleet.Workers))
	p.gauge(descUnserved, float64(fleet.unserved))
	for _, status := range accounts.Statuses() { // also those that no account has
		p.gauge(descAccounts, float64(fleet.Accounts[status]), string(status))
	}
}

const (
	censusEvery   = 15 * time.Second
	censusTimeout = 3 * time.Second
)

// countFleet is at most censusEvery old.
func (c *collector) countFleet() (fleetCount, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.asked) < censusEvery {
		return c.fleet, c.isThere
	}
	ctx, cancel := context.WithTimeout(context.Background(), censusTimeout) // Collect has no context
	defer cancel()
	census, err := c.node.db.Census(ctx)
	count := fleetCount{Census: census}
	if err == nil {
		var unserved []accounts.Unserved
		unserved, err = c.node.db.Leases().Unserved(ctx)
		for _, u := range unserved {
			count.unserved += u.Accounts
		}
	}
	if err != nil {
		c.node.log.Debug("fleet not counted", "error", err)
	}
	c.fleet, c.isThere, c.asked = count, err == nil, time.Now()
	return c.fleet, c.isThere
}

// points is where values go.
type points struct{ ch chan<- prometheus.Metric }

func (p points) gauge(d *prometheus.Desc, v float64, labels ...string) {
	p.ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (p points) count(d *prometheus.Desc, v float64, labels ...string) {
	p.ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

func asFloat(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

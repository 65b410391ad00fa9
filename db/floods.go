package db

import (
	"context"
	"strings"
	"time"

	"github.com/tgswitchboard/switchboard/accounts"
)

// Floods keeps pauses that Telegram demanded, so that a successor respects them.
// They run on the database's clock: workers' clocks differ.
type Floods struct{ d *DB }

// Floods returns the store of flood waits.
func (d *DB) Floods() *Floods { return &Floods{d} }

// saveFlood is for both tables: {table} and {key}, the column beside the account.
const saveFlood = `INSERT INTO {table} (account, {key}, until, error) VALUES (@account, @key, {now+ttl}, @error )
	ON CONFLICT (account, {key}) DO UPDATE SET until = excluded.until, error = excluded.error WHERE excluded.until > {table}.until`

// SaveFlood stores a pause; of two for the same the later end counts. Pauses of the
// account that are over are forgotten.
func (s *Floods) SaveFlood(ctx context.Context, f accounts.Flood) error {
	op := "save flood wait of account " + string(f.Account) + " for " + f.What()
	table, column, key := "floods", "method", any(f.Method)
	if f.Chat != 0 {
		table, column, key = "chat_floods", "chat", f.Chat
	}
	names := strings.NewReplacer("{table}", table, "{key}", column)
	err := s.d.run(ctx).Exec(s.d.sql(names.Replace(saveFlood)), map[string]any{
		"account": string(f.Account), "key": key, "ttl": time.Until(f.Until).Microseconds(), "error": f.Error,
	}).Error
	if err != nil {
		return s.d.fail(ctx, op, err)
	}
	over := names.Replace("DELETE FROM {table} WHERE account = ? AND until <= ")
	err = s.d.run(ctx).Exec(over+s.d.now, string(f.Account)).Error
	return s.d.fail(ctx, op, err)
}

type floodRow struct {
	Account, Method, Error string
	Chat                   int64
	Remaining              int64 // microseconds
}

func (r floodRow) flood(now time.Time) accounts.Flood {
	return accounts.Flood{
		Account: accounts.ID(r.Account), Method: r.Method, Chat: r.Chat, Error: r.Error,
		Until: now.Add(time.Duration(r.Remaining) * time.Microsecond),
	}
}

// remaining is how long a pause still lasts, in microseconds.
func (d dialect) remaining() string {
	if d.lite {
		return "until - " + d.now
	}
	return "CAST(EXTRACT(EPOCH FROM until - " + d.now + ") * 1000000 AS bigint)"
}

// Floods returns the account's pauses that are not over: the account's own, then
// those of methods by name, then those of chats.
func (s *Floods) Floods(ctx context.Context, id accounts.ID) ([]accounts.Flood, error) {
	var rows []floodRow
	err := s.d.run(ctx).Raw(s.d.sql(`SELECT * FROM (
		SELECT account, method, 0 AS chat, error, `+s.d.remaining()+` AS remaining FROM floods WHERE account = @account AND until > {now}
		UNION ALL
		SELECT account, '', chat, error, `+s.d.remaining()+` FROM chat_floods WHERE account = @account AND until > {now}
	) AS f ORDER BY chat <> 0, method, chat`), map[string]any{"account": string(id)}).Scan(&rows).Error
	if err != nil {
		return nil, s.d.fail(ctx, "read flood waits of account "+string(id), err)
	}
	now := time.Now()
	var fs []accounts.Flood
	for _, r := range rows {
		fs = append(fs, r.flood(now))
	}
	return fs, nil
}

// Flooded returns, for accounts from the first name to the last, the pauses of whole
// accounts that are not over.
func (s *Floods) Flooded(ctx context.Context, first, last accounts.ID) (map[accounts.ID]accounts.Flood, error) {
	var rows []floodRow
	err := s.d.run(ctx).Raw(s.d.sql("SELECT account, error, "+s.d.remaining()+` AS remaining FROM floods
		WHERE account >= @first AND account <= @last AND method = '' AND until > {now}`),
		map[string]any{"first": string(first), "last": string(last)}).Scan(&rows).Error
	if err != nil {
		return nil, s.d.fail(ctx, "read which accounts are flooded", err)
	}
	now := time.Now()
	fs := make(map[accounts.ID]accounts.Flood, len(rows))
	for _, r := range rows {
		f := r.flood(now)
		fs[f.Account] = f
	}
	return fs, nil
}

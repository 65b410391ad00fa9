package db

import (
	"context"
	"fmt"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/tgswitchboard/switchboard/peers"
)

// refreshSeen is how much newer SeenAt has to be to be written on its own: it
// tells how fresh the names are, which expire after a day.
const refreshSeen = time.Hour

// SavePeers stores sightings in their order, by the rules of peers.Merge and of
// peers.Names, all or none of them. What changes nothing is not written, except for
// a SeenAt that is an hour newer. Sightings of accounts that do not exist, and of
// invalid keys, are left out.
//
// The sightings are put together first, then compared and merged with what is
// stored by the database, in Postgres by one statement.
func (s *Peers) SavePeers(ctx context.Context, seen []peers.Sighting) error {
	op := fmt.Sprintf("save %d sightings of peers", len(seen))
	rows, err := s.flush(seen)
	switch {
	case err != nil || rows == "":
	case s.d.lite:
		err = s.d.run(ctx).Transaction(func(tx *gorm.DB) error { return s.write(tx, rows) })
	default:
		err = s.write(s.d.planned(ctx), rows)
	}
	return s.d.fail(ctx, op, err)
}

// flush is sightings as the parameter of write; "" if there is nothing to write.
func (s *Peers) flush(seen []peers.Sighting) (rows string, err error) {
	b, err := fold(seen).batch(s.d.dialect)
	if err != nil || len(b.rows) == 0 {
		return "", err
	}
	return b.param()
}

// write stores a flush. In SQLite tx has to be a transaction.
func (s *Peers) write(tx *gorm.DB, rows string) error {
	for _, stmt := range s.save {
		if err := tx.Exec(stmt, map[string]any{"batch": rows}).Error; err != nil {
			return err
		}
	}
	return nil
}

// What peers.Merge takes from the row {new} over the row {old}. 8 is flagMin.
const (
	takesFacts = "(({new}.flags & 8) = 0 OR ({old}.flags & 8) <> 0)"
	takesHash  = "({new}.access_hash <> 0 AND (NOT {new}.is_min OR {old}.access_hash = 0 OR {old}.is_min))"
	takesSeen  = "(" + takesFacts + ` AND (coalesce({new}.seen_at > {old}.seen_at, {new}.seen_at IS NOT NULL)
			OR ({old}.flags & 8) <> ({new}.flags & 8)))`

	// differs tells whether that is worth a write.
	differs = "(" + takesFacts + ` AND ({new}.usernames <> {old}.usernames OR {new}.phone <> {old}.phone
			OR {new}.title <> {old}.title OR {new}.flags <> {old}.flags
			OR coalesce({new}.seen_at >= {old}.seen_at + {hour}, {new}.seen_at IS NOT NULL AND {old}.seen_at IS NULL))
		OR ` + takesHash + ` AND ({new}.access_hash <> {old}.access_hash OR {new}.is_min <> {old}.is_min)
		OR {new}.migrated_to <> 0 AND {new}.migrated_to <> {old}.migrated_to)`
)

// What the batch is compared with, and what has to be done. Every table is read by
// lookups of its primary key, before anything is written.
//
//   - seen are the batch's peers: had are the names listed before.
//   - claims are the batch's claims, each with the name's owner.
//   - A name is dropped if it has another owner than the one that may keep it, or if
//     its owner's full facts list it no longer and nobody takes it.
//   - The + keeps a planner without statistics from the index of conversations, each
//     of which may have thousands of peers.
const comparePeers = `WITH b AS MATERIALIZED (SELECT * FROM {batch} AS b),
	seen AS MATERIALIZED (
		SELECT b.*, p.id IS NULL AS is_new, p.id IS NULL OR {differs} AS differs, p.usernames AS had,
			{full b} OR (p.id IS NOT NULL AND {full p}) AS has_hash
		FROM b {stored} WHERE NOT b.claim
	), claims AS MATERIALIZED (
		SELECT b.account, b.name, b.kind, b.id, b.takes, u.kind AS owner_kind, u.id AS owner_id
		FROM b {owner} WHERE b.claim
	), names AS MATERIALIZED (
		SELECT account, name, kind, id FROM claims
		WHERE takes AND (owner_id IS NULL OR owner_kind <> kind OR owner_id <> id)
	), dropped_names AS MATERIALIZED (
		SELECT account, name, owner_kind AS kind, owner_id AS id FROM claims
		WHERE NOT takes AND owner_id IS NOT NULL AND (owner_kind <> kind OR owner_id <> id)
		UNION ALL
		SELECT u.account, u.username, u.kind, u.id FROM seen AS s {had} {own}
		WHERE s.had <> s.usernames AND (s.flags & 8) = 0
			AND NOT EXISTS (SELECT 1 FROM claims c WHERE c.account = s.account AND c.name = n.value AND c.takes)
	), messages AS MATERIALIZED (
		SELECT s.account, s.kind, s.id, {in_kind} AS in_kind, {in_id} AS in_id, {msg_id} AS msg_id
		FROM seen AS s {messages} {known}
		WHERE NOT s.has_hash AND (k.msg_id IS NULL OR k.msg_id <> {msg_id})
	), dropped_messages AS MATERIALIZED (
		SELECT k.account, k.kind, k.id, k.in_kind, k.in_id FROM seen AS s {all known}
		WHERE s.has_hash AND NOT s.is_new
	), owners AS MATERIALIZED ({owners})
	`

// lockedOwners are the accounts that get something to write. Each is locked, in
// their order, before its peers are written: so flushes cannot deadlock, and an
// account that is deleted meanwhile is left out.
const lockedOwners = `
		SELECT a.id FROM (SELECT DISTINCT account FROM (
			SELECT account FROM seen WHERE differs
			UNION ALL SELECT account FROM names
			UNION ALL SELECT account FROM dropped_names
			UNION ALL SELECT account FROM messages
			UNION ALL SELECT account FROM dropped_messages
		) AS w ORDER BY account) AS w
		CROSS JOIN LATERAL (SELECT id FROM accounts WHERE id = w.account FOR NO KEY UPDATE) AS a
	`

// The writes. No two of them touch the same row. In SQLite each sees what those before
// have done, so what all compare with, table peers, goes last.
var writePeers = []string{
	`DELETE FROM peer_usernames WHERE (account, username, kind, id) IN (
		SELECT d.account, d.name, d.kind, d.id FROM dropped_names AS d JOIN owners ON owners.id = d.account)`,
	`INSERT INTO peer_usernames (account, username, kind, id)
		SELECT n.account, n.name, n.kind, n.id FROM names AS n JOIN owners ON owners.id = n.account WHERE true
		ON CONFLICT (account, username) DO UPDATE SET kind = excluded.kind, id = excluded.id`,
	`DELETE FROM peer_messages WHERE (account, kind, id, +in_kind, +in_id) IN (
		SELECT d.account, d.kind, d.id, d.in_kind, d.in_id FROM dropped_messages AS d JOIN owners ON owners.id = d.account)`,
	`INSERT INTO peer_messages (account, kind, id, in_kind, in_id, msg_id)
		SELECT m.account, m.kind, m.id, m.in_kind, m.in_id, m.msg_id
		FROM messages AS m JOIN owners ON owners.id = m.account WHERE true
		ON CONFLICT (account, kind, id, in_kind, in_id) DO UPDATE SET msg_id = excluded.msg_id`,
	`INSERT INTO peers
		(account, kind, id, access_hash, is_min, migrated_to, usernames, phone, title, flags, seen_at)
		SELECT s.account, s.kind, s.id, s.access_hash, s.is_min, s.migrated_to, s.usernames, s.phone, s.title, s.flags, s.seen_at
		FROM seen AS s JOIN owners ON owners.id = s.account WHERE s.differs
		ON CONFLICT (account, kind, id) DO UPDATE SET
			access_hash = CASE WHEN ` + takesHash + ` THEN {new}.access_hash ELSE {old}.access_hash END,
			is_min = CASE WHEN ` + takesHash + ` THEN {new}.is_min ELSE {old}.is_min END,
			migrated_to = CASE WHEN {new}.migrated_to <> 0 THEN {new}.migrated_to ELSE {old}.migrated_to END,
			usernames = CASE WHEN ` + takesFacts + ` THEN {new}.usernames ELSE {old}.usernames END,
			phone = CASE WHEN ` + takesFacts + ` THEN {new}.phone ELSE {old}.phone END,
			title = CASE WHEN ` + takesFacts + ` THEN {new}.title ELSE {old}.title END,
			flags = CASE WHEN ` + takesFacts + ` THEN {new}.flags ELSE {old}.flags END,
			seen_at = CASE WHEN ` + takesSeen + ` THEN {new}.seen_at ELSE {old}.seen_at END
		WHERE ` + differs,
}

// savePeers are the statements of a flush, with one parameter: one in Postgres, whose
// parts see what was there before it. In SQLite each part is one, for a transaction.
func savePeers(d dialect) []string {
	hour, owners := "interval '1 hour'", lockedOwners
	field := func(i int, typ string) string { return fmt.Sprintf("CAST(m.value->>%d AS %s)", i, typ) }
	if d.lite {
		hour, owners = fmt.Sprint(refreshSeen.Microseconds()), "SELECT id FROM accounts"
	}
	merge := func(sql, old, new string) string {
		return strings.NewReplacer("{old}", old, "{new}", new, "{hour}", hour).Replace(sql)
	}
	key := "k.account = s.account AND k.kind = s.kind AND k.id = s.id"
	compare := strings.NewReplacer(
		"{batch}", peerBatch(d).from(),
		"{differs}", merge(differs, "p", "b"),
		"{full b}", of("b", fullHash), "{full p}", of("p", fullHash),
		"{stored}", d.maybe("peers", "p", "p.account = b.account AND p.kind = b.kind AND p.id = b.id"),
		"{owner}", d.maybe("peer_usernames", "u", "u.account = b.account AND u.username = b.name"),
		"{had}", d.texts("s.had", "n"),
		"{own}", d.lookup("peer_usernames", "u", "u.account = s.account AND u.username = n.value AND u.kind = s.kind AND u.id = s.id"),
		"{messages}", d.lists("s.messages", "m"),
		"{in_kind}", field(0, "smallint"), "{in_id}", field(1, "bigint"), "{msg_id}", field(2, "int"),
		"{known}", d.maybe("peer_messages", "k", key+" AND +k.in_kind = "+field(0, "smallint")+" AND +k.in_id = "+field(1, "bigint")),
		"{all known}", d.lookup("peer_messages", "k", key),
		"{owners}", owners,
	).Replace(comparePeers)

	var parts []string
	for i, write := range writePeers {
		write = merge(write, "peers", "excluded")
		if d.lite {
			parts = append(parts, compare+write)
		} else {
			parts = append(parts, fmt.Sprintf("w%d AS (%s)", i, write))
		}
	}
	if d.lite {
		return parts
	}
	return []string{compare + ", " + strings.Join(parts, ",\n\t") + " SELECT 1"}
}

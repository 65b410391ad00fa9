package db

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"gorm.io/gorm"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/peers"
)

// Peers keeps what each account knows of peers.
type Peers struct{ d *DB }

var _ peers.Store = (*Peers)(nil)

// Peers returns the store of peers.
func (d *DB) Peers() *Peers { return &Peers{d} }

type peerRow struct {
	Account    string `gorm:"primaryKey"`
	Kind       uint8  `gorm:"primaryKey"`
	ID         int64  `gorm:"primaryKey"`
	AccessHash int64
	IsMin      bool
	Usernames  string // JSON
	Phone      string
	Title      string
	Flags      int
	SeenAt     stamp
}

func (peerRow) TableName() string { return "peers" }

// Flags of a row of table peers.
const (
	flagBot = 1 << iota
	flagSelf
)

func (r *peerRow) peer() (peers.Peer, error) {
	p := peers.Peer{
		Key:        peers.Key{Kind: peers.Kind(r.Kind), ID: r.ID},
		AccessHash: r.AccessHash, Min: r.IsMin, Phone: r.Phone, Title: r.Title,
		Bot: r.Flags&flagBot != 0, Self: r.Flags&flagSelf != 0, SeenAt: r.SeenAt.Time,
	}
	if err := json.Unmarshal([]byte(r.Usernames), &p.Usernames); err != nil {
		return peers.Peer{}, fmt.Errorf("usernames of %s in the database: %w", p.Key, err)
	}
	if len(p.Usernames) == 0 {
		p.Usernames = nil
	}
	return p, nil
}

// Peer returns one peer, or peers.ErrUnknown.
func (s *Peers) Peer(ctx context.Context, acct accounts.ID, k peers.Key) (peers.Peer, error) {
	var rows []peerRow
	err := s.d.run(ctx).Where("account = ? AND kind = ? AND id = ?", string(acct), uint8(k.Kind), k.ID).Find(&rows).Error
	return s.one(ctx, rows, err, acct, k.String())
}

// PeerByUsername returns the peer that was seen last with a username, given in
// lower case without "@", or peers.ErrUnknown.
func (s *Peers) PeerByUsername(ctx context.Context, acct accounts.ID, name string) (peers.Peer, error) {
	var rows []peerRow
	err := s.d.run(ctx).
		Joins("JOIN peer_usernames u ON u.account = peers.account AND u.kind = peers.kind AND u.id = peers.id").
		Where("u.account = ? AND u.username = ?", string(acct), name).Find(&rows).Error
	return s.one(ctx, rows, err, acct, "@"+name)
}

func (s *Peers) one(ctx context.Context, rows []peerRow, err error, acct accounts.ID, what string) (peers.Peer, error) {
	if err == nil && len(rows) == 0 {
		err = peers.ErrUnknown
	}
	var p peers.Peer
	if err == nil {
		p, err = rows[0].peer()
	}
	if err != nil {
		return peers.Peer{}, s.d.fail(ctx, "read "+what+" of account "+string(acct), err)
	}
	return p, nil
}

// CountPeers returns how many peers the account knows.
func (s *Peers) CountPeers(ctx context.Context, acct accounts.ID) (int, error) {
	var n int64
	err := s.d.run(ctx).Model(&peerRow{}).Where("account = ?", string(acct)).Count(&n).Error
	return int(n), s.d.fail(ctx, "count peers of account "+string(acct), err)
}

// SavePeers stores sightings in their order by the rules of peers.Merge, all or
// none of them. A username that moved to another peer leaves the old one. What
// changes nothing is not written, except for a SeenAt that is an hour newer.
// Sightings with an invalid key are left out; accounts.ErrNotFound if there is
// no such account.
//
// The rules are those of package peers itself: what is stored is read, merged
// and written back under a lock of the account's peers. In SQL they would exist
// a second time, and a flush that sees one peer or one name twice could not
// keep the order: peers.Merge is not associative.
func (s *Peers) SavePeers(ctx context.Context, acct accounts.ID, seen []peers.Peer) error {
	seen = clean(seen)
	if len(seen) == 0 {
		return nil
	}
	err := s.d.run(ctx).Transaction(func(tx *gorm.DB) error {
		if !s.d.lite { // in SQLite the transaction is alone
			lock := "SELECT pg_advisory_xact_lock(hashtextextended(?, 0))"
			if err := tx.Exec(lock, "switchboard peers "+string(acct)).Error; err != nil {
				return err
			}
		}
		known, err := s.load(tx, acct, seen)
		if err != nil {
			return err
		}
		return s.write(tx, acct, sight(known, seen))
	})
	return s.d.fail(ctx, fmt.Sprintf("save %d peers of account %s", len(seen), acct), err)
}

// clean drops what has no valid key and what a database cannot store as text.
func clean(seen []peers.Peer) []peers.Peer {
	out := make([]peers.Peer, 0, len(seen))
	for _, p := range seen {
		if !p.Key.Valid() {
			continue
		}
		p.Phone, p.Title, p.SeenAt = text(p.Phone), text(p.Title), exact(p.SeenAt)
		if slices.ContainsFunc(p.Usernames, func(n string) bool { return n != text(n) }) {
			p.Usernames = slices.Clone(p.Usernames)
			for i, n := range p.Usernames {
				p.Usernames[i] = text(n)
			}
		}
		out = append(out, p)
	}
	return out
}

// text is s without NUL and bytes that are not UTF-8: Postgres refuses both.
func text(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
}

const loadPeers = `WITH b AS %s, w AS (
		SELECT b.kind, b.id FROM b WHERE b.id IS NOT NULL
		UNION
		SELECT u.kind, u.id FROM b %s
	)
	SELECT p.kind, p.id, p.access_hash, p.is_min, p.usernames, p.phone, p.title, p.flags, p.seen_at FROM w %s`

// load reads the peers that were seen, and those that have had their names.
func (s *Peers) load(tx *gorm.DB, acct accounts.ID, seen []peers.Peer) (map[peers.Key]peers.Peer, error) {
	b := s.d.newBatch("kind smallint", "id bigint", "name text")
	for _, p := range seen {
		b.add(uint8(p.Kind), p.ID, nil)
		for _, n := range p.Usernames {
			b.add(nil, nil, n)
		}
	}
	batch, err := b.param()
	if err != nil {
		return nil, err
	}
	var rows []peerRow
	byName := s.d.lookup("peer_usernames", "u", "u.account = @account AND u.username = b.name")
	byKey := s.d.lookup("peers", "p", "p.account = @account AND p.kind = w.kind AND p.id = w.id")
	err = tx.Raw(fmt.Sprintf(loadPeers, b.from(), byName, byKey),
		map[string]any{"batch": batch, "account": string(acct)}).Scan(&rows).Error
	if err != nil {
		return nil, err
	}
	known := make(map[peers.Key]peers.Peer, len(rows))
	for i := range rows {
		p, err := rows[i].peer()
		if err != nil {
			return nil, err
		}
		known[p.Key] = p
	}
	return known, nil
}

// refreshSeen is how much newer SeenAt has to be to be written on its own: it
// tells how fresh the names are, which expire after a day.
const refreshSeen = time.Hour

// changes is what sightings do to an account's peers.
type changes struct {
	peers []peers.Peer
	names map[string]peers.Key // zero: nobody's any more
}

// sight folds sightings into what is known, which has to include whoever owns a
// name that was seen. It keeps the rule that a name is in the Usernames of
// exactly the peer that owns it.
func sight(known map[peers.Key]peers.Peer, seen []peers.Peer) changes {
	now := make(map[peers.Key]peers.Peer, len(known)+len(seen))
	owner := map[string]peers.Key{}
	before := map[string]peers.Key{}
	for k, p := range known {
		now[k] = p
		for _, n := range p.Usernames {
			owner[n], before[n] = k, k
		}
	}
	for _, s := range seen {
		k := s.Key
		old := now[k]
		p, _ := peers.Merge(old, s)
		for _, n := range old.Usernames {
			if owner[n] == k && !slices.Contains(p.Usernames, n) {
				delete(owner, n)
			}
		}
		for _, n := range p.Usernames {
			if other, taken := owner[n]; taken && other != k {
				loser := now[other]
				loser.Usernames = without(loser.Usernames, n)
				now[other] = loser
			}
			owner[n] = k
		}
		now[k] = p
	}
	c := changes{names: map[string]peers.Key{}}
	for k, p := range now {
		if old, ok := known[k]; !ok || differs(old, p) {
			c.peers = append(c.peers, p)
		}
	}
	for n, k := range owner {
		if before[n] != k {
			c.names[n] = k
		}
	}
	for n := range before {
		if _, ok := owner[n]; !ok {
			c.names[n] = peers.Key{}
		}
	}
	return c
}

// differs tells whether p is worth a write over old.
func differs(old, p peers.Peer) bool {
	return old.AccessHash != p.AccessHash || old.Min != p.Min || old.Phone != p.Phone || old.Title != p.Title ||
		old.Bot != p.Bot || old.Self != p.Self || !slices.Equal(old.Usernames, p.Usernames) ||
		p.SeenAt.Sub(old.SeenAt) >= refreshSeen
}

// without returns names but for one; the slice may be shared.
func without(names []string, name string) []string {
	var out []string
	for _, n := range names {
		if n != name {
			out = append(out, n)
		}
	}
	return out
}

const (
	upsertPeers = `INSERT INTO peers (account, kind, id, access_hash, is_min, usernames, phone, title, flags, seen_at)
	SELECT @account , b.kind, b.id, b.access_hash, b.is_min, b.usernames, b.phone, b.title, b.flags, b.seen_at
	FROM %s AS b WHERE true
	ON CONFLICT (account, kind, id) DO UPDATE SET access_hash = excluded.access_hash, is_min = excluded.is_min,
		usernames = excluded.usernames, phone = excluded.phone, title = excluded.title, flags = excluded.flags,
		seen_at = excluded.seen_at`
	dropNames = `DELETE FROM peer_usernames WHERE account = @account AND username IN (SELECT name FROM %s AS b)`
	moveNames = `INSERT INTO peer_usernames (account, username, kind, id)
	SELECT @account , b.name, b.kind, b.id FROM %s AS b WHERE true
	ON CONFLICT (account, username) DO UPDATE SET kind = excluded.kind, id = excluded.id`
)

// write stores changes: at most one statement for each table and direction.
func (s *Peers) write(tx *gorm.DB, acct accounts.ID, c changes) error {
	rows := s.d.newBatch("kind smallint", "id bigint", "access_hash bigint", "is_min boolean", "usernames text",
		"phone text", "title text", "flags int", "seen_at timestamptz")
	for _, p := range c.peers {
		names, err := json.Marshal(append([]string{}, p.Usernames...))
		if err != nil {
			return err
		}
		flags := 0
		if p.Bot {
			flags |= flagBot
		}
		if p.Self {
			flags |= flagSelf
		}
		rows.add(uint8(p.Kind), p.ID, p.AccessHash, p.Min, string(names), p.Phone, p.Title, flags, p.SeenAt)
	}
	dropped := s.d.newBatch("name text")
	moved := s.d.newBatch("name text", "kind smallint", "id bigint")
	for n, k := range c.names {
		if k == (peers.Key{}) {
			dropped.add(n)
		} else {
			moved.add(n, uint8(k.Kind), k.ID)
		}
	}
	for _, w := range []struct {
		stmt string
		b    *batch
	}{{upsertPeers, rows}, {dropNames, dropped}, {moveNames, moved}} {
		if len(w.b.rows) == 0 {
			continue
		}
		batch, err := w.b.param()
		if err != nil {
			return err
		}
		args := map[string]any{"account": string(acct), "batch": batch}
		if err := tx.Exec(fmt.Sprintf(w.stmt, w.b.from()), args).Error; err != nil {
			return err
		}
	}
	return nil
}

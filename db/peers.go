package db

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/peers"
)

// Peers keeps what each account knows of peers.
type Peers struct {
	d *DB
	// Statements; immutable.
	find   string   // SELECT … FROM
	save   []string // of a flush
	forget string   // messages
}

var _ peers.Store = (*Peers)(nil)

// Peers returns the store of peers.
func (d *DB) Peers() *Peers {
	return &Peers{d: d, find: findPeer(d.dialect), save: savePeers(d.dialect), forget: forgetMessages(d.dialect)}
}

// peerRow is a row of peers with the names that it has and its messages.
type peerRow struct {
	Kind       uint8
	ID         int64
	AccessHash int64
	IsMin      bool // the hash
	MigratedTo int64
	Phone      string
	Title      string
	Flags      int
	SeenAt     stamp
	Usernames  []byte // JSON, also NULL
	Messages   []byte // JSON lists of kind, id, message id; also NULL
}

// Flags of a row of table peers.
const (
	flagBot = 1 << iota
	flagSelf
	flagDeleted
	flagMin // the facts
)

func flags(p *peers.Peer) (n int) {
	if p.Bot {
		n |= flagBot
	}
	if p.Self {
		n |= flagSelf
	}
	if p.Deleted {
		n |= flagDeleted
	}
	if p.Min {
		n |= flagMin
	}
	return n
}

func (r *peerRow) peer() (peers.Peer, error) {
	p := peers.Peer{
		Key:        peers.Key{Kind: peers.Kind(r.Kind), ID: r.ID},
		AccessHash: r.AccessHash, MinHash: r.IsMin, MigratedTo: r.MigratedTo, Phone: r.Phone, Title: r.Title,
		Bot: r.Flags&flagBot != 0, Self: r.Flags&flagSelf != 0, Deleted: r.Flags&flagDeleted != 0, Min: r.Flags&flagMin != 0,
		SeenAt: r.SeenAt.Time,
	}
	var messages [][3]int64
	for _, list := range []struct {
		json []byte
		into any
	}{{r.Usernames, &p.Usernames}, {r.Messages, &messages}} {
		if len(list.json) == 0 {
			continue
		}
		if err := json.Unmarshal(list.json, list.into); err != nil {
			return peers.Peer{}, fmt.Errorf("a list of %s in the database: %w", p.Key, err)
		}
	}
	if len(p.Usernames) == 0 {
		p.Usernames = nil
	}
	for _, m := range messages {
		p.Messages = append(p.Messages, peers.Message{In: peers.Key{Kind: peers.Kind(m[0]), ID: m[1]}, ID: int(m[2])})
	}
	return p, nil
}

// fullHash is Peer.HasHash in SQL, of the row {}.
const fullHash = "({}.access_hash <> 0 AND NOT {}.is_min)"

// findPeer reads rows of peers AS p. The names are those that peer_usernames gives
// to the peer: each is looked up.
func findPeer(d dialect) string {
	collect, list := "json_agg", "json_build_array"
	if d.lite {
		collect, list = "json_group_array", "json_array"
	}
	return strings.NewReplacer(
		"{collect}", collect, "{list}", list,
		"{full}", of("p", fullHash),
		"{listed}", d.texts("p.usernames", "n"),
	).Replace(`SELECT p.kind, p.id, p.access_hash, p.is_min, p.migrated_to, p.phone, p.title, p.flags, p.seen_at, (
		SELECT {collect}(n.value ORDER BY n.key) FROM (SELECT 1) AS one {listed} WHERE (
			SELECT u.kind = p.kind AND u.id = p.id FROM peer_usernames u WHERE u.account = p.account AND u.username = n.value)
		) AS usernames,
		CASE WHEN NOT {full} THEN (
			SELECT {collect}({list}(m.in_kind, m.in_id, m.msg_id) ORDER BY m.in_kind, m.in_id)
			FROM peer_messages m WHERE m.account = p.account AND m.kind = p.kind AND m.id = p.id
		) END AS messages
		FROM `)
}

// read returns the first peer that the rest of the statement finds.
func (s *Peers) read(ctx context.Context, acct accounts.ID, what, from string, args ...any) (peers.Peer, error) {
	var rows []peerRow
	err := s.d.run(ctx).Raw(s.find+from, args...).Scan(&rows).Error
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

// of puts a row's name into a condition.
func of(row, condition string) string { return strings.ReplaceAll(condition, "{}", row) }

// How the rest goes on.
const (
	findByKey   = "peers p WHERE p.account = ? AND p.kind = ? AND p.id = ?"
	findByPhone = "peers p WHERE p.account = ? AND p.phone = ? AND p.phone <> '' AND p.kind = ? ORDER BY p.seen_at DESC NULLS LAST, p.id DESC LIMIT 1"
)

func findByName(d dialect) string {
	return "peer_usernames o " + d.lookup("peers", "p", "p.account = o.account AND p.kind = o.kind AND p.id = o.id") +
		" WHERE o.account = ? AND o.username = ? LIMIT 1"
}

// Peer returns one peer, or peers.ErrUnknown.
func (s *Peers) Peer(ctx context.Context, acct accounts.ID, k peers.Key) (peers.Peer, error) {
	return s.read(ctx, acct, k.String(), findByKey, string(acct), uint8(k.Kind), k.ID)
}

// PeerByUsername returns the peer that was seen last with a username, given in
// lower case without "@", or peers.ErrUnknown.
func (s *Peers) PeerByUsername(ctx context.Context, acct accounts.ID, name string) (peers.Peer, error) {
	what := "@" + name
	p, err := s.read(ctx, acct, what, findByName(s.d.dialect), string(acct), name)
	if err == nil && !slices.Contains(p.Usernames, name) {
		// Two flushes at the same time: one gave the name, the other replaced the facts.
		return peers.Peer{}, s.d.fail(ctx, "read "+what+" of account "+string(acct), peers.ErrUnknown)
	}
	return p, err
}

// PeerByPhone returns the user that was seen last with a phone number, given as
// digits, or peers.ErrUnknown.
func (s *Peers) PeerByPhone(ctx context.Context, acct accounts.ID, phone string) (peers.Peer, error) {
	return s.read(ctx, acct, "+"+phone, findByPhone, string(acct), phone, uint8(peers.User))
}

// CountPeers returns how many peers the account knows.
func (s *Peers) CountPeers(ctx context.Context, acct accounts.ID) (int, error) {
	var n int64
	err := s.d.run(ctx).Table("peers").Where("account = ?", string(acct)).Count(&n).Error
	return int(n), s.d.fail(ctx, "count peers of account "+string(acct), err)
}

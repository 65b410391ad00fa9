package sessionfile

import (
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tgswitchboard/switchboard/peers"
)

// goodHashes is the first version of Telethon's database whose access hashes are right:
// its upgrade deletes those of older ones. Source: telethon/sessions/sqlite.py.
const goodHashes = 6

// readTelethonSQLite reads tables version (version), sessions (dc_id, server_address,
// port, auth_key, and from version 5 on takeout_id), and from entities who it is: the row
// with the id 0 has the account's id as its hash. Later versions add columns.
func readTelethonSQLite(r *reader) (Found, error) {
	var dc int
	var address sql.NullString
	var port sql.NullInt64
	var key []byte
	err := r.db.QueryRowContext(r.ctx, "SELECT dc_id, server_address, port, auth_key FROM sessions ORDER BY length(auth_key) DESC LIMIT 1").
		Scan(&dc, &address, &port, &key)
	if err != nil {
		return Found{}, missing(TelethonSQLite, err)
	}
	defer clear(key)
	f, err := newFound(TelethonSQLite, dc, key)
	if err != nil {
		return Found{}, err
	}
	if port.Int64 > 0 && port.Int64 <= math.MaxUint16 {
		f.setAddr(address.String, uint16(port.Int64))
	}
	err = r.db.QueryRowContext(r.ctx, "SELECT hash FROM entities WHERE id = 0").Scan(&f.UserID)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		f.UserID = 0 // an older version, or one that has no table of them
	}
	f.UserID = max(f.UserID, 0)
	return f, nil
}

// missing is the error of a query for the session itself.
func missing(f Format, err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%s: the database has no session; the client that made it has not connected", f)
	}
	return fmt.Errorf("%s: the session cannot be read, so the database is damaged: %w", f, err)
}

// telethonPeers reads entities: id as in the Bot API, hash, username, phone, name, and
// from version 7 on date.
func telethonPeers(r *reader) ([]peers.Peer, error) {
	var version int
	if err := r.db.QueryRowContext(r.ctx, "SELECT version FROM version").Scan(&version); err != nil {
		return nil, fmt.Errorf("its version: %w", err)
	}
	columns, err := r.columns("entities")
	if err != nil {
		return nil, err
	}
	if version < goodHashes || !slices.Contains(columns, "hash") {
		return nil, nil
	}
	date := "NULL"
	if slices.Contains(columns, "date") {
		date = "date"
	}
	return r.peers("SELECT id, hash, username, phone, name, "+date+" FROM entities WHERE id <> 0",
		func(rows *sql.Rows) (peers.Peer, bool, error) {
			var row peerRow
			var name sql.NullString
			if err := rows.Scan(&row.id, &row.hash, &row.username, &row.phone, &name, &row.seen); err != nil {
				return peers.Peer{}, false, fmt.Errorf("its entities: %w", err)
			}
			p, ok := row.peer()
			p.Title = name.String
			return p, ok, nil
		})
}

// peerRow is what both clients keep of a peer. Of types one cannot be sure in SQLite.
type peerRow struct {
	id, hash        sql.NullInt64
	username, phone sql.NullString
	seen            sql.NullInt64 // Unix seconds
}

// peer is the row as we have it, false if it is of no use.
func (row *peerRow) peer() (peers.Peer, bool) {
	p := peers.Peer{Key: peers.KeyOfBotAPI(row.id.Int64), AccessHash: row.hash.Int64}
	if !p.Valid() {
		return peers.Peer{}, false
	}
	switch {
	case p.Kind == peers.Chat:
		p.AccessHash = 0
	case p.AccessHash == 0:
		return peers.Peer{}, false
	}
	if name := strings.ToLower(row.username.String); name != "" {
		if ref, err := peers.Parse("@" + name); err == nil && ref.Username() == name {
			p.Usernames = []string{name}
		}
	}
	if _, err := strconv.ParseUint(row.phone.String, 10, 63); err == nil && p.Kind == peers.User {
		p.Phone = row.phone.String
	}
	if row.seen.Int64 > 0 {
		p.SeenAt = time.Unix(row.seen.Int64, 0)
	}
	return p, true
}

package sessionfile

import (
	"database/sql"
	"fmt"
	"math"
	"slices"

	"github.com/tgswitchboard/switchboard/peers"
)

// pyrogramPeersFrom is the first version whose peers are good: its upgrade deletes those
// of the one before. Source: pyrogram/storage/sqlite_storage.py and that of Kurigram, which
// counts on.
const pyrogramPeersFrom = 2

// readPyrogramSQLite reads table sessions: dc_id, test_mode, auth_key, user_id, is_bot;
// from version 3 on api_id, and in Kurigram from 7 on server_address and port.
func readPyrogramSQLite(r *reader) (Found, error) {
	columns, err := r.columns("sessions")
	if err != nil {
		return Found{}, err
	}
	optional := func(name string) string {
		if slices.Contains(columns, name) {
			return name
		}
		return "NULL"
	}
	var dc int
	var apiID, test, user, bot, port sql.NullInt64
	var address sql.NullString
	var key []byte
	err = r.db.QueryRowContext(r.ctx, "SELECT dc_id, test_mode, auth_key, user_id, is_bot, "+optional("api_id")+", "+optional("server_address")+", "+optional("port")+
		" FROM sessions LIMIT 1").Scan(&dc, &test, &key, &user, &bot, &apiID, &address, &port)
	if err != nil {
		return Found{}, missing(PyrogramSQLite, err)
	}
	defer clear(key)
	f, err := newFound(PyrogramSQLite, dc, key)
	if err != nil {
		return Found{}, err
	}
	if port.Int64 > 0 && port.Int64 <= math.MaxUint16 {
		f.setAddr(address.String, uint16(port.Int64))
	}
	f.UserID = max(user.Int64, 0)
	f.setTest(test.Int64 != 0)
	if apiID.Int64 > 0 && apiID.Int64 <= math.MaxInt32 {
		f.APIID = int(apiID.Int64)
	}
	if bot.Valid {
		f.setBot(bot.Int64 != 0)
	}
	return f, nil
}

// pyrogramPeers reads peers: id as in the Bot API, access_hash, type, phone_number,
// last_update_on, and username, which newer forks have in a table of its own.
func pyrogramPeers(r *reader) ([]peers.Peer, error) {
	var version int
	if err := r.db.QueryRowContext(r.ctx, "SELECT number FROM version").Scan(&version); err != nil {
		return nil, fmt.Errorf("its version: %w", err)
	}
	columns, err := r.columns("peers")
	if err != nil {
		return nil, err
	}
	names, err := r.columns("usernames")
	if err != nil {
		return nil, err
	}
	if version < pyrogramPeersFrom || !slices.Contains(columns, "access_hash") {
		return nil, nil
	}
	username := "NULL"
	switch {
	case slices.Contains(names, "username"):
		username = "(SELECT u.username FROM usernames AS u WHERE u.id = p.id ORDER BY u.rowid LIMIT 1)"
	case slices.Contains(columns, "username"):
		username = "p.username"
	}
	return r.peers("SELECT p.id, p.access_hash, "+username+", p.phone_number, p.last_update_on, p.type FROM peers AS p",
		func(rows *sql.Rows) (peers.Peer, bool, error) {
			var row peerRow
			var kind sql.NullString
			if err := rows.Scan(&row.id, &row.hash, &row.username, &row.phone, &row.seen, &kind); err != nil {
				return peers.Peer{}, false, fmt.Errorf("its peers: %w", err)
			}
			p, ok := row.peer()
			p.Bot = kind.String == "bot"
			return p, ok, nil
		})
}

package sessionfile

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/peers"
)

// Schemas of the clients, as they create them.
const (
	telethon7 = `CREATE TABLE version (version integer primary key); INSERT INTO version VALUES (7);
		CREATE TABLE sessions (dc_id integer primary key, server_address text, port integer, auth_key blob, takeout_id integer);
		CREATE TABLE entities (id integer primary key, hash integer not null, username text, phone integer, name text, date integer);
		CREATE TABLE sent_files (md5_digest blob, file_size integer, type integer, id integer, hash integer, primary key(md5_digest, file_size, type));
		CREATE TABLE update_state (id integer primary key, pts integer, qts integer, date integer, seq integer);`
	telethon1 = `CREATE TABLE version (version integer primary key); INSERT INTO version VALUES (1);
		CREATE TABLE sessions (dc_id integer primary key, server_address text, port integer, auth_key blob);
		CREATE TABLE entities (id integer primary key, hash integer not null, username text, phone integer, name text);`
	pyrogram3 = `CREATE TABLE sessions (dc_id INTEGER PRIMARY KEY, api_id INTEGER, test_mode INTEGER, auth_key BLOB, date INTEGER NOT NULL, user_id INTEGER, is_bot INTEGER);
		CREATE TABLE peers (id INTEGER PRIMARY KEY, access_hash INTEGER, type INTEGER NOT NULL, username TEXT, phone_number TEXT,
			last_update_on INTEGER NOT NULL DEFAULT (CAST(STRFTIME('%s', 'now') AS INTEGER)));
		CREATE TABLE version (number INTEGER PRIMARY KEY); INSERT INTO version VALUES (3);`
	kurigram7 = `CREATE TABLE sessions (dc_id INTEGER PRIMARY KEY, server_address TEXT, port INTEGER, api_id INTEGER, test_mode INTEGER, auth_key BLOB,
			date INTEGER NOT NULL, user_id INTEGER, is_bot INTEGER);
		CREATE TABLE peers (id INTEGER PRIMARY KEY, access_hash INTEGER, type INTEGER NOT NULL, phone_number TEXT,
			last_update_on INTEGER NOT NULL DEFAULT (CAST(STRFTIME('%s', 'now') AS INTEGER)));
		CREATE TABLE usernames (id INTEGER, username TEXT, FOREIGN KEY (id) REFERENCES peers(id));
		CREATE TABLE update_state (id INTEGER PRIMARY KEY, pts INTEGER, qts INTEGER, date INTEGER, seq INTEGER);
		CREATE TABLE version (number INTEGER PRIMARY KEY); INSERT INTO version VALUES (7);`
)

func TestSQLite(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	at := time.Unix(1700000000, 0)
	for _, tt := range []struct {
		name  string
		stmts []string
		want  want
		peers []peers.Peer
	}{
		{
			name: "telethon 7",
			stmts: []string{telethon7, "INSERT INTO sessions VALUES (4, '149.154.167.92', 443, ?, NULL)",
				`INSERT INTO entities VALUES (0, 5000000042, NULL, NULL, NULL, 1700000000), (5000000042, -77, 'Me_Myself', 15550001, 'Me', 1700000000),
				(-1001234567890, 88, 'some_channel', NULL, 'Some channel', 1700000000), (-4242, 0, NULL, NULL, 'A group', NULL), (99, 0, 'nohash', NULL, 'x', NULL),
				(7, 70, 'bad name', 'none', NULL, NULL)`},
			want: want{Format: TelethonSQLite, DC: 4, Address: "149.154.167.92", Port: 443, UserID: 5000000042},
			peers: []peers.Peer{
				{Key: peers.Key{Kind: peers.Channel, ID: 1234567890}, AccessHash: 88, Usernames: []string{"some_channel"}, Title: "Some channel", SeenAt: at},
				{Key: peers.Key{Kind: peers.Chat, ID: 4242}, Title: "A group"},
				{Key: peers.Key{Kind: peers.User, ID: 7}, AccessHash: 70},
				{Key: peers.Key{Kind: peers.User, ID: 5000000042}, AccessHash: -77, Usernames: []string{"me_myself"}, Phone: "15550001", Title: "Me", SeenAt: at},
			},
		},
		{
			name: "telethon 1, whose hashes are not trusted",
			stmts: []string{telethon1, "INSERT INTO sessions VALUES (2, '149.154.167.40', 80, ?)",
				"INSERT INTO entities VALUES (42, 77, 'durov', NULL, 'x')"},
			want: want{Format: TelethonSQLite, DC: 2, Address: "149.154.167.40", Port: 80, Test: true},
		},
		{
			name: "telethon 8 of the future",
			stmts: []string{telethon7, "UPDATE version SET version = 8", "ALTER TABLE sessions ADD COLUMN tmp_auth_key blob",
				"INSERT INTO sessions VALUES (2, '149.154.167.51', 443, ?, NULL, NULL)", "INSERT INTO entities VALUES (42, 77, 'durov', NULL, NULL, NULL)"},
			want:  want{Format: TelethonSQLite, DC: 2, Address: "149.154.167.51", Port: 443},
			peers: []peers.Peer{{Key: peers.Key{Kind: peers.User, ID: 42}, AccessHash: 77, Usernames: []string{"durov"}}},
		},
		{
			name: "pyrogram 3",
			stmts: []string{pyrogram3, "INSERT INTO sessions VALUES (5, 12345, 0, ?, 1700000000, 5000000043, 0)",
				`INSERT INTO peers VALUES (42, 77, 'user', 'durov', '15550002', 1700000000), (43, 78, 'bot', 'some_bot', NULL, 1700000000),
				(-1001234567890, 88, 'supergroup', NULL, NULL, 1700000000), (-4242, 0, 'group', NULL, NULL, 1700000000), (0, 1, 'user', NULL, NULL, 0)`},
			want: want{Format: PyrogramSQLite, DC: 5, UserID: 5000000043, Bot: &no},
			peers: []peers.Peer{
				{Key: peers.Key{Kind: peers.Channel, ID: 1234567890}, AccessHash: 88, SeenAt: at},
				{Key: peers.Key{Kind: peers.Chat, ID: 4242}, SeenAt: at},
				{Key: peers.Key{Kind: peers.User, ID: 42}, AccessHash: 77, Usernames: []string{"durov"}, Phone: "15550002", SeenAt: at},
				{Key: peers.Key{Kind: peers.User, ID: 43}, AccessHash: 78, Usernames: []string{"some_bot"}, Bot: true, SeenAt: at},
			},
		},
		{
			name: "pyrogram 2",
			stmts: []string{strings.Replace(strings.Replace(pyrogram3, "api_id INTEGER, ", "", 1), "VALUES (3)", "VALUES (2)", 1),
				"INSERT INTO sessions VALUES (1, 1, ?, 1700000000, 43, NULL)"},
			want: want{Format: PyrogramSQLite, DC: 1, Address: "149.154.175.10", Port: 443, UserID: 43, Test: true},
		},
		{
			name: "kurigram 7",
			stmts: []string{kurigram7, "INSERT INTO sessions VALUES (203, '91.105.192.100', 443, 12345, 0, ?, 1700000000, 43, 1)",
				"INSERT INTO peers VALUES (42, 77, 'user', NULL, 1700000000)", "INSERT INTO usernames VALUES (42, 'Durov'), (42, 'second')"},
			want:  want{Format: PyrogramSQLite, DC: 203, Address: "91.105.192.100", Port: 443, UserID: 43, Bot: &yes},
			peers: []peers.Peer{{Key: peers.Key{Kind: peers.User, ID: 42}, AccessHash: 77, Usernames: []string{"durov"}, SeenAt: at}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.want.KeyID = keyID(t, tt.name)
			path := database(t, madeUp(t, tt.name).Bytes(), tt.stmts...)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			file, err := Read(t.Context(), path, Options{})
			if err != nil {
				t.Fatal(err)
			}
			stream, err := ReadFrom(t.Context(), strings.NewReader(string(data)), Options{Format: tt.want.Format})
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range []Found{file[0], stream[0]} {
				if diff := cmp.Diff(tt.want, got(f)); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
				if diff := cmp.Diff(tt.peers, f.Peers); diff != "" {
					t.Errorf("peers (-want +got):\n%s", diff)
				}
			}
			if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
				t.Errorf("beside the file there are %v", left)
			}
		})
	}
}

// TestSQLiteInUse reads what the client that runs has not yet put into the file.
func TestSQLiteInUse(t *testing.T) {
	t.Parallel()
	path := database(t, madeUp(t, "old").Bytes(), "PRAGMA journal_mode = WAL", telethon7, "INSERT INTO sessions VALUES (4, '149.154.167.92', 443, ?, NULL)")
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("UPDATE sessions SET dc_id = 5, auth_key = ?", madeUp(t, "new").Bytes()); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path + "-wal"); err != nil || info.Size() == 0 {
		t.Fatalf("no journal: %v", err)
	}
	before, err := os.ReadFile(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	found, err := Read(t.Context(), path, Options{})
	if err != nil || found[0].Session.DC != 5 || got(found[0]).KeyID != keyID(t, "new") {
		t.Errorf("read %+v, %v", found, err)
	}
	if after, err := os.ReadFile(path + "-wal"); err != nil || string(after) != string(before) {
		t.Errorf("the journal has changed: %v", err)
	}
}

func TestSQLiteRefuses(t *testing.T) {
	t.Parallel()
	key := madeUp(t, "x").Bytes()
	cut := database(t, key, telethon7, "INSERT INTO sessions VALUES (4, '149.154.167.92', 443, ?, NULL)")
	if err := os.Truncate(cut, 3000); err != nil {
		t.Fatal(err)
	}
	telethon := database(t, key, telethon7, "INSERT INTO sessions VALUES (4, '149.154.167.92', 443, ?, NULL)")
	huge := filepath.Join(t.TempDir(), "huge")
	if err := os.WriteFile(huge, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, 5<<30); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, path string
		format     Format
		want       string
	}{
		{"empty", database(t, key, "CREATE TABLE x (x)", "DROP TABLE x"), TelethonSQLite, "telethon-sqlite: the SQLite database lacks its tables, so it is empty or another one"},
		{"another's", database(t, key, "CREATE TABLE x (x)"), "", "it is no session that is known: the SQLite database is neither of Telethon nor of Pyrogram: it lacks their tables"},
		{"no session", database(t, key, telethon7), "", "telethon-sqlite: the database has no session; the client that made it has not connected"},
		{"no key", database(t, nil, telethon7, "INSERT INTO sessions VALUES (4, '149.154.167.92', 443, x'', NULL)"), "", "telethon-sqlite: an auth key has 256 bytes, not 0"},
		{"no key of pyrogram", database(t, nil, pyrogram3, "INSERT INTO sessions VALUES (2, NULL, NULL, NULL, 0, NULL, NULL)"), "", "pyrogram-sqlite: an auth key has 256 bytes, not 0"},
		{"wrong types", database(t, key, telethon7, "INSERT INTO sessions VALUES (4, '149.154.167.92', 'https', ?, NULL)"), "", "telethon-sqlite: the session cannot be read, so the database is damaged"},
		{"cut", cut, "", "the SQLite database cannot be read, so it is damaged"},
		{"another format", telethon, PyrogramSQLite, "pyrogram-sqlite: it is a session of another format, telethon-sqlite"},
		{"as a string", telethon, Telethon, "it is a SQLite database, and telethon is none"},
		{"5 GiB of nothing", huge, "", "it is no session that is known: it has 5368709120 bytes and is neither SQLite nor a zip archive"},
	} {
		_, err := Read(t.Context(), tt.path, Options{Format: tt.format})
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: error %v\nwant %s", tt.name, err, tt.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Read(ctx, telethon, Options{}); err == nil {
		t.Error("read after the end of its context")
	}
}

// FuzzSQLite changes a database.
func FuzzSQLite(f *testing.F) {
	f.Add(0, byte(1))
	f.Add(100, byte(13))
	f.Add(4096, byte(0xff))
	dir := f.TempDir()
	path := filepath.Join(dir, "x.session")
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		f.Fatal(err)
	}
	for _, stmt := range []string{telethon7, "INSERT INTO sessions VALUES (4, '149.154.167.92', 443, randomblob(256), NULL)",
		"INSERT INTO entities VALUES (42, 77, 'durov', 1555, 'x', 1700000000)"} {
		if _, err := db.Exec(stmt); err != nil {
			f.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, at int, to byte) {
		data := append([]byte(nil), whole...)
		if at < 0 || at >= len(data) {
			return
		}
		data[at] = to
		found, err := ReadFrom(t.Context(), strings.NewReader(string(data)), Options{})
		if err == nil && (len(found) != 1 || found[0].Session.Key.IsZero()) {
			t.Errorf("read %+v", found)
		}
	})
}

package sessionfile

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	_ "github.com/glebarez/go-sqlite" // driver "sqlite"

	"github.com/tgswitchboard/switchboard/peers"
)

// source opens a SQLite database so that nothing is written beside it. done gives it
// back.
type source func() (dsn string, done func(), err error)

// sqliteFile opens a file where it is. One with a journal beside it, whose client runs
// or has crashed, is copied: reading it in place would write.
func sqliteFile(path string) source {
	return func() (string, func(), error) {
		for _, suffix := range []string{"-wal", "-journal"} {
			if info, err := os.Stat(path + suffix); err == nil && info.Size() > 0 {
				return copied(func(dir string) error {
					for _, s := range []string{"", "-wal", "-journal"} {
						if err := copyFile(filepath.Join(dir, copyName+s), path+s); err != nil && !(s != "" && errors.Is(err, fs.ErrNotExist)) {
							return err
						}
					}
					return nil
				})
			}
		}
		return dsn(path, "mode=ro&immutable=1"), func() {}, nil
	}
}

// sqliteBytes opens a database that came over a stream.
func sqliteBytes(data []byte) source {
	return func() (string, func(), error) {
		return copied(func(dir string) error { return os.WriteFile(filepath.Join(dir, copyName), data, 0o600) })
	}
}

const copyName = "session"

// copied is a source in a directory that nobody else may look into.
func copied(fill func(dir string) error) (string, func(), error) {
	dir, err := os.MkdirTemp("", "switchboard-session-")
	if err != nil {
		return "", nil, err
	}
	done := func() { _ = os.RemoveAll(dir) }
	if err := fill(dir); err != nil {
		done()
		return "", nil, plain(err)
	}
	return dsn(filepath.Join(dir, copyName), "mode=rw"), done, nil
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func dsn(path, how string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: how}).String()
}

// with runs do on the database.
func (s source) with(ctx context.Context, do func(*reader) error) error {
	dsn, done, err := s()
	if err != nil {
		return err
	}
	defer done()
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	return do(&reader{ctx: ctx, db: db})
}

// reader asks one database.
type reader struct {
	ctx context.Context
	db  *sql.DB
}

// columns are those of a table, none if there is no such table.
func (r *reader) columns(table string) ([]string, error) {
	rows, err := r.db.QueryContext(r.ctx, "SELECT name FROM pragma_table_info(?)", table)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

// layout is one of the databases that are known.
type layout struct {
	format  Format
	version string // the column of table version
	table   string // of peers
	read    func(*reader) (Found, error)
	peers   func(*reader) ([]peers.Peer, error)
}

var layouts = []layout{
	{TelethonSQLite, "version", "entities", readTelethonSQLite, telethonPeers},
	{PyrogramSQLite, "number", "peers", readPyrogramSQLite, pyrogramPeers},
}

// readSQLite reads the session of a database.
func readSQLite(ctx context.Context, s source, want Format) (Found, error) {
	if want != "" && want != TelethonSQLite && want != PyrogramSQLite {
		return Found{}, fmt.Errorf("it is a SQLite database, and %s is none", want)
	}
	var f Found
	err := s.with(ctx, func(r *reader) error {
		l, err := r.layout()
		if err != nil {
			return fmt.Errorf("the SQLite database cannot be read, so it is damaged: %w", err)
		}
		switch {
		case l == nil && want == "":
			return unknown("the SQLite database is neither of Telethon nor of Pyrogram: it lacks their tables")
		case l == nil:
			return fmt.Errorf("%s: the SQLite database lacks its tables, so it is empty or another one", want)
		case want != "" && l.format != want:
			return fmt.Errorf("%s: it is a session of another format, %s", want, l.format)
		}
		if f, err = l.read(r); err != nil {
			return err
		}
		if f.Peers, err = l.peers(r); err != nil {
			return fmt.Errorf("%s: the peers cannot be read, so the database is damaged: %w", l.format, err)
		}
		return nil
	})
	return f, err
}

// layout finds out whose database it is, nil if nobody's.
func (r *reader) layout() (*layout, error) {
	sessions, err := r.columns("sessions")
	if err != nil {
		return nil, err
	}
	version, err := r.columns("version")
	if err != nil {
		return nil, err
	}
	for i := range layouts {
		if slices.Contains(sessions, "auth_key") && slices.Contains(version, layouts[i].version) {
			return &layouts[i], nil
		}
	}
	return nil, nil
}

// maxPeers is far beyond what any client has met.
const maxPeers = 5_000_000

// peers are what a statement selects, as far as parse makes peers of it.
func (r *reader) peers(stmt string, parse func(*sql.Rows) (peers.Peer, bool, error)) ([]peers.Peer, error) {
	rows, err := r.db.QueryContext(r.ctx, stmt)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var ps []peers.Peer
	for rows.Next() {
		p, ok, err := parse(rows)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if ps = append(ps, p); len(ps) > maxPeers {
			return nil, fmt.Errorf("the database has more than %d peers, so it is damaged", maxPeers)
		}
	}
	return ps, rows.Err()
}

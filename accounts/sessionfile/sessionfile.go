package sessionfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/gotd/td/telegram/dcs"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/peers"
)

// Format is a layout of sessions.
type Format string

// The formats.
const (
	Telethon       Format = "telethon"        // StringSession
	TelethonSQLite Format = "telethon-sqlite" // SQLiteSession
	Pyrogram       Format = "pyrogram"        // export_session_string
	PyrogramSQLite Format = "pyrogram-sqlite"
	GramJS         Format = "gramjs" // StringSession
	Mtcute         Format = "mtcute" // exportSession
	TData          Format = "tdata"  // Telegram Desktop
	Gotd           Format = "gotd"   // session.FileStorage
)

// Formats lists every format that Read knows.
func Formats() []Format {
	return []Format{Telethon, TelethonSQLite, Pyrogram, PyrogramSQLite, GramJS, Mtcute, TData, Gotd}
}

// ParseFormat reads the name of a format.
func ParseFormat(s string) (Format, error) {
	var names []string
	for _, f := range Formats() {
		if string(f) == s {
			return f, nil
		}
		names = append(names, string(f))
	}
	return "", fmt.Errorf("unknown format %q; use %s", s, strings.Join(names, ", "))
}

// Found is one account's session.
type Found struct {
	Format  Format
	Session accounts.Session // without Addr if the format does not say it
	Test    bool             // it is of Telegram's test servers
	UserID  int64            // 0: the format does not say
	Bot     *bool            // nil: the format does not say
	APIID   int              // 0: the format does not say
	Peers   []peers.Peer     // that it knows by access hashes
}

// ErrUnknown: what was read is no session of any format.
var ErrUnknown = errors.New("it is no session that is known")

// unknown is ErrUnknown with what it is instead.
func unknown(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrUnknown, fmt.Errorf(format, args...))
}

// Options say how a session is read.
type Options struct {
	Format   Format // "": found out
	Passcode []byte // of tdata
}

const (
	maxText   = 64 << 10  // of a string or JSON
	maxStdin  = 512 << 20 // of anything that is no file
	magicSize = 16        // bytes that tell what a file is
)

var (
	magicSQLite = []byte("SQLite format 3\x00")
	magicZip    = []byte("PK\x03\x04")
)

// Read reads the sessions at a path: several if it is tdata of several accounts, one
// otherwise.
func Read(ctx context.Context, path string, o Options) ([]Found, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, plain(err)
	}
	if info.IsDir() {
		if o.Format != "" && o.Format != TData {
			return nil, fmt.Errorf("it is a folder, and %s is a file", o.Format)
		}
		return readTData(os.DirFS(path), o.Passcode)
	}
	if !info.Mode().IsRegular() { // a pipe cannot be read twice
		f, err := os.Open(path)
		if err != nil {
			return nil, plain(err)
		}
		defer f.Close()
		return ReadFrom(ctx, f, o)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, plain(err)
	}
	defer f.Close()
	head := make([]byte, magicSize)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, plain(err)
	}
	head = head[:n]
	switch {
	case bytes.Equal(head, magicSQLite):
		return one(readSQLite(ctx, sqliteFile(path), o.Format))
	case bytes.HasPrefix(head, magicZip):
		return readZip(f, info.Size(), o)
	case info.Size() > maxText:
		return nil, unknown("it has %d bytes and is neither SQLite nor a zip archive", info.Size())
	}
	rest, err := io.ReadAll(io.LimitReader(f, maxText))
	if err != nil {
		return nil, plain(err)
	}
	text := append(head, rest...)
	defer clear(text)
	return one(readText(text, o.Format))
}

// ReadFrom reads a session from a stream, such as stdin.
func ReadFrom(ctx context.Context, r io.Reader, o Options) ([]Found, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxStdin+1))
	if err != nil {
		return nil, plain(err)
	}
	switch {
	case len(data) > maxStdin:
		return nil, fmt.Errorf("it has more than %d MiB; give its file by name", maxStdin>>20)
	case bytes.HasPrefix(data, magicSQLite):
		return one(readSQLite(ctx, sqliteBytes(data), o.Format))
	case bytes.HasPrefix(data, magicZip):
		return readZip(bytes.NewReader(data), int64(len(data)), o)
	case len(data) > maxText:
		return nil, unknown("it has %d bytes and is neither SQLite nor a zip archive", len(data))
	}
	return one(readText(data, o.Format))
}

func one(f Found, err error) ([]Found, error) {
	if err != nil {
		return nil, err
	}
	return []Found{f}, nil
}

// plain is an error of a file without its path, which the caller names.
func plain(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// setBot says whether it is a bot.
func (f *Found) setBot(bot bool) { f.Bot = &bot }

// setTest marks a session of the test servers, whose addresses no data center's number
// says.
func (f *Found) setTest(test bool) {
	f.Test = f.Test || test
	if !f.Test || f.Session.Addr != "" {
		return
	}
	if host, port, ok := usual(dcs.Test(), f.Session.DC); ok {
		f.setAddr(host, uint16(port))
	}
}

// newFound checks what every format has to have.
func newFound(f Format, dc int, key []byte) (Found, error) {
	if dc < 1 || dc > maxDC {
		return Found{}, fmt.Errorf("%s: %d is no data center, so it is damaged", f, dc)
	}
	k, err := accounts.NewAuthKey(key)
	if err != nil {
		return Found{}, fmt.Errorf("%s: %w; the client that made it has not logged in, or it is damaged", f, err)
	}
	return Found{Format: f, Session: accounts.Session{DC: dc, Key: k}}, nil
}

// maxDC is beyond every data center: there are 1 to 5, and 203.
const maxDC = 999

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/sessionfile"
	"github.com/tgswitchboard/switchboard/internal/cli"
)

// What becomes of a file, or of one of the accounts in it.
const (
	resultImported  = "imported"
	resultDuplicate = "duplicate" // it is here already
	resultRefused   = "refused"
	resultIgnored   = "ignored"   // it is no session
	resultNotTried  = "not tried" // the command ended before
)

// imported is a line of a report.
type imported struct {
	File       string        `json:"file"`
	Result     string        `json:"result"`
	Account    accounts.ID   `json:"account,omitempty"` // new, or which it is already
	Format     string        `json:"format,omitempty"`
	Kind       accounts.Kind `json:"kind,omitempty"`
	UserID     int64         `json:"user_id,omitempty"`
	DC         int           `json:"dc,omitempty"`
	KeyID      string        `json:"auth_key_id,omitempty"`
	KnownPeers int           `json:"known_peers,omitempty"`
	Verified   bool          `json:"verified,omitempty"`
	Reason     string        `json:"reason,omitempty"`
}

// bulk imports all sessions of a folder.
type bulk struct {
	*importer
	read   sessionfile.Options
	name   func(path string, e entrant) (accounts.ID, error)
	atOnce int

	mu    sync.Mutex             // guards inUse
	inUse map[string]*sync.Mutex // by key id: one session may be in two files
}

// runFolder imports all sessions of a folder.
func (f *importFlags) runFolder(ctx context.Context, env *cli.Env, args []string, read sessionfile.Options) (err error) {
	switch {
	case len(args) > 0:
		return cli.Usage("--folder names the accounts by --name-from; %q is one argument too many", args[0])
	case f.index != 0:
		return cli.Usage("--account-index is for one file, not for --folder")
	case f.atOnce < 1 || f.atOnce > 100:
		return cli.Usage("--at-once has to be 1 to 100")
	}
	paths, err := candidates(f.folder)
	if err != nil {
		return cli.Usage("--folder: %w", err)
	}
	if len(paths) == 0 {
		return fmt.Errorf("there is no file in %s", f.folder)
	}
	var report *os.File
	if f.report != "" {
		if report, err = cli.CreateNew(f.report); err != nil {
			return cli.Usage("--report: %w", err)
		}
		defer func() { err = errors.Join(err, report.Close()) }()
	}
	if err := f.open(ctx, env); err != nil {
		return err
	}
	defer f.store.Close()
	b := bulk{importer: &f.importer, read: read, name: namings[f.nameFrom], atOnce: f.atOnce}
	bar, end := countBar(env, "files", len(paths))
	done := func() {}
	if bar != nil {
		done = bar.Increment
	}
	lines, err := b.run(ctx, paths, done)
	end()
	if report != nil {
		err = errors.Join(err, writeReport(report, lines))
	}
	if perr := printReport(env, lines); perr != nil {
		return errors.Join(err, perr)
	}
	if err != nil {
		return reached(err)
	}
	for _, l := range lines {
		if l.Result == resultRefused {
			return cli.ErrFailed
		}
	}
	return nil
}

// candidates are the files below dir that may be sessions, and folders that are tdata.
func candidates(dir string) (paths []string, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && sessionfile.IsTData(path):
			paths = append(paths, path)
			return fs.SkipDir
		case d.IsDir():
			return nil
		case sideFile(path):
			return nil
		}
		if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
			return nil
		}
		paths = append(paths, path)
		return nil
	})
	return paths, err
}

// sideFile tells what SQLite keeps beside a database.
func sideFile(path string) bool {
	for _, end := range []string{"-wal", "-shm", "-journal"} {
		if strings.HasSuffix(path, end) {
			return true
		}
	}
	return false
}

// run imports and returns the report, in the order of the paths. An error is one that
// concerns all: what was not tried is in the report then.
func (b *bulk) run(ctx context.Context, paths []string, done func()) ([]imported, error) {
	b.inUse = map[string]*sync.Mutex{}
	lines := make([][]imported, len(paths))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(b.atOnce)
	for i, path := range paths {
		if gctx.Err() != nil {
			break
		}
		g.Go(func() (err error) {
			defer done()
			lines[i], err = b.file(gctx, path)
			return err
		})
	}
	err := g.Wait()
	var report []imported
	for i, path := range paths {
		if lines[i] == nil {
			lines[i] = []imported{{File: path, Result: resultNotTried}}
		}
		report = append(report, lines[i]...)
	}
	if ctx.Err() != nil {
		return report, ctx.Err()
	}
	return report, err
}

// file imports what is in one file. An error concerns all files.
func (b *bulk) file(ctx context.Context, path string) ([]imported, error) {
	found, err := sessionfile.Read(ctx, path, b.read)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, sessionfile.ErrUnknown):
		return []imported{{File: path, Result: resultIgnored, Reason: cli.Sentence(err)}}, nil
	case err != nil:
		return []imported{{File: path, Result: resultRefused, Reason: cli.Sentence(err)}}, nil
	}
	var lines []imported
	for n, f := range found {
		line, err := b.one(ctx, path, n, f)
		if err != nil {
			return append(lines, imported{File: path, Result: resultNotTried}), err
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// one imports the nth session of a file.
func (b *bulk) one(ctx context.Context, path string, n int, f sessionfile.Found) (imported, error) {
	line := imported{File: path, Format: string(f.Format), UserID: f.UserID, DC: f.Session.DC, KeyID: f.Session.Key.IDText()}
	defer b.alone(line.KeyID)()
	e, err := b.check(ctx, f)
	var a accounts.Account
	if err == nil {
		var id accounts.ID
		if id, err = b.name(path, e); err == nil {
			if n > 0 {
				id = accounts.ID(nth(string(id), n))
			}
			a, err = b.add(ctx, id, e)
		}
	}
	var (
		dup *accounts.DuplicateError
		no  *refusal
	)
	switch {
	case err == nil:
		line.Result, line.Account, line.Kind, line.UserID = resultImported, a.ID, a.Kind, a.UserID
		line.KnownPeers, line.Verified = len(f.Peers), e.verified
	case errors.As(err, &dup) && dup.UserID == 0:
		line.Result, line.Account, line.Reason = resultDuplicate, dup.Account, "the account has this session already"
	case errors.As(err, &dup):
		line.Result, line.UserID, line.Reason = resultRefused, dup.UserID, dup.Error()+"; --second-session takes it all the same"
	case errors.As(err, &no):
		line.Result, line.Reason = resultRefused, cli.Sentence(no)
	default:
		return line, err
	}
	return line, nil
}

// alone waits until no other file's session with the same key is in use, and keeps
// others off until the function that it returns is called.
func (b *bulk) alone(key string) (done func()) {
	b.mu.Lock()
	one := b.inUse[key]
	if one == nil {
		one = new(sync.Mutex)
		b.inUse[key] = one
	}
	b.mu.Unlock()
	one.Lock()
	return one.Unlock
}

// namings are the values of --name-from.
var namings = map[string]func(path string, e entrant) (accounts.ID, error){
	"file": func(path string, _ entrant) (accounts.ID, error) { return nameOfFile(path) },
	"user-id": func(_ string, e entrant) (accounts.ID, error) {
		id := e.UserID
		if e.verified {
			id = e.self.UserID
		}
		if id == 0 {
			return "", &refusal{errors.New("the file does not say which user it is; verify it, or name accounts by --name-from file")}
		}
		return accounts.ID(strconv.FormatInt(id, 10)), nil
	},
	"phone": func(_ string, e entrant) (accounts.ID, error) {
		if e.self.Phone == "" {
			return "", &refusal{errors.New("its phone number is not known: bots have none, and without --no-verify Telegram tells that of users; name accounts by --name-from file")}
		}
		return accounts.ParseID("+" + e.self.Phone)
	},
}

// nameOfFile makes an account's name of a file's: without its extension, and with "-"
// for what a name cannot have. A folder called tdata is named by the one around it.
func nameOfFile(path string) (accounts.ID, error) {
	base := filepath.Base(path)
	if strings.EqualFold(base, "tdata") {
		base = filepath.Base(filepath.Dir(path))
	} else {
		base = strings.TrimSuffix(base, filepath.Ext(base))
	}
	name := strings.Map(func(r rune) rune {
		if strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+@", r) {
			return r
		}
		return '-'
	}, base)
	name = strings.TrimLeft(name, "._-@")
	id, err := accounts.ParseID(name[:min(len(name), accounts.MaxID)])
	if err != nil {
		return "", &refusal{fmt.Errorf("no account's name can be made of the file's name %q; rename the file, or name accounts by --name-from user-id", base)}
	}
	return id, nil
}

// writeReport writes one JSON object a line.
func writeReport(w io.Writer, lines []imported) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for _, l := range lines {
		if err := enc.Encode(l); err != nil {
			return err
		}
	}
	return nil
}

// printReport shows what became of each file, and how often what happened.
func printReport(env *cli.Env, lines []imported) error {
	table := env.Out.Table("FILE", "RESULT", "ACCOUNT", "FORMAT", "USER ID", "DC", "PEERS", "REASON")
	count := map[string]int{}
	for _, l := range lines {
		if err := env.Out.Object(l); err != nil {
			return err
		}
		count[l.Result]++
		table.Row(l.File, l.Result, string(l.Account), l.Format, number(l.UserID), number(int64(l.DC)), number(int64(l.KnownPeers)), l.Reason)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	var parts []string
	for _, result := range []string{resultImported, resultDuplicate, resultRefused, resultIgnored, resultNotTried} {
		if n := count[result]; n > 0 || result == resultImported {
			parts = append(parts, fmt.Sprintf("%d %s", n, result))
		}
	}
	return env.Out.Printf("%s\n", strings.Join(parts, ", "))
}

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/login"
	"github.com/tgswitchboard/switchboard/accounts/sessionfile"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
	"github.com/tgswitchboard/switchboard/peers"
)

// importFlags are those of `accounts import`.
type importFlags struct {
	importer

	inspect      bool
	from         string
	passcodeFile string
	index        int

	folder   string
	nameFrom string
	report   string
	atOnce   int
}

func accountsImport(env *cli.Env) *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use:   "import NAME FILE | import --folder DIR | import --inspect FILE",
		Short: "Take over sessions of Telethon, Pyrogram, GramJS, mtcute, Telegram Desktop and gotd",
		Long: `Take over the session of another client: a file, a folder of Telegram Desktop
(tdata), or a string session on stdin ('-'). Its format is found out, or said by --from.
Peers with their access hashes come along where the file has them, and their names
count as seen now, so that nothing has to be resolved that the other client knew.

Telegram is asked whose the session is before it is stored. One that it does not accept,
that is another user's than the file says, or that is here already, is refused and
nothing is stored. --no-verify stores what the file says. Stop the other client first:
Telegram ends a session that is used from two places.

Of several accounts in one tdata the first gets NAME, the next NAME-2 and so on;
--account-index takes one, counted from 1 as --inspect lists them.

--folder imports every session below a folder. A session that is here already is passed
over, so the command can be run again. The exit code is 1 if a session was refused.`,
		Example: `  worker accounts import alice alice.session
  worker accounts import bob --from pyrogram - < string.txt
  worker accounts import --folder ./sessions --name-from file --report report.ndjson
  worker accounts import --inspect ./tdata --json`,
		Args: cli.Args("[NAME]", "[FILE]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			read, err := f.options()
			switch {
			case err != nil:
				return err
			case f.inspect && f.folder != "":
				return cli.Usage("--inspect looks at one file or tdata folder; --folder imports many")
			case f.inspect && len(args) != 1:
				return cli.Usage("--inspect needs one FILE")
			case f.inspect:
				return inspect(cmd.Context(), env, args[0], read)
			case f.folder != "":
				return f.runFolder(cmd.Context(), env, args, read)
			}
			return f.runFile(cmd.Context(), env, args, read)
		},
	}
	f.register(cmd)
	fs := cmd.Flags()
	fs.BoolVar(&f.inspect, "inspect", false, "show what is in FILE and store nothing; needs neither a database nor a key")
	fs.StringVar(&f.from, "from", "", "`format` of the file (default: it is found out)")
	fs.StringVar(&f.passcodeFile, "passcode-file", "", "`file` with the local passcode of Telegram Desktop")
	fs.IntVar(&f.index, "account-index", 0, "of several accounts in a file, the `number` of the one to take, from 1")
	fs.StringVar(&f.folder, "folder", "", "import every session below this `folder`")
	cli.ChoiceVar(fs, &f.nameFrom, "name-from", "file", "what names the accounts of --folder", "file", "user-id", "phone")
	fs.StringVar(&f.report, "report", "", "`file` for the report of --folder, one JSON object a line; it must not exist")
	fs.IntVar(&f.atOnce, "at-once", 4, "sessions of --folder that are worked on at the same time")
	return cmd
}

// options say how files are read.
func (f *importFlags) options() (o sessionfile.Options, err error) {
	if f.from != "" {
		if o.Format, err = sessionfile.ParseFormat(f.from); err != nil {
			return o, cli.Usage("--from: %w", err)
		}
	}
	if f.passcodeFile != "" {
		code, err := readSecret(f.passcodeFile)
		if err != nil {
			return o, cli.Usage("--passcode-file: %w", err)
		}
		o.Passcode = []byte(code)
	}
	return o, nil
}

// runFile imports what is in one file.
func (f *importFlags) runFile(ctx context.Context, env *cli.Env, args []string, read sessionfile.Options) error {
	if len(args) != 2 {
		return cli.Usage("accounts import needs NAME and FILE, or --folder DIR")
	}
	id, err := accounts.ParseID(args[0])
	if err != nil {
		return cli.Usage("%w", err)
	}
	found, err := readSessions(ctx, env, args[1], read)
	if err != nil {
		return err
	}
	if f.index != 0 {
		if f.index < 0 || f.index > len(found) {
			return cli.Usage("--account-index %d: %s has %s", f.index, args[1], plural(len(found), "account"))
		}
		found = found[f.index-1 : f.index]
	}
	if err := f.open(ctx, env); err != nil {
		return err
	}
	defer f.store.Close()
	for n, one := range found {
		a, err := f.take(ctx, accounts.ID(nth(string(id), n)), one)
		if err != nil {
			return err
		}
		v := view(a)
		v.KnownPeers = len(one.Peers)
		if err := printAccount(env, v); err != nil {
			return err
		}
	}
	return nil
}

// take imports one session as the account id.
func (im *importer) take(ctx context.Context, id accounts.ID, found sessionfile.Found) (a accounts.Account, err error) {
	e, err := im.check(ctx, found)
	if err == nil {
		a, err = im.add(ctx, id, e)
	}
	if err != nil {
		return a, fmt.Errorf("account %s was not imported: %w", id, refusedFor(err))
	}
	return a, nil
}

// refusedFor adds to a duplicate what would do.
func refusedFor(err error) error {
	var dup *accounts.DuplicateError
	switch {
	case !errors.As(err, &dup):
		return reached(err)
	case dup.UserID != 0:
		return fmt.Errorf("%w; --second-session takes it all the same, and the two share that user's limits at Telegram", dup)
	}
	return dup
}

// importer takes sessions over from other clients.
type importer struct {
	database databaseFlag
	key      keyFlags
	telegram telegramFlags
	noVerify bool
	second   bool
	settings settingsFlags
	template accounts.Account // what the accounts have in common

	env   *cli.Env
	cfg   login.Config
	store *db.DB
	keys  accounts.Keyset
}

func (im *importer) register(cmd *cobra.Command) {
	im.database.register(cmd)
	fs := cmd.Flags()
	im.key.register(fs)
	im.telegram.registerServers(cmd)
	im.registerAccount(fs)
	fs.BoolVar(&im.noVerify, "no-verify", false, "do not ask Telegram whose the session is, and whether it accepts it")
	fs.BoolVar(&im.second, "second-session", false, "take a session of a user who has an account here already: two accounts then share that user's limits")
}

// registerAccount has the settings that every imported account gets.
func (im *importer) registerAccount(fs *pflag.FlagSet) {
	im.settings.register(fs)
}

// open reads what the flags name. Nothing was asked of Telegram yet.
func (im *importer) open(ctx context.Context, env *cli.Env) (err error) {
	im.env = env
	if err := im.settings.apply(&im.template); err != nil {
		return err
	}
	fresh(&im.template)
	if !im.noVerify {
		if im.cfg, err = im.telegram.config(env); err != nil {
			return err
		}
	}
	if im.keys, err = im.key.load(ctx, env, im.database.devKey()); err != nil {
		return err
	}
	if im.store, err = im.database.openCurrent(ctx, env); err != nil {
		return err
	}
	registry := accounts.NewRegistry(im.store.Accounts().By(operator()), im.keys)
	if err := checkKey(ctx, registry); err != nil { // one installation, one key
		return errors.Join(err, im.store.Close())
	}
	twice, err := registry.FillKeyIDs(ctx)
	if err != nil {
		return errors.Join(reached(err), im.store.Close())
	}
	for _, id := range twice {
		env.Log.Warn("the account has the same auth key as another one: Telegram ends a session that is used from two places; remove one of them", "account", id)
	}
	return nil
}

// entrant is a session that was found, as it becomes an account.
type entrant struct {
	sessionfile.Found
	self     login.Self // zero: not verified
	verified bool
}

// check asks Telegram whose the session is. One that is here already is not used: its
// worker may be connected.
func (im *importer) check(ctx context.Context, found sessionfile.Found) (entrant, error) {
	e := entrant{Found: found}
	id := keyID(found.Session)
	has, err := im.store.Accounts().OfKey(ctx, id)
	if err == nil {
		return e, &accounts.DuplicateError{Account: has}
	}
	if !errors.Is(err, accounts.ErrNotFound) {
		return e, err
	}
	if im.noVerify {
		return e, nil
	}
	if found.Test && len(im.cfg.DCs) == 0 {
		return e, &refusal{errors.New("the session is of Telegram's test servers; name their addresses with --telegram.dc")}
	}
	e.self, e.Session, err = login.Verify(ctx, as(im.cfg, im.template), found.Session)
	switch {
	case ctx.Err() != nil:
		return e, ctx.Err()
	case errors.Is(err, accounts.ErrNeedsLogin):
		return e, &refusal{fmt.Errorf("Telegram does not accept the session any more; log in again: %w", err)}
	case err != nil:
		return e, &refusal{err}
	case found.UserID != 0 && found.UserID != e.self.UserID:
		return e, &refusal{fmt.Errorf("the file says that the session is user %d's, Telegram says user %d's: the file was put together from two", found.UserID, e.self.UserID)}
	}
	e.verified = true
	return e, nil
}

// refusal is why one session does not become an account. Others may.
type refusal struct{ err error }

func (e *refusal) Error() string { return e.err.Error() }
func (e *refusal) Unwrap() error { return e.err }

// add stores the account with its session and peers.
func (im *importer) add(ctx context.Context, id accounts.ID, e entrant) (accounts.Account, error) {
	a := im.template
	a.ID, a.UserID, a.Kind = id, e.UserID, e.kind()
	told := "imported from " + string(e.Format)
	if e.verified {
		a.UserID, a.Kind = e.self.UserID, e.self.Kind()
	} else {
		told += ", not verified"
	}
	store := im.store.Accounts().By(operator()).From(db.Origin{Told: told, Peers: e.known(a.UserID), SecondSession: im.second})
	added, err := accounts.NewRegistry(store, im.keys).Add(ctx, a, e.Session)
	if errors.Is(err, accounts.ErrExists) {
		return added, &refusal{fmt.Errorf("the name %s is taken by another account", id)}
	}
	return added, err
}

func (e entrant) kind() accounts.Kind {
	if e.Bot != nil && *e.Bot {
		return accounts.Bot
	}
	return accounts.User
}

// known is what the file says of peers, those that it learned last at the end: of two
// with one name it is theirs. The client that the file comes from would use them as they
// are, so they count as seen now.
func (e entrant) known(self int64) []peers.Peer {
	ps := slices.Clone(e.Peers)
	slices.SortStableFunc(ps, func(a, b peers.Peer) int { return a.SeenAt.Compare(b.SeenAt) })
	now := time.Now()
	for i := range ps {
		ps[i].SeenAt = now
		ps[i].Self = self != 0 && ps[i].Key == peers.Key{Kind: peers.User, ID: self}
	}
	return ps
}

// keyID is the id of a session's auth key, as accounts have it.
func keyID(s accounts.Session) string {
	id := s.Key.ID()
	return fmt.Sprintf("%x", id)
}

// nth is the name of the nth account, from 0, of a file that has several.
func nth(name string, n int) string {
	if n == 0 {
		return name
	}
	return name + "-" + strconv.Itoa(n+1)
}

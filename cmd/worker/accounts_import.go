package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/sessionfile"
	"github.com/tgswitchboard/switchboard/internal/cli"
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
		Args: f.settings.args(cli.Args("[NAME]", "[FILE]")),
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

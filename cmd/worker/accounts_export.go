package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/sessionfile"
	"github.com/tgswitchboard/switchboard/internal/cli"
)

// exportFlags are those of `accounts export`.
type exportFlags struct {
	database databaseFlag
	key      keyFlags
	format   string
	out      string
	handOver bool
}

func accountsExport(env *cli.Env) *cobra.Command {
	var f exportFlags
	cmd := &cobra.Command{
		Use:   "export NAME --out FILE --hand-over-the-account",
		Short: "Write an account's session to a file, which then is the account",
		Long: `Write an account's session to a file, for Telethon (a string session) or for programs
with gotd (JSON). Whoever has the file has the account, without a password or a code:
--hand-over-the-account says that you know. The file is readable by you alone and
replaces none; '-' writes to stdout, if that is no terminal. The export is in the
account's events before anything is written.

Telegram ends a session that is used from two places: pause the account, or remove it
here without --log-out, before another program uses the file.`,
		Example: "  worker accounts export alice --format telethon --out alice.txt --hand-over-the-account",
		Args:    cli.Args("NAME"),
		RunE:    func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), env, accounts.ID(args[0])) },
	}
	f.database.register(cmd)
	fs := cmd.Flags()
	f.key.register(fs)
	cli.ChoiceVar(fs, &f.format, "format", "telethon", "what the file is for", "telethon", "gotd")
	fs.StringVar(&f.out, "out", "", "`file` to make, or - for stdout")
	fs.BoolVar(&f.handOver, "hand-over-the-account", false, "I know that whoever has the file has the account")
	_ = cmd.MarkFlagRequired("out")
	return cmd
}

func (f *exportFlags) run(ctx context.Context, env *cli.Env, id accounts.ID) error {
	switch {
	case !f.handOver:
		return cli.Usage("whoever has an exported session has the account; --hand-over-the-account says that you know")
	case f.out == "-" && cli.IsTerminal(env.Stdout):
		return cli.Usage("--out - would show the session on the terminal; name a file, or send stdout to a program")
	case f.out == "-" && env.Out.JSON:
		return cli.Usage("--json and --out - both want stdout; name a file")
	}
	store, keys, err := openSealed(ctx, env, &f.database, &f.key)
	if err != nil {
		return err
	}
	defer store.Close()
	a, err := store.Accounts().Account(ctx, id)
	if err != nil {
		return unknownAccount(ctx, store, string(id), err)
	}
	s, err := accounts.NewRegistry(store.Accounts(), keys).Session(ctx, id)
	if err != nil {
		return err
	}
	var data bytes.Buffer
	defer func() { clear(data.Bytes()) }()
	if err := sessionfile.Write(&data, sessionfile.Format(f.format), s); err != nil {
		return fmt.Errorf("account %s was not exported: %w", id, err)
	}
	where, err := f.write(env, data.Bytes(), func(where string) error {
		return store.Events().Add(ctx, accounts.Event{Account: id, Kind: accounts.EventExported, Reason: "as " + f.format + " to " + where, Who: cli.Operator()})
	})
	if err != nil {
		return fmt.Errorf("account %s was not exported: %w", id, reached(err))
	}
	env.Log.Warn("whoever has the exported session has the account", "account", id, "file", where)
	if a.Status == accounts.Active || a.Status == accounts.Restricted {
		env.Log.Warn("workers go on using the session; pause or remove the account before another program uses it, or Telegram ends it", "account", id)
	}
	if err := env.Out.Object(map[string]any{"account": id, "format": f.format, "file": where}); err != nil {
		return err
	}
	if f.out == "-" {
		return nil
	}
	return env.Out.Printf("wrote the session of account %s to %s\n", id, where)
}

// write writes the session, once that has been told.
func (f *exportFlags) write(env *cli.Env, data []byte, tell func(where string) error) (where string, err error) {
	if f.out == "-" {
		if err := tell("stdout"); err != nil {
			return "", err
		}
		_, err := env.Stdout.Write(data)
		return "stdout", err
	}
	file, err := cli.CreateNew(f.out)
	if err != nil {
		return "", err
	}
	if err = tell(f.out); err == nil {
		_, err = file.Write(data)
	}
	err = errors.Join(err, file.Sync(), file.Close())
	if err != nil {
		return "", errors.Join(err, os.Remove(f.out))
	}
	return f.out, nil
}

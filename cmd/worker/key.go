package main

import (
	"errors"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/cli"
)

// keyEnv may hold the keyset itself, for platforms that hand out secrets as
// environment variables.
const keyEnv = "SWITCHBOARD_KEY"

// keyFlags is how a command gets the key.
type keyFlags struct{ file string }

func (k *keyFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&k.file, "key-file", "", "`file` with the key that seals sessions (or the key itself in "+keyEnv+");\nmake one with 'worker key new FILE'")
}

// load reads the key; dev is the development instance's, used if none is named
// and the database is the development one.
func (k *keyFlags) load(env *cli.Env, dev string) (accounts.Keyset, error) {
	file := k.file
	if file == "" {
		if text := env.Getenv(keyEnv); text != "" {
			keys, err := accounts.ParseKeyset([]byte(text))
			if err != nil {
				return accounts.Keyset{}, cli.Usage("%s: %w", keyEnv, err)
			}
			return keys, nil
		}
		file = dev
	}
	if file == "" {
		return accounts.Keyset{}, cli.Usage("the key that seals sessions is missing: name its file with --key-file, or put it into %s; make one with 'worker key new FILE'", keyEnv)
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return accounts.Keyset{}, cli.Usage("there is no key file %s; if this is a new installation, make one with 'worker key new %s'", file, file)
	}
	if err != nil {
		return accounts.Keyset{}, cli.Usage("the key file cannot be read: %w", err)
	}
	keys, err := accounts.ParseKeyset(data)
	if err != nil {
		return accounts.Keyset{}, cli.Usage("the key file %s holds no key: %w", file, err)
	}
	// A group may read it: that is how Kubernetes gives secrets to a user that is not root.
	if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o037 != 0 {
		env.Log.Warn("others may read the key file; run chmod 600 on it", "file", file)
	}
	return keys, nil
}

func keyCommand(env *cli.Env) *cobra.Command {
	cmd := &cobra.Command{Use: "key", Short: "Make the key that seals sessions"}
	cmd.AddCommand(&cobra.Command{
		Use:   "new FILE",
		Short: "Write a new key to FILE, which must not exist",
		Long: `Write a new keyset (Tink, AES-256-GCM) to FILE, readable by you alone.

Whoever has this file and the database has every account. Without the file no
stored session can be opened: keep a copy of it apart from the database's backups.`,
		Example: "  worker key new /etc/switchboard/key.json",
		Args:    cli.Args("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := writeNewKey(args[0]); err != nil {
				return err
			}
			if err := env.Out.Object(map[string]string{"key_file": args[0]}); err != nil {
				return err
			}
			return env.Out.Printf("wrote a new key to %s; keep a copy apart from the database's backups\n", args[0])
		},
	})
	return cmd
}

// writeNewKey never replaces a file: an old key may be all that opens sessions.
func writeNewKey(file string) error {
	data, err := accounts.NewKeyset()
	if err != nil {
		return err
	}
	return cli.WriteSecret(file, data)
}

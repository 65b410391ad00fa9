package main

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/accounts/kms"
	"github.com/tgswitchboard/switchboard/db"
	"github.com/tgswitchboard/switchboard/internal/cli"
)

// keyEnv may hold the keyset itself, for platforms that hand out secrets as
// environment variables.
const keyEnv = "SWITCHBOARD_KEY"

// keyFlags is how a command gets the key.
type keyFlags struct {
	file string
	kek  kekFlag
}

func (k *keyFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&k.file, "key-file", "", "`file` with the key that seals sessions (or the key itself in "+keyEnv+");\nmake one with 'worker key new FILE'")
	k.kek.register(fs)
}

// load reads the key; dev is the development instance's, used if none is named
// and the database is the development one.
func (k *keyFlags) load(ctx context.Context, env *cli.Env, dev string) (accounts.Keyset, error) {
	if text := env.Getenv(keyEnv); k.file == "" && text != "" {
		return k.kek.parse(ctx, env, []byte(text), keyEnv)
	}
	file := k.file
	if file == "" && k.kek.uri == "" {
		file = dev
	}
	if file == "" {
		return accounts.Keyset{}, cli.Usage("the key that seals sessions is missing: name its file with --key-file, or put it into %s; make one with 'worker key new FILE'", keyEnv)
	}
	return k.kek.read(ctx, env, file)
}

// openSealed opens the database, with the key that seals what is in it.
func openSealed(ctx context.Context, env *cli.Env, database *databaseFlag, key *keyFlags) (*db.DB, accounts.Keyset, error) {
	keys, err := key.load(ctx, env, database.devKey())
	if err != nil {
		return nil, keys, err
	}
	store, err := database.openCurrent(ctx, env)
	return store, keys, err
}

// kekFlag is the key of a KMS that has encrypted the keyset.
type kekFlag struct{ uri string }

func (k *kekFlag) register(fs *pflag.FlagSet) {
	fs.StringVar(&k.uri, "key-uri", "", "`URI` of the KMS's key that the key file is encrypted with (default: it is not):\nhcvault://host:8200/transit/keys/NAME or aws-kms://arn:aws:kms:…")
}

// read is the keyset of a file.
func (k *kekFlag) read(ctx context.Context, env *cli.Env, file string) (accounts.Keyset, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return accounts.Keyset{}, cli.Usage("there is no key file %s; if this is a new installation, make one with 'worker key new %s'", file, file)
	}
	if err != nil {
		return accounts.Keyset{}, cli.Usage("the key file cannot be read: %w", err)
	}
	defer clear(data)
	if open, err := othersMayRead(file); err == nil && open && k.uri == "" {
		env.Log.Warn("others may read the key file; run chmod 600 on it", "file", file)
	}
	return k.parse(ctx, env, data, "the key file "+file+" holds no key")
}

// othersMayRead tells of a file whose mode lets in more than owner and group, or lets
// the group write. A group may read it: that is how Kubernetes gives secrets to a user
// that is not root.
func othersMayRead(file string) (bool, error) {
	info, err := os.Stat(file)
	return err == nil && info.Mode().Perm()&0o037 != 0, err
}

// parse is the keyset that where holds.
func (k *kekFlag) parse(ctx context.Context, env *cli.Env, data []byte, where string) (accounts.Keyset, error) {
	kek, err := k.open(env)
	if err != nil {
		return accounts.Keyset{}, err
	}
	var keys accounts.Keyset
	if kek == nil {
		keys, err = accounts.ParseKeyset(data)
	} else {
		keys, err = accounts.ParseWrappedKeyset(ctx, data, kek)
	}
	if err != nil {
		return accounts.Keyset{}, cli.Usage("%s: %w", where, err)
	}
	return keys, nil
}

// open is the KMS's key, nil if none is named.
func (k *kekFlag) open(env *cli.Env) (accounts.KEK, error) {
	if k.uri == "" {
		return nil, nil
	}
	kek, err := kms.Open(k.uri, env.Getenv)
	if err != nil {
		return nil, cli.Usage("--key-uri: %w", err)
	}
	return kek, nil
}

// marshal is the keyset as its file has it: encrypted if a key of a KMS is named.
func (k *kekFlag) marshal(ctx context.Context, env *cli.Env, keys accounts.Keyset) ([]byte, error) {
	kek, err := k.open(env)
	if err != nil {
		return nil, err
	}
	if kek == nil {
		return keys.Marshal()
	}
	return keys.Wrap(ctx, kek)
}

func keyCommand(env *cli.Env) *cobra.Command {
	cmd := &cobra.Command{Use: "key", Short: "Make, check and rotate the key that seals sessions"}
	cmd.AddCommand(keyNew(env), keyCheck(env), keyAdd(env), keyPromote(env), keyRemove(env), keyWrap(env))
	return cmd
}

func keyNew(env *cli.Env) *cobra.Command {
	var kek kekFlag
	cmd := &cobra.Command{
		Use:   "new FILE",
		Short: "Write a new key to FILE, which must not exist",
		Long: `Write a new keyset (Tink, AES-256-GCM) to FILE, readable by you alone. With
--key-uri it is encrypted with a key of a KMS.

Whoever has this file and the database has every account. Without the file no
stored session can be opened: keep a copy of it apart from the database's backups.`,
		Example: "  worker key new /etc/switchboard/key.json",
		Args:    cli.Args("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := writeWrappedKey(cmd.Context(), env, kek, args[0]); err != nil {
				return err
			}
			if err := env.Out.Object(map[string]string{"key_file": args[0]}); err != nil {
				return err
			}
			return env.Out.Printf("wrote a new key to %s; keep a copy apart from the database's backups\n", args[0])
		},
	}
	kek.register(cmd.Flags())
	return cmd
}

// writeNewKey never replaces a file: an old key may be all that opens sessions.
func writeNewKey(file string) error {
	data, err := accounts.NewKeyset()
	if err != nil {
		return err
	}
	defer clear(data)
	return cli.WriteSecret(file, data)
}

// writeWrappedKey is writeNewKey with a key of a KMS, if one is named.
func writeWrappedKey(ctx context.Context, env *cli.Env, kek kekFlag, file string) error {
	if kek.uri == "" {
		return writeNewKey(file)
	}
	data, err := accounts.NewKeyset()
	if err != nil {
		return err
	}
	defer clear(data)
	keys, err := accounts.ParseKeyset(data)
	if err != nil {
		return err
	}
	out, err := kek.marshal(ctx, env, keys)
	if err != nil {
		return err
	}
	return cli.WriteSecret(file, out)
}

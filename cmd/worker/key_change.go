package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/cli"
)

// keyChange is a command that changes a key file.
type keyChange struct {
	database databaseFlag
	kek      kekFlag
	id       uint32
	offline  bool
}

func (c *keyChange) register(cmd *cobra.Command) {
	c.database.register(cmd)
	c.kek.register(cmd.Flags())
	cmd.Flags().Uint32Var(&c.id, "id", 0, "`id` of the key (default: the only one that does not seal)")
	cmd.Flags().BoolVar(&c.offline, "offline", false, "do not look into the database")
}

// pick is the key that is meant.
func (c *keyChange) pick(keys accounts.Keyset) (uint32, error) {
	others := keys.IDs()[1:]
	switch {
	case c.id != 0:
		return c.id, nil
	case len(others) == 1:
		return others[0], nil
	case len(others) == 0:
		return 0, cli.Usage("the keyset has no key but the one that seals, %d", keys.IDs()[0])
	}
	return 0, cli.Usage("name one of the keys by --id: %s do not seal", others.Text())
}

// changedKey is what is printed.
type changedKey struct {
	File string          `json:"key_file"`
	Key  uint32          `json:"key"`
	Keys accounts.KeyIDs `json:"keys"`
}

// write replaces the file and says what was done.
func (c *keyChange) write(ctx context.Context, env *cli.Env, file string, keys accounts.Keyset, id uint32, told string) error {
	data, err := c.kek.marshal(ctx, env, keys)
	if err != nil {
		return err
	}
	defer clear(data)
	if err := replaceSecret(file, data); err != nil {
		return err
	}
	if err := env.Out.Object(changedKey{file, id, keys.IDs()}); err != nil {
		return err
	}
	return env.Out.Printf("%s; %s has %s\n", told, file, keys.IDs())
}

func keyAdd(env *cli.Env) *cobra.Command {
	var c keyChange
	cmd := &cobra.Command{
		Use:   "add FILE",
		Short: "Add a key to FILE that opens and does not seal yet",
		Long: `Add a new key to the keyset in FILE. It opens, and does not seal yet: give the file to
all workers before you promote the key. docs/operations.md, Keys, has the whole way.`,
		Example: "  worker key add /etc/switchboard/key.json",
		Args:    cli.Args("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			keys, err := c.kek.read(cmd.Context(), env, args[0])
			if err != nil {
				return err
			}
			more, id, err := keys.Add()
			if err != nil {
				return err
			}
			return c.write(cmd.Context(), env, args[0], more, id, fmt.Sprintf("added key %d, which does not seal yet", id))
		},
	}
	c.kek.register(cmd.Flags())
	return cmd
}

func keyPromote(env *cli.Env) *cobra.Command {
	var c keyChange
	cmd := &cobra.Command{
		Use:   "promote FILE",
		Short: "Let another key of FILE be the one that seals",
		Long: `Let another key of the keyset in FILE be the one that seals; the others go on opening.
It is refused while a worker runs that lacks the key: it could not open what the
others seal. --offline does not ask.`,
		Example: "  worker key promote /etc/switchboard/key.json",
		Args:    cli.Args("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.change(cmd.Context(), env, args[0], accounts.Keyset.Promote, allHave, "key %d seals now")
		},
	}
	c.register(cmd)
	return cmd
}

// allHave wants every worker to have a key.
func allHave(s accounts.SealedState, id uint32) error {
	for _, worker := range slices.Sorted(maps.Keys(s.Workers)) {
		if ids := s.Workers[worker]; !ids.Has(id) {
			return fmt.Errorf("worker %s does not have key %d, or does not tell (it has %s): it could not open what that seals; restart it with this keyset first", worker, id, ids)
		}
	}
	return nil
}

func keyRemove(env *cli.Env) *cobra.Command {
	var c keyChange
	cmd := &cobra.Command{
		Use:   "remove FILE",
		Short: "Remove a key from FILE with which nothing is sealed any more",
		Long: `Remove a key from the keyset in FILE. It is refused while something in the database is
sealed with it, or a worker seals with it. --offline does not ask.

Backups of the database from before the rotation need the key: keep a copy of it for
as long as you keep them.`,
		Example: "  worker key remove /etc/switchboard/key.json",
		Args:    cli.Args("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.change(cmd.Context(), env, args[0], accounts.Keyset.Remove, noneNeeds, "removed key %d")
		},
	}
	c.register(cmd)
	return cmd
}

// noneNeeds wants nothing sealed with a key, now or later.
func noneNeeds(s accounts.SealedState, id uint32) error {
	for _, of := range s.Counts {
		if by, ok := of.KeyID(); ok && by == id {
			return fmt.Errorf("%d of kind %s are still sealed with key %d; run 'worker accounts rotate-key' first", of.N, of.Kind, id)
		}
	}
	for _, worker := range slices.Sorted(maps.Keys(s.Workers)) {
		if ids := s.Workers[worker]; len(ids) > 0 && ids[0] == id {
			return fmt.Errorf("worker %s still seals with key %d; restart it with this keyset first", worker, id)
		}
	}
	return nil
}

// change changes the key that is meant, unless judge refuses by what the database knows;
// told has a place for its id.
func (c *keyChange) change(ctx context.Context, env *cli.Env, file string, change func(accounts.Keyset, uint32) (accounts.Keyset, error),
	judge func(accounts.SealedState, uint32) error, told string) error {
	keys, err := c.kek.read(ctx, env, file)
	if err != nil {
		return err
	}
	id, err := c.pick(keys)
	if err != nil {
		return err
	}
	changed, err := change(keys, id)
	if err != nil {
		return cli.Usage("%s: %w", file, err)
	}
	if err := c.ask(ctx, env, keys, func(s accounts.SealedState) error { return judge(s, id) }); err != nil {
		return err
	}
	return c.write(ctx, env, file, changed, id, fmt.Sprintf(told, id))
}

// ask judges by what the database knows.
func (c *keyChange) ask(ctx context.Context, env *cli.Env, keys accounts.Keyset, judge func(accounts.SealedState) error) error {
	if c.offline {
		return nil
	}
	store, err := c.database.openCurrent(ctx, env)
	if err != nil {
		return err
	}
	defer store.Close()
	state, err := accounts.NewRegistry(store.Accounts(), keys).LookAtSealed(ctx)
	if err != nil {
		return reached(err)
	}
	return judge(state)
}

func keyWrap(env *cli.Env) *cobra.Command {
	var kek kekFlag
	cmd := &cobra.Command{
		Use:   "wrap FILE TO --key-uri URI",
		Short: "Encrypt the key in FILE with a key of a KMS",
		Long: `Read the keyset in FILE, which is in the clear, and write it to TO, which must not exist,
encrypted with the key of a KMS. Then start the workers with --key-file TO --key-uri URI,
and remove FILE, or keep it where you keep the copy.`,
		Example: "  worker key wrap key.json key.wrapped.json --key-uri hcvault://vault.example:8200/transit/keys/switchboard",
		Args:    cli.Args("FILE", "TO"),
		RunE: func(cmd *cobra.Command, args []string) error {
			keys, err := (&kekFlag{}).read(cmd.Context(), env, args[0])
			if err != nil {
				return err
			}
			data, err := kek.marshal(cmd.Context(), env, keys)
			if err != nil {
				return err
			}
			if err := cli.WriteSecret(args[1], data); err != nil {
				return err
			}
			if err := env.Out.Object(map[string]string{"key_file": args[1], "key_uri": kek.uri}); err != nil {
				return err
			}
			return env.Out.Printf("wrote %s, encrypted with %s\n", args[1], kek.uri)
		},
	}
	kek.register(cmd.Flags())
	_ = cmd.MarkFlagRequired("key-uri")
	return cmd
}

// replaceSecret replaces a file at once, or not at all, with one of the same owner and
// mode.
func replaceSecret(file string, data []byte) (err error) {
	if file, err = filepath.EvalSymlinks(file); err != nil {
		return err
	}
	was, err := os.Stat(file)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*") // of mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			if rerr := os.Remove(f.Name()); !errors.Is(rerr, fs.ErrNotExist) {
				err = errors.Join(err, rerr)
			}
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, sameOwner(f, was), f.Chmod(was.Mode().Perm()), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/internal/cli"
)

// checkedKey is what `key check` has found.
type checkedKey struct {
	File     string          `json:"key_file,omitempty"`
	Mode     string          `json:"mode,omitempty"` // of the file, in octal
	KeyURI   string          `json:"key_uri,omitempty"`
	Keys     accounts.KeyIDs `json:"keys"` // the first one seals
	Sealed   []sealedWith    `json:"sealed,omitempty"`
	Opened   int             `json:"opened"`
	Unopened []unopened      `json:"unopened,omitempty"`
	Workers  []workerKeys    `json:"workers,omitempty"`
}

// sealedWith is how much of a kind is sealed with one key; 0: with none of Tink's.
type sealedWith struct {
	Kind  accounts.SealedKind `json:"kind"`
	Key   uint32              `json:"key"`
	Count int                 `json:"count"`
}

type unopened struct {
	Kind    accounts.SealedKind `json:"kind"`
	Account accounts.ID         `json:"account"`
}

// workerKeys is which keys a live worker has; none if it does not tell.
type workerKeys struct {
	Worker string          `json:"worker"`
	Keys   accounts.KeyIDs `json:"keys"`
}

func keyCheck(env *cli.Env) *cobra.Command {
	var (
		key      keyFlags
		database databaseFlag
		offline  bool
	)
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Tell whether a key opens all that is stored",
		Long: `Read the key of FILE, or what --key-file, --key-uri and ` + keyEnv + ` name, tell which
keys it holds, and open all that is sealed in the database. Nothing is changed, and no
secret is shown: ids of keys are none. It fails if something does not open, and names it.`,
		Example: "  worker key check /etc/switchboard/key.json\n  worker key check key.json --offline",
		Args:    cli.Args("[FILE]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if len(args) > 0 {
				key.file = args[0]
			}
			keys, err := key.load(ctx, env, database.devKey())
			if err != nil {
				return err
			}
			found := checkedKey{File: key.file, KeyURI: key.kek.uri, Keys: keys.IDs()}
			if key.file != "" {
				info, err := os.Stat(key.file)
				if err != nil {
					return err
				}
				found.Mode = fmt.Sprintf("%04o", info.Mode().Perm())
			}
			if offline {
				return found.print(env, "not looked at")
			}
			store, err := database.openCurrent(ctx, env)
			if err != nil {
				return err
			}
			defer store.Close()
			state, err := accounts.NewRegistry(store.Accounts(), keys).LookAtSealed(ctx)
			if err != nil {
				return reached(err)
			}
			found.add(state)
			if err := found.print(env, fmt.Sprintf("%d opened, %d not", found.Opened, len(found.Unopened))); err != nil {
				return err
			}
			return found.verdict()
		},
	}
	key.register(cmd.Flags())
	database.register(cmd)
	cmd.Flags().BoolVar(&offline, "offline", false, "do not look into the database")
	return cmd
}

func (f *checkedKey) add(s accounts.SealedState) {
	f.Opened = s.Opened
	for _, c := range s.Counts {
		id, _ := c.KeyID()
		f.Sealed = append(f.Sealed, sealedWith{c.Kind, id, c.N})
	}
	for _, u := range s.Unopened {
		f.Unopened = append(f.Unopened, unopened(u))
	}
	for _, worker := range slices.Sorted(maps.Keys(s.Workers)) {
		f.Workers = append(f.Workers, workerKeys{worker, s.Workers[worker]})
	}
}

// verdict is the error of a key that does not open everything.
func (f *checkedKey) verdict() error {
	if len(f.Unopened) == 0 {
		return nil
	}
	const some = 10
	var names []string
	for _, u := range f.Unopened[:min(some, len(f.Unopened))] {
		names = append(names, fmt.Sprintf("%s of %s", u.Kind, u.Account))
	}
	if n := len(f.Unopened) - some; n > 0 {
		names = append(names, fmt.Sprintf("and %d more, see --json", n))
	}
	return fmt.Errorf("the key does not open all that is stored: %s", strings.Join(names, ", "))
}

func (f *checkedKey) print(env *cli.Env, database string) error {
	if env.Out.JSON {
		return env.Out.Object(f)
	}
	t := env.Out.Table()
	for _, row := range [][2]string{{"key file", f.File}, {"mode", f.Mode}, {"encrypted with", f.KeyURI}, {"keys", f.Keys.String()}, {"database", database}} {
		if row[1] != "" {
			t.Row(row[0], row[1])
		}
	}
	for _, s := range f.Sealed {
		by := "key " + strconv.FormatUint(uint64(s.Key), 10)
		if s.Key == 0 {
			by = "no key of Tink's"
		}
		t.Row(string(s.Kind)+" with "+by, strconv.Itoa(s.Count))
	}
	for _, w := range f.Workers {
		has := w.Keys.String()
		if len(w.Keys) == 0 {
			has = "does not tell its keys"
		}
		t.Row("worker "+w.Worker, has)
	}
	return t.Flush()
}

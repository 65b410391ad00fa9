// Command worker holds leases on Telegram accounts and runs their jobs.
//
// It is the process with the secrets: the key that opens sessions, and the
// connections. Producers use cmd/enqueue, which has neither.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program; it returns the exit code.
func run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	env := &cli.Env{Getenv: getenv, Stdin: stdin, Stdout: stdout, Stderr: stderr}
	root := &cobra.Command{
		Use:   "worker",
		Short: "Run jobs on many Telegram accounts",
		Long: `worker leases Telegram accounts, connects their sessions and runs their jobs.

Begin with 'worker demo', which needs nothing installed and ends by itself, or
with 'worker dev', which keeps the same running for 'enqueue' in another terminal.

Every flag can be given as SWITCHBOARD_<FLAG> in the environment, dots and dashes
as underscores, or in the file that --config names.

Exit codes: 0 done, 1 failed, 2 usage, 3 Redis or Postgres cannot be reached,
4 timed out waiting.`,
	}
	root.AddCommand(
		demoCommand(env),
		devCommand(env),
		runCommand(env),
		simCommand(env),
		benchCommand(env),
		migrateCommand(env),
		accountsCommand(env),
		keyCommand(env),
	)
	return cli.Main(ctx, env, root, args)
}

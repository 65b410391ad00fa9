// Command enqueue is the producer's tool: it puts jobs on accounts' lines, waits
// for their outcomes, and shows them. It needs Redis alone; only questions about
// outcomes that Redis has forgotten go to Postgres. It never sees a session.
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
	context.AfterFunc(ctx, stop) // a second signal ends the process
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	env := &cli.Env{Getenv: getenv, Stdin: stdin, Stdout: stdout, Stderr: stderr, LogLevel: "warn"}
	root := &cobra.Command{
		Use:   "enqueue",
		Short: "Put jobs on Telegram accounts' lines and see what became of them",
		Long: `enqueue puts jobs on Telegram accounts' lines, waits for their outcomes and
shows them. Workers run them. With nothing configured it talks to the Redis that
"worker dev" runs.

Every flag can also be set in the environment (--redis as SWITCHBOARD_REDIS) or
in a YAML file (--config). Exit codes: 0 ok, 1 the job or the command failed,
2 usage, 3 cannot reach Redis or Postgres, 4 timed out waiting.`,
		Example: `  enqueue send --account alice --to @durov --text "Hello" --wait
  enqueue resolve --account alice t.me/telegram
  enqueue batch --account alice --ordered calls.ndjson --wait
  enqueue bulk jobs.ndjson
  enqueue sync --account alice dialogs
  enqueue invoke --account alice messages.getHistory '{"peer": "@durov", "limit": 10}'
  enqueue list --account alice --state waiting
  enqueue parse https://t.me/c/1234567/89`,
	}
	root.AddCommand(
		sendCommand(env), resolveCommand(env), batchCommand(env), bulkCommand(env), syncCommand(env), invokeCommand(env),
		getCommand(env), waitCommand(env), cancelCommand(env), retryCommand(env), deleteCommand(env), listCommand(env),
		parseCommand(env), methodsCommand(env), webhooksCommand(env),
		parseCommand(env), methodsCommand(env),
		serveCommand(env), keysCommand(env),
	)
	return cli.Main(ctx, env, root, args)
}

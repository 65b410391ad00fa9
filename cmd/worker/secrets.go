package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/internal/cli"
)

// refuseArguments is cli.Args that refuses flags with secrets on the command line, where
// everybody on the machine can read them. Flags are taken from the environment and the
// file later.
func refuseArguments(args cobra.PositionalArgs, flags ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		for _, name := range flags {
			if cmd.Flags().Changed(name) {
				return cli.Usage("--%s is a secret, and arguments can be read by everybody on this machine; put it into %s, a file, or answer when asked", name, cli.EnvName(name))
			}
		}
		return args(cmd, given)
	}
}

// readSecret is the text of a file, without the line's end.
func readSecret(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	const limit = 4 << 10
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	defer clear(data)
	if err != nil {
		return "", err
	}
	if len(data) > limit {
		return "", fmt.Errorf("%s is larger than %d KiB", file, limit>>10)
	}
	text := strings.TrimRight(string(data), "\r\n")
	switch {
	case text == "":
		return "", fmt.Errorf("%s is empty", file)
	case strings.ContainsAny(text, "\r\n"):
		return "", errors.New(file + " has more than one line")
	}
	return text, nil
}

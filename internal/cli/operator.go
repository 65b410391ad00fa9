package cli

import (
	"os"
	"os/user"
)

// Operator names who runs the command, for logs of what was done: user@host.
func Operator() string {
	who := "operator"
	if u, err := user.Current(); err == nil && u.Username != "" {
		who = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return who + "@" + host
}

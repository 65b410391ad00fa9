package cli

import (
	"log/slog"
	"regexp"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// hasPassword finds the password in a URL, also in one that cannot be parsed.
var hasPassword = regexp.MustCompile(`^[a-z+0-9]+://[^/?#]*:[^/?#]+@|[?&](password|sentinel_password|sslpassword)=.`)

// secretArguments tell whether a flag's value is, or holds, a secret.
var secretArguments = map[string]func(string) bool{
	"database":          hasPassword.MatchString,
	"redis":             hasPassword.MatchString,
	"telegram.api-hash": func(v string) bool { return v != "" },
}

// tellOfArguments tells of secrets among the arguments. Nothing else can be done about
// them any more: the process list has them. It is no warning: a command that is over in a
// moment, run by who is alone on the machine, does no harm.
func tellOfArguments(cmd *cobra.Command, log *slog.Logger) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if secret := secretArguments[f.Name]; secret != nil && secret(f.Value.String()) {
			log.Info("a secret was given as an argument, which everybody on this machine can read; use the environment or the file of --config",
				"flag", "--"+f.Name, "environment", EnvName(f.Name))
		}
	})
}

// likeSecret is a long piece without spaces, dashes or slashes, as hashes, tokens and keys
// are, and as words, paths and ids of jobs are not.
var likeSecret = regexp.MustCompile(`[A-Za-z0-9+_=]{32,}`)

// shown is a value in the wrong place as errors may show it: it may be a secret that was
// meant for another one.
func shown(v string) string {
	if hasPassword.MatchString(v) || likeSecret.MatchString(v) {
		return "(not shown: it may be a secret)"
	}
	return v
}

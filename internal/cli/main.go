package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Env is a program's surroundings, replaceable in tests. Out and Log are set by
// Main before a command runs.
type Env struct {
	Getenv         func(string) string
	Stdin          io.Reader
	Stdout, Stderr io.Writer

	// LogLevel is the default of --log-level: debug, info, warn or error. Default info.
	LogLevel string

	Out *Out
	Log *slog.Logger
}

// LogLevelAnnotation of a command is its own default of --log-level.
const LogLevelAnnotation = "log-level"

// Main runs root with args, which do not include the program's name, and
// returns the exit code. It adds to root what every program has: --config,
// --json, --log-level, --log-format, --version and the command version. Errors
// of cobra's own (unknown flag, wrong number of arguments) are usage errors, and
// a negative number is an argument, not a flag. Commands use RunE, and have no
// PersistentPreRun of their own.
func Main(ctx context.Context, env *Env, root *cobra.Command, args []string) int {
	var c common
	c.register(root, env)
	root.AddCommand(versionCommand(env))
	root.Version = ReadVersion().String()
	// Groups run too, to refuse unknown commands, but their usage is a command.
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(), "{{if .Runnable}}", "{{if and .Runnable (not .HasAvailableSubCommands)}}", 1))
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.SetArgs(shield(root, args))
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return flagError(err) })

	began := false // what fails before RunE begins is a usage error
	prepare(root, &began)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		// Parsed already, so these tell how to print what goes wrong below.
		env.Out, env.Log = newOut(env.Stdout, c.json), newLogger(env.Stderr, c)
		tellOfArguments(cmd, env.Log)
		if err := configure(cmd, c.config, env.Getenv); err != nil {
			return err
		}
		if level := cmd.Annotations[LogLevelAnnotation]; level != "" && !cmd.Flags().Changed("log-level") {
			c.logLevel = level
		}
		env.Out, env.Log = newOut(env.Stdout, c.json), newLogger(env.Stderr, c)
		routeRedisLog(env)
		return missingFlags(cmd)
	}

	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return ExitOK
	}
	var exit *ExitError
	if !began && !errors.As(err, &exit) {
		err = Usage("%w", err)
	}
	code := exitCode(err)
	if errors.As(err, &exit) && exit.Err == nil {
		return code
	}
	if code == ExitFailed && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	fmt.Fprintf(env.Stderr, "%s: %s\n", root.Name(), Sentence(err))
	if code == ExitUsage {
		fmt.Fprintf(env.Stderr, "see '%s --help'\n", cmd.CommandPath())
	}
	return code
}

// common holds the flags that every command has.
type common struct {
	config    string
	json      bool
	logLevel  string
	logFormat string
}

func (c *common) register(root *cobra.Command, env *Env) {
	level := env.LogLevel
	if level == "" {
		level = "info"
	}
	fs := root.PersistentFlags()
	fs.StringVar(&c.config, "config", "", "read flags from this YAML `file` where neither command line nor environment gives them")
	fs.BoolVar(&c.json, "json", false, "print one JSON object per line on stdout, and nothing else")
	ChoiceVar(fs, &c.logLevel, "log-level", level, "log from this level on", "debug", "info", "warn", "error")
	ChoiceVar(fs, &c.logFormat, "log-format", "auto", "auto is text on a terminal and json elsewhere", "auto", "text", "json")
}

// prepare makes RunE tell that it began, and commands that only group others
// refuse unknown ones, which cobra does for the root alone.
func prepare(cmd *cobra.Command, began *bool) {
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			*began = true
			return run(cmd, unshield(args))
		}
	} else if cmd.HasSubCommands() && cmd.Run == nil {
		cmd.Args = unknownCommand
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error { return check(cmd, unshield(args)) }
	}
	for _, sub := range cmd.Commands() {
		prepare(sub, began)
	}
}

// shieldMark precedes an argument that is a negative number, so that it is not
// taken for flags: ids of chats are negative. No argument can contain it.
const shieldMark = "\x00"

func shield(root *cobra.Command, args []string) []string {
	takesNext := map[string]bool{} // flags whose value is the next argument
	allFlags(root, func(f *pflag.Flag) { takesNext["--"+f.Name] = f.NoOptDefVal == "" })
	out := make([]string, len(args)) // not nil, which would mean os.Args to cobra
	for i, arg := range args {
		out[i] = arg
		if arg == "--" {
			copy(out[i:], args[i:])
			break
		}
		if n, err := strconv.ParseInt(arg, 10, 64); err == nil && n < 0 && (i == 0 || !takesNext[args[i-1]]) {
			out[i] = shieldMark + arg
		}
	}
	return out
}

func unshield(args []string) []string {
	out := make([]string, len(args))
	for i, arg := range args {
		out[i] = strings.TrimPrefix(arg, shieldMark)
	}
	return out
}

func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.SuggestionsMinimumDistance <= 0 {
		cmd.SuggestionsMinimumDistance = 2
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return Usage("there is no command %q; did you mean %s?", shown(args[0]), strings.Join(near, " or "))
	}
	return Usage("there is no command %q", shown(args[0]))
}

// Args checks a command's arguments by name: "ID" is one that must be given,
// "[JSON]" one that may be, and a name that ends in "..." takes one or more.
func Args(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(names) > 0 && strings.HasSuffix(names[len(names)-1], "...") && len(args) >= len(names) {
			return nil
		}
		for i, name := range names {
			if i >= len(args) && !strings.HasPrefix(name, "[") {
				return Usage("%s needs %s", strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" "), strings.TrimSuffix(name, "..."))
			}
		}
		if len(args) > len(names) {
			extra := args[len(names)]
			if f := valueApart(cmd, extra); f != "" {
				return Usage("write --%s=%s: with a space, %s is an argument of its own", f, extra, extra)
			}
			return Usage("there is one argument too many: %q", shown(extra))
		}
		return nil
	}
}

// valueApart finds the flag that an argument was meant for: one that may stand
// without a value takes its value after "=" only.
func valueApart(cmd *cobra.Command, arg string) (name string) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.NoOptDefVal != "" && f.Value.Type() != "bool" && f.Value.String() == f.NoOptDefVal && isDuration(arg) {
			name = f.Name
		}
	})
	return name
}

// missingFlags is ValidateRequiredFlags with a sentence that says what to do.
func missingFlags(cmd *cobra.Command) error {
	var missing []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if len(f.Annotations[cobra.BashCompOneRequiredFlag]) > 0 && !f.Changed {
			missing = append(missing, "--"+f.Name)
		}
	})
	switch n := len(missing); n {
	case 0:
		return nil
	case 1:
		return Usage("%s is missing", missing[0])
	default:
		return Usage("%s and %s are missing", strings.Join(missing[:n-1], ", "), missing[n-1])
	}
}

package cli

import (
	"errors"
	"fmt"
	"strings"
)

// Exit codes of every program.
const (
	ExitOK          = 0
	ExitFailed      = 1 // the job or the command failed
	ExitUsage       = 2 // the command line or the configuration is wrong
	ExitUnavailable = 3 // Redis or Postgres cannot be reached
	ExitTimedOut    = 4 // timed out waiting
)

// ExitError is an error with an exit code of its own; any other error exits
// with ExitFailed. A nil Err exits in silence, for a failure that the command's
// output tells already.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

func (e *ExitError) Unwrap() error { return e.Err }

// ErrFailed exits with ExitFailed and prints nothing.
var ErrFailed error = &ExitError{Code: ExitFailed}

// Usage is an error of the command line. Main adds where its help is.
func Usage(format string, args ...any) error {
	return &ExitError{Code: ExitUsage, Err: fmt.Errorf(format, args...)}
}

// Unavailable says that a server cannot be reached, and what would do.
func Unavailable(format string, args ...any) error {
	return &ExitError{Code: ExitUnavailable, Err: fmt.Errorf(format, args...)}
}

// TimedOut says what did not happen in time, and how to ask again.
func TimedOut(format string, args ...any) error {
	return &ExitError{Code: ExitTimedOut, Err: fmt.Errorf(format, args...)}
}

// exitCode is err's exit code.
func exitCode(err error) int {
	var exit *ExitError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &exit):
		return exit.Code
	}
	return ExitFailed
}

// Sentence is err on one line, safe to print. Libraries' errors have several.
func Sentence(err error) string {
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' })
	var b strings.Builder
	for _, line := range lines {
		line = strings.Join(strings.Fields(line), " ")
		if line == "" {
			continue
		}
		switch s := b.String(); {
		case s == "":
		case strings.HasSuffix(s, ":") || strings.HasSuffix(s, ";") || strings.HasSuffix(s, ","):
			b.WriteString(" ")
		default:
			b.WriteString("; ")
		}
		b.WriteString(line)
	}
	return Clean(b.String())
}

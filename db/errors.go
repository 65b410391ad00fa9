package db

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"

	gosqlite "github.com/glebarez/go-sqlite"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tgswitchboard/switchboard/accounts"
)

// ErrUnavailable: the database cannot be reached or refuses to serve. The same
// may work later, or after the URL is put right.
var ErrUnavailable = errors.New("the database is unavailable")

// unavailableError is one sentence about a database that cannot be reached. Its
// text is our own: a driver's may quote the URL.
type unavailableError struct {
	target, reason string
	err            error
}

func (e *unavailableError) Error() string {
	return fmt.Sprintf("cannot reach %s: %s", e.target, e.reason)
}

func (e *unavailableError) Is(target error) bool { return target == ErrUnavailable }

// Unwrap lets callers match contexts and codes.
func (e *unavailableError) Unwrap() error { return e.err }

// unavailable is the error of a database that gave no answer at all.
func (d *DB) unavailable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return &unavailableError{target: d.target, reason: reason(err), err: hideConfig(err)}
}

// hideConfig takes the driver's configuration, and so the password, out of reach
// of those who look into the error.
func hideConfig(err error) error {
	var (
		pg  *pgconn.PgError
		op  *net.OpError
		con *pgconn.ConnectError
	)
	switch {
	case !errors.As(err, &con):
		return err
	case errors.As(err, &pg):
		return pg
	case errors.As(err, &op):
		return op
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded
	}
	return nil
}

// reason puts the innermost cause in words.
func reason(err error) string {
	var (
		pg   *pgconn.PgError
		dns  *net.DNSError
		op   *net.OpError
		lite *gosqlite.Error
	)
	switch {
	case errors.As(err, &pg):
		return pg.Message
	case errors.As(err, &dns):
		return "the host " + dns.Name + " is not known (" + dns.Err + ")"
	case errors.As(err, &op):
		return op.Err.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "it did not answer in time"
	case errors.As(err, &lite):
		switch lite.Code() & 0xff {
		case liteNotADB:
			return "the file is not a SQLite database"
		case liteBusy:
			return "another process keeps it locked"
		case liteReadOnly:
			return "the file is read-only"
		}
		return lite.Error()
	}
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}

// SQLite's result codes. Source: sqlite.org/rescode.html.
const (
	liteBusy       = 5
	liteReadOnly   = 8
	liteInterrupt  = 9
	liteIOErr      = 10
	liteCantOpen   = 14
	liteConstraint = 19
	liteTooBig     = 18
	liteNotADB     = 26

	liteForeignKey = liteConstraint | 3<<8
)

// fail wraps the error of a statement: what was attempted, for whom. A row that
// needs an account which is not there is accounts.ErrNotFound.
func (d *DB) fail(ctx context.Context, op string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && isInterrupted(err):
		return fmt.Errorf("%s: %w", op, ctx.Err())
	case isForeignKey(err):
		return fmt.Errorf("%s: %w", op, accounts.ErrNotFound)
	case ctx.Err() == nil && isUnavailable(err):
		return fmt.Errorf("%s: %w", op, &unavailableError{target: d.target, reason: reason(err), err: hideConfig(err)})
	}
	return fmt.Errorf("%s: %w", op, err)
}

// isInterrupted tells what the drivers may return when the caller's context ends:
// SQLite's own code, or a connection that was not made in time.
func isInterrupted(err error) bool {
	var lite *gosqlite.Error
	var con *pgconn.ConnectError
	return errors.As(err, &lite) && lite.Code()&0xff == liteInterrupt || errors.As(err, &con)
}

func isForeignKey(err error) bool {
	var pg *pgconn.PgError
	var lite *gosqlite.Error
	return errors.As(err, &pg) && pg.Code == "23503" || errors.As(err, &lite) && lite.Code() == liteForeignKey
}

func isUnavailable(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code {
		case "57P01", "57P02", "57P03", "53300": // shut down, crashed, starting, too many connections
			return true
		}
		return pg.Code[:min(2, len(pg.Code))] == "08"
	}
	var lite *gosqlite.Error
	if errors.As(err, &lite) {
		switch lite.Code() & 0xff {
		case liteBusy, liteIOErr, liteCantOpen, liteNotADB:
			return true
		}
		return false
	}
	var con *pgconn.ConnectError
	var op *net.OpError
	return errors.As(err, &con) || errors.As(err, &op) ||
		errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// isBadRow tells whether the content of a statement was refused, so that other
// rows may fare better.
func isBadRow(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && len(pg.Code) == 5 {
		switch pg.Code[:2] {
		case "22", "23", "54": // data, constraint, program limit
			return true
		}
	}
	var lite *gosqlite.Error
	if errors.As(err, &lite) {
		switch lite.Code() & 0xff {
		case 1, liteConstraint, liteTooBig: // 1: malformed JSON
			return true
		}
	}
	return false
}

package gateway

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/apikey"
)

// ErrLedgerDown is what a Ledger's errors match if it cannot be reached.
var ErrLedgerDown = errors.New("the database cannot be reached")

// Ledger is what the gateway asks of the database, which it never changes.
type Ledger interface {
	Ping(ctx context.Context) error
	// Keys returns the keys that are not revoked.
	Keys(ctx context.Context) ([]apikey.Key, error)
	// Outcome returns jobs.ErrNotFound if there is none.
	Outcome(ctx context.Context, id string) (jobs.Result, error)
	// Outcomes returns a page, the newest outcome first; next is zero if it is the last.
	Outcomes(ctx context.Context, q Query) (page []jobs.Result, next Place, err error)
	// Since returns outcomes of an account behind a place, the oldest first.
	Since(ctx context.Context, account accounts.ID, after Place, limit int) ([]jobs.Result, error)
	// Accounts returns accounts by name, from the one behind after on.
	Accounts(ctx context.Context, after accounts.ID, limit int) ([]Account, error)
	// Exist tells which of the accounts there are.
	Exist(ctx context.Context, ids []accounts.ID) (map[accounts.ID]bool, error)
}

// Query chooses outcomes. Zero fields choose all.
type Query struct {
	Account      accounts.ID
	States       []jobs.State
	Kind         jobs.Kind
	Error        string // name of the error, or what it begins with and then "*"
	Since, Until time.Time
	Before       Place
	Limit        int
}

// Place is a place among outcomes: that of one of them. It is a cursor of pages, and
// the id of an event.
type Place struct {
	Finished time.Time
	ID       string
}

// placeOf is the place of an outcome.
func placeOf(r jobs.Result) Place {
	return Place{Finished: r.FinishedAt.UTC().Truncate(time.Microsecond), ID: r.ID}
}

// IsZero tells the zero Place.
func (p Place) IsZero() bool { return p.ID == "" }

// String is microseconds since 1970, a dot and the job's id, "" of the zero Place.
func (p Place) String() string {
	if p.IsZero() {
		return ""
	}
	return strconv.FormatInt(p.Finished.UnixMicro(), 10) + "." + p.ID
}

// Places that databases can tell apart from all others.
var (
	firstPlace = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	lastPlace  = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC).UnixMicro()
)

// ParsePlace reads what String wrote.
func ParsePlace(s string) (Place, error) {
	if s == "" {
		return Place{}, nil
	}
	at, id, ok := strings.Cut(s, ".")
	micros, err := strconv.ParseInt(at, 10, 64)
	printable := utf8.ValidString(id) && !strings.ContainsFunc(id, func(c rune) bool { return c < ' ' || c == 0x7f })
	p := Place{Finished: time.UnixMicro(micros).UTC(), ID: id}
	if !ok || err != nil || id == "" || len(id) > maxID || !printable || micros < firstPlace || micros > lastPlace || p.String() != s {
		return Place{}, fmt.Errorf("%.40q is no place among outcomes; use what the page or the event before gave", s)
	}
	return p, nil
}

// maxID is the longest id of a job that is looked for, in bytes.
const maxID = 256

// Account is what producers may know of an account.
type Account struct {
	Name  accounts.ID     `json:"name"`
	Kind  accounts.Kind   `json:"kind,omitempty" doc:"user or bot; missing without a database"`
	State accounts.Status `json:"state,omitempty" doc:"active, paused, restricted, frozen, needs_login or banned; missing without a database"`
	Since time.Time       `json:"state_since,omitzero" doc:"since when it has the state"`
}

package db

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"gorm.io/gorm"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
)

// OutcomeFilter chooses outcomes. The zero filter chooses all.
type OutcomeFilter struct {
	Account accounts.ID  // "": any
	States  []jobs.State // none: any
	Kind    jobs.Kind    // "": any
	Error   string       // name of the error, or what it begins with and then "*"; "": any
	Since   time.Time    // finished then or later; zero: any time
	Until   time.Time    // finished before; zero: any time
	Before  Cursor       // only older ones; zero: from the newest
	Limit   int          // default 100
}

// Cursor is a place in a list of outcomes. The zero Cursor is before the newest.
type Cursor struct {
	finished time.Time
	id       string
}

// ParseCursor reads what String wrote.
func ParseCursor(s string) (Cursor, error) {
	if s == "" {
		return Cursor{}, nil
	}
	at, id, ok := strings.Cut(s, ".")
	micros, err := strconv.ParseInt(at, 10, 64)
	if !ok || err != nil || id == "" || !utf8.ValidString(id) || strings.Contains(id, "\x00") {
		return Cursor{}, fmt.Errorf("%.40q is no place in the list of outcomes; use what the page before it gave", s)
	}
	return Cursor{finished: time.UnixMicro(micros).UTC(), id: id}, nil
}

// String is empty for the zero Cursor; ParseCursor(c.String()) == c.
func (c Cursor) String() string {
	if c.IsZero() {
		return ""
	}
	return strconv.FormatInt(c.finished.UnixMicro(), 10) + "." + c.id
}

// IsZero tells the zero Cursor.
func (c Cursor) IsZero() bool { return c.id == "" }

// List returns outcomes, the one that finished last first, and where the next
// page begins: zero if there is none.
func (l *Ledger) List(ctx context.Context, f OutcomeFilter) ([]jobs.Result, Cursor, error) {
	limit := f.Limit
	if limit <= 0 {
		limit = 100
	}
	var rows []outcomeRow
	if err := f.list(l.d.dialect, l.d.run(ctx), limit+1).Find(&rows).Error; err != nil {
		return nil, Cursor{}, l.d.fail(ctx, "list outcomes", err)
	}
	var next Cursor
	if len(rows) > limit {
		rows = rows[:limit]
		last := &rows[limit-1]
		next = Cursor{finished: last.FinishedAt.Time, id: last.ID}
	}
	rs := make([]jobs.Result, len(rows))
	for i := range rows {
		var err error
		if rs[i], err = rows[i].result(); err != nil {
			return nil, Cursor{}, err
		}
	}
	return rs, next, nil
}

// list chooses a page.
func (f OutcomeFilter) list(d dialect, q *gorm.DB, limit int) *gorm.DB {
	return f.where(d, q).Order("finished_at DESC, id DESC").Limit(limit)
}

// where chooses by all of the filter but its limit.
func (f OutcomeFilter) where(d dialect, q *gorm.DB) *gorm.DB {
	if f.Account != "" {
		q = q.Where("account = ?", string(f.Account))
	}
	if len(f.States) > 0 {
		q = q.Where(d.stateIn(f.States...))
	}
	if f.Kind != "" {
		q = q.Where("kind = ?", string(f.Kind))
	}
	if f.Error != "" {
		q = q.Where(d.contains("error"), named(f.Error))
	}
	if !f.Since.IsZero() {
		q = q.Where("finished_at >= ?", d.time(f.Since))
	}
	if !f.Until.IsZero() {
		q = q.Where("finished_at < ?", d.time(f.Until))
	}
	if !f.Before.IsZero() {
		q = q.Where("(finished_at, id) < (?, ?)", d.time(f.Before.finished), f.Before.id)
	}
	return q
}

// stateIn compares with states, as literals: a planner sees which partial index has
// them, prepared or not. Those that are no outcomes match nothing.
func (d dialect) stateIn(states ...jobs.State) string {
	var literals []string
	for _, s := range states {
		if s.Final() {
			literals = append(literals, "'"+string(s)+"'")
		}
	}
	cond := "state IS NULL"
	switch len(literals) {
	case 0:
	case 1:
		cond = "state = " + literals[0]
	default:
		cond = "state IN (" + strings.Join(literals, ", ") + ")"
	}
	if d.lite && !slices.Contains(states, jobs.Succeeded) {
		cond += " AND state <> 'succeeded'" // the index's own words; Postgres concludes them
	}
	return cond
}

// contains is a condition: the column has a text, its parameter, in it. Postgres cannot
// look into JSON that has \u0000 anywhere.
func (d dialect) contains(column string) string {
	if d.lite {
		return "instr(" + column + ", ?) > 0"
	}
	return "strpos(CAST(" + column + " AS text), ?) > 0"
}

// named is what is in the JSON of an error with this name, and of no other: inside of
// its texts a quote has a backslash before it.
func named(name string) string {
	prefix, open := strings.CutSuffix(name, "*")
	text, _ := json.Marshal(prefix) // a string can be written
	if open {
		text = text[:len(text)-1]
	}
	return `"name":` + string(text)
}

// Count tells how many outcomes a filter chooses, whatever its limit.
func (l *Ledger) Count(ctx context.Context, f OutcomeFilter) (n int64, err error) {
	err = f.where(l.d.dialect, l.d.run(ctx).Model(&outcomeRow{})).Count(&n).Error
	return n, l.d.fail(ctx, "count outcomes", err)
}

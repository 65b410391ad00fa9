package db

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// dialect is where the two databases differ, beside the statements of leases.
type dialect struct {
	goose goose.Dialect
	lite  bool
	ping  string // a statement that has to read the database
	now   string // the database's clock, as it is stored
}

var (
	postgresDialect = dialect{goose: goose.DialectPostgres, ping: "SELECT 1", now: "clock_timestamp()"}
	sqliteDialect   = dialect{
		goose: goose.DialectSQLite3, lite: true,
		ping: "SELECT count(*) FROM sqlite_master",
		// unixepoch has milliseconds; the column microseconds.
		now: "(CAST(round(unixepoch('subsec') * 1000) AS INTEGER) * 1000)",
	}
)

// sql puts the dialect's clock in the place of {now}, and {now+ttl} for a moment
// that is the parameter @ttl, in microseconds, away.
func (d dialect) sql(s string) string {
	later := d.now + " + @ttl * interval '1 microsecond'"
	if d.lite {
		later = d.now + " + @ttl"
	}
	return strings.NewReplacer("{now}", d.now, "{now+ttl}", later).Replace(s)
}

// lookup joins a table by one index lookup for every row to the left. Either
// planner might rather read all rows of an account: it does not know how few a
// batch has.
func (d dialect) lookup(table, as, on string) string {
	if d.lite {
		return "CROSS JOIN " + table + " AS " + as + " ON " + on + " " // CROSS: in this order
	}
	return "CROSS JOIN LATERAL (SELECT * FROM " + table + " AS " + as + " WHERE " + on + " OFFSET 0) AS " + as
}

// maybe is lookup by a unique key where no row to the left is lost: what it lacks is
// NULL. LIMIT tells a planner without statistics that there is one row at most.
func (d dialect) maybe(table, as, on string) string {
	if d.lite {
		return "LEFT JOIN " + table + " AS " + as + " ON " + on + " "
	}
	return "LEFT JOIN LATERAL (SELECT * FROM " + table + " AS " + as + " WHERE " + on + " LIMIT 1) AS " + as + " ON true"
}

// texts joins the strings of a JSON list: columns value and key, which counts.
func (d dialect) texts(list, as string) string {
	if d.lite {
		return "CROSS JOIN json_each(" + list + ") AS " + as
	}
	return "CROSS JOIN LATERAL jsonb_array_elements_text(CAST(" + list + " AS jsonb)) WITH ORDINALITY AS " + as + " (value, key)"
}

// lists joins the lists of a JSON list: column value.
func (d dialect) lists(list, as string) string {
	if d.lite {
		return "CROSS JOIN json_each(" + list + ") AS " + as
	}
	return "CROSS JOIN LATERAL jsonb_array_elements(CAST(" + list + " AS jsonb)) AS " + as + " (value)"
}

// exact is t as both databases give it back.
func exact(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}

// stamp is a time in a row: timestamptz in Postgres, microseconds since 1970 in
// SQLite. The zero stamp is NULL.
type stamp struct{ time.Time }

func (stamp) GormDataType() string { return "time" }

// GormValue binds the stamp in gorm's statements.
func (s stamp) GormValue(_ context.Context, g *gorm.DB) clause.Expr {
	lite := g.Name() == sqliteName
	return clause.Expr{SQL: "?", Vars: []any{dialect{lite: lite}.time(s.Time)}}
}

const sqliteName = "sqlite"

// Scan reads what either driver returns.
func (s *stamp) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		s.Time = time.Time{}
	case time.Time:
		s.Time = v.UTC()
	case int64:
		s.Time = time.UnixMicro(v).UTC()
	default:
		return fmt.Errorf("a time in the database is a %T", v)
	}
	return nil
}

// time is t as a parameter.
func (d dialect) time(t time.Time) any {
	switch t = exact(t); {
	case t.IsZero():
		return nil
	case d.lite:
		return t.UnixMicro()
	}
	return t
}

// batch is many rows as one parameter, so that a statement is the same, and stays
// prepared, however many rows it gets.
type batch struct {
	d    dialect
	cols []column
	rows [][]any
}

type column struct {
	name string
	typ  string // of Postgres
}

// newBatch describes the columns: "id text", "seen_at timestamptz".
func (d dialect) newBatch(cols ...string) *batch {
	b := &batch{d: d}
	for _, c := range cols {
		name, typ, _ := strings.Cut(c, " ")
		b.cols = append(b.cols, column{name, typ})
	}
	return b
}

// add takes one row: strings, integers, bools, times, []byte, json.RawMessage;
// nil is NULL, and so is what is empty of the last three.
func (b *batch) add(values ...any) {
	for i, v := range values {
		switch v := v.(type) {
		case time.Time:
			values[i] = b.time(v)
		case json.RawMessage:
			values[i] = nil
			if len(v) > 0 {
				values[i] = string(v) // as text: it has to survive byte by byte
			}
		case []byte:
			values[i] = nil
			if v != nil {
				values[i] = fmt.Sprintf("%x", v)
			}
		}
	}
	b.rows = append(b.rows, values)
}

func (b *batch) time(t time.Time) any {
	v := b.d.time(t)
	if at, ok := v.(time.Time); ok {
		return at.Format(time.RFC3339Nano)
	}
	return v
}

// from is the batch as a subselect, for a FROM clause; its parameter is @batch.
func (b *batch) from() string {
	var out []string
	for i, c := range b.cols {
		v := fmt.Sprintf("(value->>%d)", i)
		switch {
		case c.typ == "bytea" && b.d.lite:
			v = "unhex(value->>" + fmt.Sprint(i) + ")"
		case c.typ == "bytea":
			v = "decode(" + v + ", 'hex')"
		case !b.d.lite:
			v = "CAST(" + v + " AS " + c.typ + ")"
		}
		out = append(out, v+" AS "+c.name)
	}
	each := "json_each(@batch)"
	if !b.d.lite {
		each = "jsonb_array_elements(CAST(@batch AS jsonb))"
	}
	return "(SELECT " + strings.Join(out, ", ") + " FROM " + each + ")"
}

// param is the value of @batch.
func (b *batch) param() (string, error) {
	data, err := json.Marshal(b.rows)
	return string(data), err
}

package db

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/stdlib"

	"github.com/tgswitchboard/switchboard/accounts"
)

// copyAtLeast is how many outcomes are copied; fewer are inserted, which costs less then.
const copyAtLeast = 8

// copyOutcomes writes outcomes of jobs that have none, in one round trip and one
// transaction. Its second statement, a division by zero unless every lease is in force,
// is the fence. Postgres takes a third of the time that recordBatch needs.
const copyOutcomes = `COPY outcomes
	(id, account, kind, state, result, error, attempts, enqueued_at, started_at, finished_at, worker, holder, token, payload)
	FROM STDIN (FORMAT binary);
SELECT 1 / CAST(count(*) = %d AS int)
	FROM unnest(CAST(%s AS text[]), CAST(%s AS text[]), CAST(%s AS bigint[])) AS b (account, holder, token) %s`

// copyable tells an outcome that fits into the columns, takes no other's place and is
// told to nobody.
func (r *record) copyable() bool {
	return r.supersedes.IsZero() && r.result.Webhook == nil && r.result.Attempts == int(int32(r.result.Attempts))
}

// copied writes recs[i] for all i of pick, which are of different jobs: all of them or,
// with an error, none. They have to be copyable.
func (l *Ledger) copied(ctx context.Context, recs []*record, pick []int) error {
	var rows copyRows
	rows.begin()
	leases := map[accounts.Lease]bool{}
	var account, holder, token []string
	for _, i := range pick {
		rec := recs[i]
		rows.outcome(rec)
		if !leases[rec.lease] {
			leases[rec.lease] = true
			account = append(account, string(rec.lease.Account))
			holder = append(holder, rec.lease.Worker)
			token = append(token, strconv.FormatInt(rec.lease.Token, 10))
		}
	}
	rows.end()
	held := l.d.lookup("leases", "l", "l.account = b.account AND l.worker = b.holder AND l.token = b.token")
	query := fmt.Sprintf(copyOutcomes, len(account), arrayLiteral(account), arrayLiteral(holder), arrayLiteral(token), held)
	began := time.Now()
	err := l.d.copyFrom(ctx, &rows.Buffer, query)
	l.d.gorm.Logger.Trace(ctx, began, func() (string, int64) { return copyOutcomes, int64(len(pick)) }, err)
	return err
}

// copyFrom runs a query whose first statement copies data from r.
func (d *DB) copyFrom(ctx context.Context, r io.Reader, query string) error {
	conn, err := d.pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Raw(func(driver any) error {
		_, err := driver.(*stdlib.Conn).Conn().PgConn().CopyFrom(ctx, r, query)
		return err
	})
}

// arrayLiteral is an array of texts as a literal of SQL.
func arrayLiteral(texts []string) string {
	var b strings.Builder
	b.WriteString("'{")
	for i, s := range texts {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		for _, c := range []byte(s) {
			switch c {
			case '"', '\\':
				b.WriteByte('\\')
			case '\'':
				b.WriteByte('\'')
			}
			b.WriteByte(c)
		}
		b.WriteByte('"')
	}
	b.WriteString("}'")
	return b.String()
}

// copyRows is rows in the binary format of COPY. Source: the PostgreSQL manual, COPY,
// file formats.
type copyRows struct {
	bytes.Buffer
	field [8]byte
}

func (b *copyRows) begin() {
	b.WriteString("PGCOPY\n\xff\r\n\x00")
	b.Write(make([]byte, 8)) // no flags, no extension
}

func (b *copyRows) end() { b.Write([]byte{0xff, 0xff}) }

func (b *copyRows) outcome(rec *record) {
	r := &rec.result
	b.Write([]byte{0, 14}) // columns
	b.text(r.ID)
	b.text(string(r.Account))
	b.text(string(r.Kind))
	b.text(string(r.State))
	b.bytes(r.Result, len(r.Result) == 0)
	b.bytes(rec.errs, len(rec.errs) == 0)
	b.int4(int32(r.Attempts))
	b.time(r.EnqueuedAt)
	b.time(r.StartedAt)
	b.time(r.FinishedAt)
	b.text(r.Worker)
	b.text(rec.lease.Worker)
	b.int8(rec.lease.Token)
	b.bytes(r.Payload, r.Payload == nil)
}

func (b *copyRows) text(s string) {
	b.size(len(s))
	b.WriteString(s)
}

func (b *copyRows) bytes(v []byte, null bool) {
	if null {
		b.size(-1)
		return
	}
	b.size(len(v))
	b.Write(v)
}

func (b *copyRows) int4(n int32) {
	b.size(4)
	binary.BigEndian.PutUint32(b.field[:4], uint32(n))
	b.Write(b.field[:4])
}

func (b *copyRows) int8(n int64) {
	b.size(8)
	binary.BigEndian.PutUint64(b.field[:], uint64(n))
	b.Write(b.field[:])
}

// postgresEpoch is where Postgres counts microseconds from.
var postgresEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

func (b *copyRows) time(t time.Time) {
	if t.IsZero() {
		b.size(-1)
		return
	}
	b.int8(t.UnixMicro() - postgresEpoch)
}

func (b *copyRows) size(n int) {
	binary.BigEndian.PutUint32(b.field[:4], uint32(int32(n)))
	b.Write(b.field[:4])
}

package db

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// outcomeColumnTypes are what a batch of outcomes has, with the types of Postgres.
var outcomeColumnTypes = []string{
	"id text", "account text", "kind text", "state text", "result json", "error json", "attempts bigint",
	"enqueued_at timestamptz", "started_at timestamptz", "finished_at timestamptz",
	"worker text", "holder text", "token bigint", "payload bytea", "supersedes timestamptz",
}

// outcomes makes a batch of records a subselect and its parameters. Postgres gets an
// array for each column: beside the lists of a batch that is a quarter of the work, and
// this is the statement of every job.
func (d dialect) outcomes(recs []record, pick []int) (from string, args map[string]any, err error) {
	if !d.lite {
		return outcomeArrays, arraysOf(recs, pick), nil
	}
	b := d.newBatch(outcomeColumnTypes...)
	for _, i := range pick {
		r := recs[i].result
		b.add(r.ID, string(r.Account), string(r.Kind), string(r.State), r.Result, recs[i].errs, r.Attempts,
			r.EnqueuedAt, r.StartedAt, r.FinishedAt, r.Worker, recs[i].lease.Worker, recs[i].lease.Token, []byte(r.Payload), recs[i].supersedes)
	}
	rows, err := b.param()
	return b.from(), map[string]any{"batch": rows}, err
}

var outcomeArrays = func() string {
	var names, arrays []string
	for _, c := range outcomeColumnTypes {
		name, typ, _ := strings.Cut(c, " ")
		names, arrays = append(names, name), append(arrays, fmt.Sprintf("CAST(@%s AS %s[])", name, typ))
	}
	return fmt.Sprintf("(SELECT * FROM unnest(%s) AS u (%s))", strings.Join(arrays, ", "), strings.Join(names, ", "))
}()

// arraysOf is a column of each field. They are pointers: gorm writes a slice out as a
// list of parameters.
func arraysOf(recs []record, pick []int) map[string]any {
	n := len(pick)
	strs := func() *[]string { s := make([]string, n); return &s }
	id, account, kind, state, worker, holder := strs(), strs(), strs(), strs(), strs(), strs()
	results, errs := make([]*string, n), make([]*string, n)
	enqueued, started, finished, supersedes := make([]*time.Time, n), make([]*time.Time, n), make([]*time.Time, n), make([]*time.Time, n)
	attempts, token, payload := make([]int64, n), make([]int64, n), make([][]byte, n)
	for k, i := range pick {
		rec := &recs[i]
		r := &rec.result
		(*id)[k], (*account)[k], (*kind)[k], (*state)[k] = r.ID, string(r.Account), string(r.Kind), string(r.State)
		(*worker)[k], (*holder)[k], token[k] = r.Worker, rec.lease.Worker, rec.lease.Token
		results[k], errs[k], attempts[k], payload[k] = jsonText(r.Result), jsonText(rec.errs), int64(r.Attempts), r.Payload
		enqueued[k], started[k] = orNull(&r.EnqueuedAt), orNull(&r.StartedAt)
		finished[k], supersedes[k] = orNull(&r.FinishedAt), orNull(&rec.supersedes)
	}
	return map[string]any{
		"id": id, "account": account, "kind": kind, "state": state, "result": &results, "error": &errs, "attempts": &attempts,
		"enqueued_at": &enqueued, "started_at": &started, "finished_at": &finished,
		"worker": worker, "holder": holder, "token": &token, "payload": &payload, "supersedes": &supersedes,
	}
}

// jsonText is NULL for what is empty.
func jsonText(m json.RawMessage) *string {
	if len(m) == 0 {
		return nil
	}
	s := string(m)
	return &s
}

func orNull(t *time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return t
}

package db

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/jobs"
	"github.com/tgswitchboard/switchboard/jobs/webhook"
)

// Webhooks keeps deliveries of outcomes.
type Webhooks struct{ d *DB }

var _ webhook.Store = (*Webhooks)(nil)

// Webhooks returns the store of deliveries. It asks for no tables but webhooks,
// webhook_attempts and outcomes.
func (d *DB) Webhooks() *Webhooks { return &Webhooks{d} }

// Webhooks is that of a DB.
func (o *Outcomes) Webhooks() *Webhooks { return o.d.Webhooks() }

// webhookID names a delivery: that of one outcome of a job, however often it is recorded.
func webhookID(r jobs.Result) string {
	sum := sha256.Sum256([]byte(r.ID + "\x00" + strconv.FormatInt(r.FinishedAt.UnixMicro(), 10)))
	return "msg_" + hex.EncodeToString(sum[:16])
}

// addWebhooks adds a delivery for each outcome of a batch that is stored. One that has
// another outcome gets none for this one.
const addWebhooks = `INSERT INTO webhooks (id, job, account, finished_at, url, host, key, state, created_at, due_at, attempts, tries)
	SELECT b.id, b.job, o.account, o.finished_at, b.url, b.host, b.key, 'pending', {now}, {now}, 0, 0
	FROM %s AS b JOIN outcomes AS o ON o.id = b.job AND o.account = b.account AND o.finished_at = b.finished_at
	WHERE true ON CONFLICT (id) DO NOTHING`

// tell adds the deliveries of outcomes that name a webhook to the transaction that has
// recorded them.
func (d *DB) tell(tx *gorm.DB, rs []jobs.Result) error {
	b := d.newBatch("id text", "job text", "account text", "finished_at timestamptz", "url text", "host text", "key text")
	for _, r := range rs {
		b.add(webhookID(r), r.ID, string(r.Account), r.FinishedAt, r.Webhook.URL, webhook.Host(r.Webhook.URL), r.Webhook.Key)
	}
	rows, err := b.param()
	if err != nil {
		return err
	}
	return tx.Exec(d.sql(fmt.Sprintf(addWebhooks, b.from())), map[string]any{"batch": rows}).Error
}

type webhookRow struct {
	ID, Job, Account string
	FinishedAt       stamp
	URL, Key, State  string
	CreatedAt, DueAt stamp
	Attempts, Tries  int
}

func (webhookRow) TableName() string { return "webhooks" }

func (w *webhookRow) delivery() webhook.Delivery {
	return webhook.Delivery{
		ID: w.ID, Job: w.Job, Account: accounts.ID(w.Account), URL: w.URL, Key: w.Key, State: webhook.State(w.State),
		Attempts: w.Attempts, Tries: w.Tries, CreatedAt: w.CreatedAt.Time, DueAt: w.DueAt.Time,
	}
}

// claim updates what is due. Others who claim do not wait for one another.
func (d dialect) claim() string {
	due := "SELECT id FROM webhooks WHERE due_at <= {now} AND host NOT IN @busy ORDER BY due_at LIMIT @most"
	in := "id IN (" + due + ")"
	if !d.lite {
		in = "id = ANY(ARRAY(" + due + " FOR UPDATE SKIP LOCKED))"
	}
	return d.sql("UPDATE webhooks SET due_at = {now+ttl}, attempts = attempts + 1, tries = tries + 1 WHERE " + in +
		" RETURNING id, job, account, finished_at, url, key, state, created_at, due_at, attempts, tries")
}

// Claim implements webhook.Store.
func (s *Webhooks) Claim(ctx context.Context, n int, busy []string, hold time.Duration) ([]webhook.Work, error) {
	var rows []webhookRow
	err := s.d.run(ctx).Raw(s.d.claim(), map[string]any{
		"ttl": hold.Microseconds(), "busy": append([]string{"\x01"}, busy...), "most": n, // IN () is no SQL
	}).Scan(&rows).Error
	if err != nil || len(rows) == 0 {
		return nil, s.d.fail(ctx, "claim webhooks", err)
	}
	told, err := s.outcomes(ctx, rows)
	if err != nil {
		return nil, err
	}
	works := make([]webhook.Work, len(rows))
	for i := range rows {
		works[i] = webhook.Work{Delivery: rows[i].delivery()}
		if r, ok := told[rows[i].Job]; ok && r.Account == works[i].Account && r.FinishedAt.Equal(rows[i].FinishedAt.Time) {
			works[i].Result = &r
		}
	}
	return works, nil
}

// outcomes returns those that are told, without results that would be left out.
func (s *Webhooks) outcomes(ctx context.Context, rows []webhookRow) (map[string]jobs.Result, error) {
	ids := make([]string, len(rows))
	for i := range rows {
		ids[i] = rows[i].Job
	}
	const large = "length(CAST(o.result AS text)) > @most"
	columns := strings.NewReplacer("o.result", "CASE WHEN "+large+" THEN NULL ELSE o.result END AS result", ", o.payload", "").Replace(outcomeColumns)
	var found []struct {
		Outcome outcomeRow `gorm:"embedded"`
		Omitted bool
	}
	err := s.d.run(ctx).Raw("SELECT "+columns+", coalesce("+large+", false) AS omitted FROM outcomes AS o WHERE o.id IN @ids",
		map[string]any{"ids": ids, "most": webhook.MaxResult}).Scan(&found).Error
	if err != nil {
		return nil, s.d.fail(ctx, "read the outcomes that webhooks tell", err)
	}
	told := make(map[string]jobs.Result, len(found))
	for i := range found {
		r, err := found[i].Outcome.result()
		if err != nil {
			return nil, err
		}
		r.ResultOmitted = found[i].Omitted
		told[r.ID] = r
	}
	return told, nil
}

// Settle implements webhook.Store.
func (s *Webhooks) Settle(ctx context.Context, w webhook.Work, a webhook.Attempt, state webhook.State, wait time.Duration) error {
	due := "NULL"
	if state == webhook.Pending {
		due = s.d.sql("{now+ttl}")
	}
	err := s.d.run(ctx).Transaction(func(tx *gorm.DB) error {
		done := tx.Exec("UPDATE webhooks SET state = @state, due_at = "+due+" WHERE id = @id AND attempts = @attempts AND state = 'pending'",
			map[string]any{"state": string(state), "ttl": wait.Microseconds(), "id": w.ID, "attempts": w.Attempts})
		if done.Error != nil {
			return done.Error
		}
		return tx.Exec(`INSERT INTO webhook_attempts (webhook, n, at, took_ms, status, error)
			SELECT id, ?, ?, ?, ?, ? FROM webhooks WHERE id = ? ON CONFLICT DO NOTHING`,
			a.N, s.d.time(a.At), a.Took, a.Status, text(a.Error), w.ID).Error
	})
	return s.d.fail(ctx, "write down a webhook's attempt", err)
}

// WebhookFilter chooses deliveries. The zero filter chooses all.
type WebhookFilter struct {
	ID      string
	Job     string
	Account accounts.ID
	State   webhook.State
	Limit   int // the newest so many; 0: all
}

func (s *Webhooks) where(ctx context.Context, f WebhookFilter) *gorm.DB {
	q := s.d.run(ctx).Model(&webhookRow{})
	for column, value := range map[string]string{"id": f.ID, "job": f.Job, "account": string(f.Account), "state": string(f.State)} {
		if value != "" {
			q = q.Where(column+" = ?", text(value))
		}
	}
	return q
}

// List returns deliveries, the newest first.
func (s *Webhooks) List(ctx context.Context, f WebhookFilter) ([]webhook.Delivery, error) {
	q := s.where(ctx, f).Order("created_at DESC, id DESC")
	if f.Limit > 0 {
		q = q.Limit(f.Limit)
	}
	var rows []webhookRow
	if err := q.Find(&rows).Error; err != nil {
		return nil, s.d.fail(ctx, "list webhooks", err)
	}
	ds := make([]webhook.Delivery, len(rows))
	for i := range rows {
		ds[i] = rows[i].delivery()
	}
	return ds, nil
}

// Count says how many deliveries the filter chooses, however many its Limit is.
func (s *Webhooks) Count(ctx context.Context, f WebhookFilter) (n int64, err error) {
	err = s.where(ctx, f).Count(&n).Error
	return n, s.d.fail(ctx, "count webhooks", err)
}

// Attempts is the log of one delivery, the first attempt first.
func (s *Webhooks) Attempts(ctx context.Context, id string) ([]webhook.Attempt, error) {
	var rows []struct {
		N      int
		At     stamp
		TookMs int64
		Status int
		Error  string
	}
	err := s.d.run(ctx).Raw("SELECT n, at, took_ms, status, error FROM webhook_attempts WHERE webhook = ? ORDER BY n", text(id)).Scan(&rows).Error
	if err != nil {
		return nil, s.d.fail(ctx, "read the log of a webhook", err)
	}
	as := make([]webhook.Attempt, len(rows))
	for i, r := range rows {
		as[i] = webhook.Attempt{N: r.N, At: r.At.Time, Took: r.TookMs, Status: r.Status, Error: r.Error}
	}
	return as, nil
}

// Replay has deliveries sent again, now and with all their tries, whatever became of
// them, under the id that they have. It returns how many.
func (s *Webhooks) Replay(ctx context.Context, f WebhookFilter) (int64, error) {
	done := s.where(ctx, f).Updates(map[string]any{"state": string(webhook.Pending), "due_at": gorm.Expr(s.d.now), "tries": 0})
	return done.RowsAffected, s.d.fail(ctx, "replay webhooks", done.Error)
}

// Prune deletes deliveries that nothing is to be done for, and that were written down
// longer than keep ago; at most 1000 of them. It returns how many.
func (s *Webhooks) Prune(ctx context.Context, keep time.Duration) (int64, error) {
	done := s.d.run(ctx).Exec(s.d.sql(`DELETE FROM webhooks WHERE id IN (
		SELECT id FROM webhooks WHERE created_at < {now+ttl} AND due_at IS NULL ORDER BY created_at, id LIMIT 1000)`),
		map[string]any{"ttl": -keep.Microseconds()})
	return done.RowsAffected, s.d.fail(ctx, "delete old webhooks", done.Error)
}

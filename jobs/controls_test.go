package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/jobs"
)

// Every field of what a job says of when and how often, and what is refused, each
// with its path and in one sentence.
func TestControlsOnTheWire(t *testing.T) {
	for _, tt := range []struct{ field, path, says string }{
		{`"expires_at":"2030-01-31T15:04:05Z"`, "", ""},
		{`"expires_at":"2001-01-31T15:04:05.25+02:00"`, "", ""}, // late is not invalid
		{`"expires_at":"tomorrow"`, "expires_at", `"tomorrow" is no time; give RFC 3339, such as 2030-01-31T15:04:05Z`},
		{`"deadline":"2030-01-31T15:04:05Z"`, "", ""},
		{`"deadline":"2030-01-31"`, "deadline", `"2030-01-31" is no time; give RFC 3339, such as 2030-01-31T15:04:05Z`},
		{`"priority":"high"`, "", ""},
		{`"priority":"low"`, "priority", `"low" is unknown; use high or nothing`},
		{`"max_attempts":100`, "", ""},
		{`"max_attempts":101`, "max_attempts", "101 is out of range; give 1 to 100, or nothing for the worker's own"},
		{`"max_attempts":-1`, "max_attempts", "-1 is out of range; give 1 to 100, or nothing for the worker's own"},
		{`"backoff":"5s"`, "", ""},
		{`"backoff":"5m","backoff_max":"1h"`, "", ""},
		{`"backoff":"5"`, "backoff", `"5" is no duration; give one such as 5s or 2m`},
		{`"backoff":"100ms"`, "backoff", "100ms is out of range; give 1s to 24h0m0s"},
		{`"backoff":"-5s"`, "backoff", "-5s is out of range; give 1s to 24h0m0s"},
		{`"backoff_max":"48h"`, "backoff_max", "48h is out of range; give 1s to 24h0m0s"},
		{`"backoff":"5m","backoff_max":"1m"`, "backoff_max", "1m is less than the first wait, 5m0s"},
	} {
		_, err := jobs.Decode(jobs.KindSend, []byte(`{"v":1,"account":"alice",`+tt.field+`,"send":{"to":"me","text":"x"}}`))
		var field *jobs.FieldError
		switch {
		case tt.path == "" && err != nil:
			t.Errorf("%s: %v", tt.field, err)
		case tt.path != "" && (!errors.As(err, &field) || field.Path != tt.path || field.Message != tt.says):
			t.Errorf("%s: %v, want %s: %s", tt.field, err, tt.path, tt.says)
		}
	}
}

// What needs a clock is refused when the job is enqueued, and leaves nothing behind.
func TestTimesAreChecked(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := context.Background()
	now := time.Now()
	hour := jobs.Delay(time.Hour)
	for _, tt := range []struct {
		name string
		opts []jobs.Option
		path string // "": it is good
		says string
	}{
		{"expiry to come", []jobs.Option{jobs.ExpireIn(time.Minute)}, "", ""},
		{"expiry in the past", []jobs.Option{jobs.ExpireAt(now.Add(-time.Second))}, "expires_at", "is over; give a time in the future"},
		{"negative expiry", []jobs.Option{jobs.ExpireIn(-time.Second)}, "expires_at", "is over; give a time in the future"},
		{"no time left", []jobs.Option{jobs.ExpireIn(0)}, "expires_at", "is over"},
		{"expiry before the schedule", []jobs.Option{hour, jobs.ExpireIn(time.Minute)}, "expires_at", "which the job is scheduled for"},
		{"expiry after the schedule", []jobs.Option{hour, jobs.ExpireIn(2 * time.Hour)}, "", ""},
		{"deadline in the past", []jobs.Option{jobs.Deadline(now.Add(-time.Second))}, "deadline", "is over"},
		{"deadline before the schedule", []jobs.Option{jobs.At(now.Add(time.Hour)), jobs.Deadline(now.Add(time.Minute))}, "deadline", "which the job is scheduled for"},
		{"negative delay", []jobs.Option{jobs.Delay(-time.Minute)}, "delay", "-1m0s is negative; a job cannot run before it is enqueued"},
		{"no delay", []jobs.Option{jobs.Delay(0)}, "", ""},
		{"no attempts", []jobs.Option{jobs.MaxAttempts(0)}, "max_attempts", "0 is out of range"},
		{"too many attempts", []jobs.Option{jobs.MaxAttempts(101)}, "max_attempts", "101 is out of range"},
		{"attempts", []jobs.Option{jobs.MaxAttempts(1), jobs.Backoff(5*time.Second, 0)}, "", ""},
		{"backoff too short", []jobs.Option{jobs.Backoff(0, time.Millisecond)}, "backoff_max", "out of range"},
		{"unknown priority", []jobs.Option{jobs.Priority("urgent")}, "priority", `"urgent" is unknown`},
	} {
		before := b.rdb.DBSize(ctx).Val()
		_, err := b.client.Enqueue(ctx, "alice", send("hi"), tt.opts...)
		var field *jobs.FieldError
		switch {
		case tt.path == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.path == "":
			b.rdb.FlushDB(ctx)
		case !errors.As(err, &field) || field.Path != tt.path || !strings.Contains(field.Message, tt.says):
			t.Errorf("%s: %v, want %s: … %s", tt.name, err, tt.path, tt.says)
		case b.rdb.DBSize(ctx).Val() != before:
			t.Errorf("%s: something was written", tt.name)
		}
	}
}

func TestWaits(t *testing.T) {
	const s, m = time.Second, time.Minute
	for _, tt := range []struct {
		backoff, most string
		want          []time.Duration
	}{
		{"", "", []time.Duration{s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, m, m}},
		{"5s", "", []time.Duration{5 * s, 10 * s, 20 * s, 40 * s, m}},
		{"5s", "8s", []time.Duration{5 * s, 8 * s, 8 * s}},
		{"2m", "", []time.Duration{2 * m, 2 * m}},
		{"", "3s", []time.Duration{s, 2 * s, 3 * s}},
		{"2m", "10m", []time.Duration{2 * m, 4 * m, 8 * m, 10 * m}},
	} {
		e := jobs.Envelope{Backoff: tt.backoff, BackoffMax: tt.most}
		var got []time.Duration
		for i := range tt.want {
			got = append(got, e.Wait(i+1))
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q, %q (-want +got):\n%s", tt.backoff, tt.most, diff)
		}
		if last := e.Wait(1000); last != tt.want[len(tt.want)-1] {
			t.Errorf("%q, %q: the thousandth wait is %v", tt.backoff, tt.most, last)
		}
	}
}

// A job with a limit is written, and its worker woken for both times, in the one
// round trip of every job; a repeated one changes nothing.
func TestLimitIsWritten(t *testing.T) {
	for name, setup := range map[string]func(testing.TB) *bench{"redis": setup, "miniredis": setupMini} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			ctx := context.Background()
			b.rdb.Set(ctx, jobs.OwnerKey("alice"), "channel", 0)
			sub := b.rdb.Subscribe(ctx, "channel")
			defer sub.Close()
			if _, err := sub.Receive(ctx); err != nil {
				t.Fatal(err)
			}
			limit := time.Now().Add(time.Hour)
			second := limit.Truncate(time.Second).Unix() + 1
			j := b.enqueue("alice", "hi", jobs.ExpireAt(limit), jobs.Deadline(limit.Add(time.Hour)), jobs.IdempotencyKey("k"))
			for _, want := range []string{"alice", fmt.Sprint("alice ", second)} {
				m, err := sub.ReceiveMessage(ctx)
				if err != nil || m.Payload != want {
					t.Errorf("woken by %v, %v; want %q", m, err, want)
				}
			}
			again, err := b.client.Enqueue(ctx, "alice", send("hi"), jobs.ExpireIn(2*time.Hour), jobs.IdempotencyKey("k"))
			if err != nil || again.ID != j.ID || !again.Existing {
				t.Errorf("a repeated enqueue: %+v, %v; want the first job", again, err)
			}
			if at := b.rdb.ZScore(ctx, "switchboard:{acct:alice}:expires", j.ID).Val(); int64(at) != second {
				t.Errorf("it is over at %v, want %d", at, second)
			}
			first := b.enqueue("alice", "first", jobs.Priority(jobs.PriorityHigh), jobs.Deadline(limit))
			if got := b.rdb.LRange(ctx, "switchboard:{acct:alice}:first", 0, -1).Val(); !slices.Equal(got, []string{first.ID}) {
				t.Errorf("the line of high priority is %q", got)
			}
			b.finish("alice", jobs.Result{ID: jobs.KeyID("alice", "done"), Kind: jobs.KindSend, State: jobs.Succeeded})
			done, err := b.client.Enqueue(ctx, "alice", send("again"), jobs.Priority(jobs.PriorityHigh), jobs.ExpireAt(limit), jobs.IdempotencyKey("done"))
			if err != nil || !done.Existing {
				t.Errorf("an enqueue of a job that is done: %+v, %v", done, err)
			}
			if n := b.rdb.LLen(ctx, "switchboard:{acct:alice}:first").Val() + b.rdb.ZCard(ctx, "switchboard:{acct:alice}:expires").Val(); n != 3 {
				t.Errorf("%d entries for two jobs, want 3: a job that is done was not taken back", n)
			}
		})
	}
}

// A list shows jobs whenever there are some, also a short one and while they end.
func TestListWhileJobsEnd(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := context.Background()
	for range 20 {
		b.enqueue("alice", "hello")
	}
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() { // jobs come, are begun and end, and there are always some
		defer close(ended)
		other := jobs.NewClient(b.rdb)
		defer other.Close()
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := other.Enqueue(ctx, "alice", send("hello")); err != nil {
				t.Error(err)
				return
			}
			id := b.rdb.LMove(ctx, "asynq:{acct:alice}:pending", "asynq:{acct:alice}:active", "RIGHT", "LEFT").Val()
			b.rdb.LRem(ctx, "asynq:{acct:alice}:active", 0, id)
			b.rdb.Del(ctx, "asynq:{acct:alice}:t:"+id)
		}
	}()
	for i := range 1000 {
		list, err := b.client.List(ctx, jobs.Filter{Limit: 1 + i%2})
		if err != nil || len(list) != 1+i%2 {
			t.Errorf("List: %d jobs, %v; want %d", len(list), err, 1+i%2)
			break
		}
	}
	close(stop)
	<-ended
}

// Tasks that were archived or deleted with another tool do not hide jobs.
func TestListPassesRemains(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := context.Background()
	for range 150 {
		j := b.enqueue("alice", "gone")
		b.rdb.Del(ctx, "asynq:{acct:alice}:t:"+j.ID)
	}
	want := b.enqueue("alice", "there")
	list, err := b.client.List(ctx, jobs.Filter{Limit: 1})
	if err != nil || len(list) != 1 || list[0].ID != want.ID {
		t.Errorf("List: %v, %v; want job %s", list, err, want.ID)
	}
}

package jobs

import (
	"context"
	"encoding/json"

	"github.com/redis/go-redis/v9"

	"github.com/tgswitchboard/switchboard/accounts"
)

// Task is one run of a job, as a worker takes it off the account's line. Nothing of it
// but its Account is checked: any producer may have written it.
type Task struct {
	ID      string
	Account accounts.ID
	Type    string
	Payload []byte
	Headers map[string]string
	Retried int // attempts before this one that count

	// Ended is for the handler to set, before it returns nil: the outcome is published
	// in the round trip of the job's acknowledgement, before that.
	Ended *Announcement
}

// Announcement is an outcome as Redis keeps it and tells those who wait.
type Announcement struct {
	job  string
	body []byte
	kind Kind
}

// Announce returns what Publish would write of an outcome; false if that is larger
// than MaxResult, and so takes a round trip of its own.
func Announce(r Result) (*Announcement, bool) {
	b, err := json.Marshal(r)
	if err != nil || len(b) > MaxResult {
		return nil, false
	}
	return &Announcement{r.ID, b, r.Kind}, true
}

// AddTo puts the commands into a pipeline and returns them: each has its own error.
func (a *Announcement) AddTo(ctx context.Context, p redis.Pipeliner) []redis.Cmder {
	cmds := []redis.Cmder{
		p.Set(ctx, ResultKey(a.job), a.body, ResultTTL),
		p.Publish(ctx, ResultChannel(a.job), a.body),
	}
	if a.kind == KindSync {
		cmds = append(cmds, p.Del(ctx, ProgressKey(a.job)))
	}
	return cmds
}

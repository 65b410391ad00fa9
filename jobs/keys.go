package jobs

import (
	"strings"

	"github.com/google/uuid"

	"github.com/tgswitchboard/switchboard/accounts"
)

const queuePrefix = "acct:"

// Queue is the asynq queue of an account.
func Queue(id accounts.ID) string { return queuePrefix + string(id) }

// QueueAccount is the account of a queue, and false for any other queue.
func QueueAccount(queue string) (accounts.ID, bool) {
	name, ok := strings.CutPrefix(queue, queuePrefix)
	if !ok {
		return "", false
	}
	id, err := accounts.ParseID(name)
	return id, err == nil
}

// Keys of our own in Redis. Those of one account share its queue's hash slot.

// OwnerKey holds the wake channel of the worker that serves the account.
func OwnerKey(id accounts.ID) string { return "switchboard:{" + Queue(id) + "}:owner" }

// AccountsKey is a set of the accounts that workers on this Redis have served.
const AccountsKey = "switchboard:accounts"

// CancelledKey is a set of job ids that must not be run.
func CancelledKey(id accounts.ID) string { return "switchboard:{" + Queue(id) + "}:cancelled" }

// ResultKey holds an outcome for ResultTTL.
func ResultKey(job string) string { return "switchboard:result:{" + job + "}" }

// LargeResultKey holds an outcome larger than MaxResult for ResultTTL.
func LargeResultKey(job string) string { return ResultKey(job) + ":large" }

// ProgressKey holds how far a job has come, for ResultTTL.
func ProgressKey(job string) string { return ResultKey(job) + ":progress" }

// ResultChannel carries an outcome to those who wait, and before it progress.
func ResultChannel(job string) string { return "switchboard:done:" + job }

// WakeChannel carries a Wake for every account with new work to one worker.
func WakeChannel(worker string) string { return "switchboard:wake:" + worker }

// idSpace makes ids from idempotency keys. It must never change.
var idSpace = uuid.MustParse("6f1c1f0e-7a55-5d9b-9a3c-5a0f0e6b7d21")

// KeyID is the id of the job with an idempotency key.
func KeyID(account accounts.ID, key string) string {
	return uuid.NewSHA1(idSpace, []byte(string(account)+"\x00"+key)).String()
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// Package jobs is what producers and workers share: the kinds of job and their
// payloads, validation, the result of a job, and a Client that enqueues, waits
// and cancels.
//
//	client := jobs.NewClient(redis.NewClient(&redis.Options{Addr: "localhost:6379"}))
//	job, err := client.Enqueue(ctx, "alice", jobs.Send{To: "@bob", Text: "Hello"})
//	outcome, err := client.Wait(ctx, job.ID)
//
// A job is one asynq task on the queue of its account ("acct:<account>"). Its
// type is the kind, its payload an Envelope in JSON, its task id the job's id,
// so that any asynq producer can write one. A job's id is a UUIDv7, or derived
// from the account and the idempotency key: the same key is the same job.
//
// Client.Enqueue is one round trip for one job, Client.EnqueueMany one or two for
// several hundred. EnqueueTx takes part in a transaction of the producer's Postgres
// instead. All of them work on a single Redis, a Redis Cluster and behind a
// Sentinel: the go-redis client is the caller's.
//
// Errors are matched with errors.Is and errors.As. A *FieldError says which field of a
// job is wrong, before anything is sent. ErrConflict is an idempotency key of another
// job, ErrNotFound an unknown job, ErrRunning one that is not where it could be taken
// from, ErrEnded and ErrPayloadGone those that cannot be run again, ErrClosed a closed
// client. ErrUnavailable is Redis out of reach: whether it acted is not known, and an
// idempotency key makes it safe to try again. The end of a context is its own error.
//
// The package promises that a job with an outcome is never run again under its
// id, and that what a Client reports as enqueued is in Redis. It does not run
// jobs (package jobs/handlers does), it opens no session, and it needs neither
// gotd nor a database, so that producers stay small.
package jobs

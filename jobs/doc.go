// Package jobs is what producers and workers share: the kinds of job and their
// payloads, validation, the result of a job, and a Client that enqueues, waits
// and cancels.
//
// A job is one asynq task on the queue of its account ("acct:<account>"). Its
// type is the kind, its payload an Envelope in JSON, its task id the job's id,
// so that any asynq producer can write one. A job's id is a UUIDv7, or derived
// from the account and the idempotency key: the same key is the same job.
//
// The package promises that a job with an outcome is never run again under its
// id, and that what a Client reports as enqueued is in Redis. It does not run
// jobs (package jobs/handlers does), it opens no session, and it needs neither
// gotd nor a database, so that producers stay small.
package jobs

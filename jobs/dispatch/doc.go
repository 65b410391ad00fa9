// Package dispatch runs the jobs of the accounts that a worker holds: many asynq
// queues, one per account.
//
// A server of asynq's polls a fixed set of queues. This one keeps asynq's layout in
// Redis, and leaves behind of a task what asynq's would, so that asynq's producers and
// tools work; but a dequeue takes the jobs of many leased accounts that have work, as
// many as there are free slots. Nothing polls; producers wake the owner, and a slow
// sweep finds what nobody told.
//
// It promises:
//
//   - A job is run only while the account's lease is valid, and never by two
//     handlers at once: a slot is free again when the handler has returned and
//     the acknowledgement is in Redis, not before.
//   - Accounts with work take turns; within an account jobs of one priority start
//     in the order of its line. A new owner puts what the old one had begun back at the head.
//   - Jobs of one lane (see package lane) start in the order of the line, and a
//     job that has to be tried again keeps those behind it back, through changes
//     of the owner too. A handler that runs beside others of its lane finds its
//     turn in the context. A lane that waits delays no other.
//   - A job of high priority passes the others of its account that were not begun.
//   - A job that is cancelled, or not begun in time, is handed to its handler soon,
//     wherever it waited and also if the account is parked or its queue paused. See
//     Park and Over.
//   - An acknowledgement survives an outage of Redis for as long as the account's
//     lease lasts. Once the lease has ended it is not sent: the task belongs to
//     the next owner.
//   - An error becomes a schedule in one place, see jobs.RetryError. A job that
//     may not be retried any more is not archived: its handler decides.
//
// It delivers at least once: a job can be run again after a crash, and its
// handler has to look for an outcome first. It keeps no outcomes, knows nothing
// of Telegram, and does not hold leases: package accounts tells it with Gain and
// Drop. No other asynq.Server may serve the same queues: what is active there
// and not ours would be taken for the remains of a crash.
package dispatch

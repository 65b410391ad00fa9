// Package handlers runs jobs: one handler per kind, and around them what every
// job needs.
//
// A job with an outcome in the ledger is answered with it and not run again. An
// outcome is in the ledger before it is published and before the task is acked,
// so a worker that dies in between loses nothing, and its successor repeats
// nothing. Whether a failed job is tried again, when, and whether that costs an
// attempt is decided in one place: judge. A raw call that acts, and that Telegram would
// not know again, is never made twice: see once.go.
//
// The package does not hold leases, connections or queues; it is handed them.
package handlers

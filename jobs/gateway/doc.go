// Package gateway is the way in for producers of any language: jobs over HTTP, with
// the meaning that package jobs gives them. docs/http.md describes it for them, and
// GET /openapi.json for their programs.
//
// It promises:
//   - A job that was answered with 201 or 200 is in Redis. One Idempotency-Key is one
//     job, and another body under it is refused for a day.
//   - Who waits for a job costs no poll: all waiters of a process share one
//     subscription, and so do all streams.
//   - A key sees and does what its scope says; a revoked one opens nothing a second
//     later. Every request of /v1 is logged with the name of its key and the jobs it made.
//   - Every error is application/problem+json with one sentence, and the place in the
//     request that it is about.
//
// It runs no job and needs Redis alone; a Ledger adds keys, states of accounts and
// outcomes that Redis has forgotten.
package gateway

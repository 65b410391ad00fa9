// Package db keeps accounts, sealed sessions, leases, peers, outcomes, what is done
// of batches, and flood waits in Postgres, or in one SQLite file for development. It
// implements the small interfaces of packages accounts, peers and jobs and returns
// their types; nothing of gorm, goose or a driver leaves it, and nobody else imports
// them.
//
//	d, err := db.Open(ctx, "postgres://worker@db.example/switchboard", db.Config{})
//	err = d.CheckSchema(ctx) // a *SchemaError says what to run
//	leases := accounts.NewLeases(d.Leases(), …)
//
// It promises:
//   - Both databases behave alike; one suite of tests runs on both. Times come
//     back in UTC, exact to the microsecond.
//   - The database's own clock decides about leases. A fencing token grows with
//     every grant and never starts again. Two workers that claim at the same time
//     never get the same account.
//   - Sessions, outcomes and calls of batches are written only under the lease's
//     token.
//   - An error says what was attempted for whom. It matches ErrUnavailable if the
//     database cannot be reached, and never contains a password.
//   - A flush of peers, of any accounts, is one statement in Postgres. It locks the
//     accounts that it writes for in the order of their names, as whoever locks
//     several has to, and nothing if nothing changed.
//   - Table sessions is touched by CreateAccount, Session, SaveSession and Unkeyed
//     alone, so that everything else works for a role that may not read it.
//
// It does not retry: a write whose answer was lost may have happened, and only
// the caller knows if a repeat is harmless. It does not cache, it migrates only
// when told to, and it opens no session: it has no key.
//
// SQLite serves one machine: one process, or a few short ones. All statements of
// a DB share one connection there.
package db

// Package accounts names Telegram accounts, keeps their sealed MTProto sessions
// and says which worker may use an account.
//
// An Account is one Telegram user or bot. Its Session (the auth key) is stored
// sealed: encrypted with a Keyset that only workers hold, and bound to the
// account's name, so that a row copied to another account cannot be opened.
//
// A Lease is one worker's right to use one account. It carries a fencing token,
// which grows with every grant and goes into every protected write, and a local
// deadline, counted on the holder's monotonic clock from before the request that
// renewed it: the holder stops first, only then can a successor start. The same
// auth key on two connections from two places costs an account its session
// (AUTH_KEY_DUPLICATED), so that order is the point of the design.
//
// Leases claims, renews and gives back a worker's leases. Each worker looks at the
// Fleet and reckons by itself what its share is: no worker leads. One that holds more
// hands accounts on to those who lack them, one that stops hands on all.
//
// An account's Status says whether its jobs run. An operator pauses and resumes, what
// Telegram answers may only make it worse off; every change is an Event. Accounts of
// any status are leased: the holder of a parked one does not use it.
//
// Borrow gives an account's session to somebody who is no worker: workers give it back
// first, and get it again.
//
// The package knows neither Telegram's wire nor SQL: package accounts/pool
// connects, accounts/login logs in, package db stores. It does not retry.
package accounts

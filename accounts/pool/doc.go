// Package pool keeps the MTProto connections of leased accounts.
//
// There is one Conn per leased account. It connects when it is first called and
// closes when it has been idle; between calls of an idle account there is no
// goroutine and no socket. A Conn checks its account's lease before every call,
// refuses a call that a flood wait forbids, and says of every failure what a
// caller has to know: did Telegram answer, could it have acted, is the account
// still good.
//
// Calls of an account that are made at the same time leave in one container: it
// runs on package batching. InvokeAll makes many calls together, ordered or not;
// InTurn orders calls of different goroutines. A stored auth key is never traded
// for a new one: a key that Telegram has forgotten is an account that needs login.
//
// A call that Telegram answers with FILE_MIGRATE_X or STATS_MIGRATE_X is made at data
// center X, over a connection that is made like the one at home, by the same rules.
// Its auth key is made there and lives in memory as long as the Conn; a new one takes
// its place if X refuses it, which says nothing of the account.
//
// An account has a Pace: token buckets for its calls, its messages and its chats. A call
// takes its tokens as it leaves, and waits for them for a moment; one that has to wait
// longer is not made, and its error says until when. Order is that of leaving, so a call
// that waits keeps those behind it back, and no others.
//
// The package does not repeat calls that Telegram may have run, and it does not
// sleep through a flood wait: only the caller knows whether a call may be repeated.
package pool

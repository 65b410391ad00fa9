// Package resolver turns a producer's reference into an input peer for one
// account, and learns from every answer that the account gets.
//
// Access hashes belong to the account that was told them, so everything here is
// per account: the memory, the store, and the question to Telegram that comes
// last. A username is asked for by one request at a time, however many jobs wait
// for it, and a name that nobody has is remembered for a while.
//
// Harvesting is part of the promise: users and chats in any answer are known to
// the account at once, and stored soon after, in batches. What a crash loses is
// only a cache.
//
// The package does not decide whether a failed call is repeated.
package resolver

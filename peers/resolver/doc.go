// Package resolver turns a producer's reference into an input peer for one
// account, and learns from every answer that the account gets.
//
// Access hashes belong to the account that was told them, so everything here is
// per account: the memory, the store, the messages that a peer was seen in, and
// the question to Telegram that comes last. One question is put at a time for each
// reference, however many jobs wait for it; what does not exist is remembered for a
// while; names are believed for a day, and used for another while they are asked
// about. An account has a budget of questions about names.
//
// Harvesting is part of the promise: users and chats in any answer, however deep,
// are known to the account at once, and stored soon after, in batches. What a crash
// loses is only a cache. A Walk lists what the account can see, page by page.
//
// The package does not repeat failed calls: Again finds another way to a peer, and
// whether to take it is the caller's to say. It sends nothing, and joins nothing.
package resolver

// Package tgsim is a simulated Telegram that speaks real MTProto 2.0 over TCP,
// so that a client is tested as it ships, on a real socket.
//
// It is a strict judge, not a mirror of one client: key exchange, transports,
// salts, msg_ids, seqnos and containers follow core.telegram.org/mtproto, and
// a client that breaks a rule is refused with the code Telegram would use and
// counted in Stats.Violations. Every API call is kept in a record (account,
// frame, container, order, effect), so that "sent exactly once, in order, in k
// frames" is asserted on the server's side.
//
// The world has users, bots, basic groups and channels. Access hashes differ
// for every account and are checked by every method that is simulated; those of
// another account are counted in any request (Stats.ForeignHashes). Who writes
// in a channel is a min user to strangers. A method that is not simulated gets a
// random answer of its declared type. Faults are added on demand: errors, late or lost answers,
// refused messages, cut and half-open connections, rotated salts, a wrong clock,
// forgotten sessions and keys, bans. docs/simulator.md has every control over
// HTTP and the table of rules.
//
// Users log in by code, password (SRP), QR code or bot token; several servers may
// be the data centres of one world (Sibling), one of which may serve a method alone
// (SetMethodHome). Keys may be temporary (PFS), and clients of older layers get the
// constructors they know, from layer 144 on.
//
// Files are taken in parts, and sent as photos and documents; their content is
// not kept.
//
// Non-goals: downloads, secret chats, persistence, and what an older layer cannot
// say. Nothing is written to disk; what a client can make the server keep is
// bounded, by constants next to the code that uses them.
package tgsim

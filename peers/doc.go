// Package peers names Telegram peers and says what one account knows of them.
//
// A Ref is a peer as a producer wrote it: the account itself, a username, a
// phone, an id (with or without an access hash), an invite or a message. Parse
// reads every way people write one, and Ref.String writes exactly one of them
// back: Parse(r.String()) == r. Which links are read, and how, follows TDLib;
// ids follow core.telegram.org/api/bots/ids. No input makes Parse panic, and
// its errors (*ParseError) say in one sentence what is wrong and what would do.
//
// A Key is a peer's identity: its kind and its bare MTProto id. Never use a bare
// id alone: user 5 and channel 5 are different peers.
//
// An access hash belongs to the one account that was given it. A Ref that leaves
// an account's results therefore carries that account's name, and Ref.UsableBy
// refuses it to any other with *OtherAccountError; it never becomes a request
// with a foreign hash.
//
// A Peer is what one account has learned of one peer, Merge says what a new
// sighting changes in it, Names what it changes in whose usernames are, and a
// Store keeps it (package db does).
//
// The package knows neither Telegram's wire nor SQL, and has no clock. It does not
// resolve: whether a username exists, which peer it names today, and how long that
// is believed, is for package peers/resolver.
package peers

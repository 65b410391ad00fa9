// Package batching is one MTProto session whose calls leave in containers.
//
// Whoever has calls to make hands them to Conn.Send, from any goroutine. The
// first one starts a goroutine that yields the processor, so that others that
// are about to call get to it, and again while that brings more; then it takes
// everything that is queued: one call goes as it is, several go as members of one
// msg_container, in one encrypted frame. While it writes, the next ones gather.
// When the queue is empty the goroutine ends. A lone call leaves at once, and
// under load containers fill by themselves; only with hundreds of calls under way
// is a moment waited for more.
//
// What a reader of core.telegram.org/mtproto will look for:
//
//   - Ids. A message gets its msg_id and seqno when its frame is made, under one
//     lock, so both grow together (mtproto/description, Message identifier). The
//     container's own id is the next one, greater than its members'. A message
//     that the server refused for its salt goes again under the same id and seqno,
//     inside a newer container: it was not taken, and what refers to it still does.
//   - Order. A Call may name another one that it comes After. It is then wrapped
//     in invokeAfterMsg with the other's msg_id (api/invoking); without, a server
//     may run the members of a container in any order, and does. When a call
//     fails, the server refuses those behind it with MSG_WAIT_FAILED: they end
//     with ErrNotRun. A call is never put behind one whose end is not known to be
//     the server's: not into another session, not behind a lost answer.
//   - Limits. 1,000 members and 32 KiB to a container, which is what TDLib packs;
//     a larger message travels alone. At most one upload.getFile to a container.
//     Large bodies are packed with gzip, each for itself, if that makes them
//     smaller.
//   - Salts are the Conn's own. bad_server_salt names the outer message; the
//     members go again under the new salt and no caller hears of it. Coming salts
//     are asked for once and used when their time comes.
//   - Refusals. bad_msg_notification 16 and 17 correct the clock, and the message
//     gets a new id; 19 and 64 send the members one by one; 32 and 33 end the
//     session; any other is the call's error, a *BadMessageError.
//   - Acknowledgments. Every content message of the server is acknowledged, also
//     inside its containers. They ride in the next container, or go by themselves
//     when there are many or the oldest has waited.
//
// Of every call the Conn says what a caller has to know before it repeats one:
// answered by Telegram (a result, or a *tgerr.Error), never taken by it
// (ErrNotSent, ErrNotRun, *BadMessageError), or unknown (ErrLost).
//
// It does not repeat calls that may have been run, does not know flood waits,
// leases or methods, makes no auth key, and keeps nothing when its connection
// ends. A Conn has one goroutine, its reader, while nothing is sent.
package batching

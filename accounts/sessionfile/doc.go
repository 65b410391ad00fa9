// Package sessionfile reads the sessions that other clients keep, and writes some of
// them: Telethon's strings and files, Pyrogram's (and its forks'), GramJS's and mtcute's
// strings, Telegram Desktop's tdata and gotd's JSON. docs/sessions.md has their layouts.
//
// The format is found out from the content. What is read is not changed: no file is
// written beside one that is read. Every input has a limit. What is wrong is said in one
// sentence that names the format; nothing secret is in an error.
//
// It does not connect: whether Telegram still knows a session is seen elsewhere.
package sessionfile

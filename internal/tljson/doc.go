// Package tljson turns JSON into calls of Telegram's API, and their answers into
// JSON: every method and type of the layer that gotd/td carries.
//
// Names are those of the TL schema. An object names its constructor in "_"; where
// only one is possible it may be left out. Conditional fields are there or not,
// zero or not. Longs are strings in JSON, or numbers if they are read; bytes are
// base64, int128 and int256 hex. See docs/raw.md.
//
// Where a call wants a peer and the JSON has a string or a number, the Request
// lists a Peer, for the caller to find and Set; likewise a File. The package knows
// no accounts and asks nobody.
//
// Source: core.telegram.org/mtproto/TL, core.telegram.org/schema.
package tljson

// Package rpcerror says what an error of Telegram's means, and what is done about it.
//
// It is one table, from names of errors to classes. A name decides first and the code
// only where no row has the name: RANDOM_ID_DUPLICATE comes as 500 and as 400, and
// FROZEN_METHOD_INVALID is a 420 that is no wait. What no row knows does the least
// harm: it fails the call, and says nothing of the account.
//
// No other package compares names of errors; a test sees to it. Package batching reads
// those of MTProto's own containers. The package does nothing about an error, and
// knows nothing of accounts, jobs or connections.
//
// Source: core.telegram.org/api/errors and the error tables of the methods.
package rpcerror

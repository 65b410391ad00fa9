// Package apikey is the keys with which producers show who they are to the HTTP
// gateway: their secrets, and what each of them may do.
//
// A secret is 256 random bits, so what is kept of it is its plain SHA-256: nobody
// can try that many, and a slow hash, which makes weak passwords expensive to guess,
// would cost every request without making this one safer.
//
// The package decides; it neither stores keys (package db does) nor speaks HTTP, and
// it knows the names of raw methods only as texts.
package apikey

// Package webhook tells the outcomes of jobs to those who asked for it, over HTTP.
//
// A delivery is written down with the outcome, in one transaction, so there is one for
// every outcome of a job that names a webhook. It is sent until somebody answers 2xx,
// with growing waits, for about three days: at least once, and always with the same id,
// by which a receiver knows one that it has had. Of what comes out of a job that is run
// again there is a delivery of its own.
//
// What is sent is signed as Standard Webhooks says (www.standardwebhooks.com), with the
// secret of the API key that the job came by. All secrets are made from one, so none is
// stored. Addresses are dialled only if they are public, see package outbound.
//
// Deliveries have no order. One that failed for good is kept, and sent again when an
// operator says so.
package webhook

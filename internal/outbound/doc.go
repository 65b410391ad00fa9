// Package outbound asks servers on the public internet by addresses that somebody
// else has chosen, without becoming that somebody's way into our own network.
//
// The address that is really dialled has to be public unicast: whatever a name
// resolves to, each time it does, and wherever a redirect leads. A body has a limit
// and an exchange has an end. An Error names the host and never the rest of a URL.
//
// It does not retry, keep cookies, use a proxy of the environment, or judge the
// status of an answer.
package outbound

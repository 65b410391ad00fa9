package outbound

import (
	"errors"
	"fmt"
	"net"
	"net/url"
)

// Why an exchange was refused here. It would be again.
var (
	ErrNotPublic = errors.New("it has no address on the public internet")
	ErrScheme    = errors.New("only http and https are spoken")
	ErrRedirect  = errors.New("it redirects in a way that is not followed")
	ErrTooLarge  = errors.New("its answer is too large")
)

// Error tells why there is no answer, or no end of one, from a host. Its text has
// nothing else of the URL: users, paths and queries carry secrets.
type Error struct {
	Host string // the one that was asked last
	Err  error  // one of the above, or what the network says
}

func (e *Error) Error() string { return fmt.Sprintf("ask %s: %s", e.Host, e.reason()) }

func (e *Error) Unwrap() error { return e.Err }

// Refused tells an error that no other try will do better on.
func (e *Error) Refused() bool {
	for _, known := range refusals {
		if errors.Is(e.Err, known) {
			return true
		}
	}
	return false
}

var refusals = []error{ErrNotPublic, ErrScheme, ErrRedirect, ErrTooLarge}

// reason is the error without what wraps it: package net/http names the whole URL,
// package net the address behind the name.
func (e *Error) reason() string {
	for _, known := range refusals {
		if errors.Is(e.Err, known) {
			return known.Error()
		}
	}
	var timeout net.Error
	if errors.As(e.Err, &timeout) && timeout.Timeout() {
		return "it did not answer in time"
	}
	var name *net.DNSError
	if errors.As(e.Err, &name) {
		return "its name cannot be found"
	}
	var op *net.OpError
	if errors.As(e.Err, &op) {
		return op.Err.Error()
	}
	return e.Err.Error()
}

// failed is the error of an exchange that began with host.
func failed(host string, err error) error {
	var whole *url.Error
	if errors.As(err, &whole) {
		err = whole.Err
		if last, perr := url.Parse(whole.URL); perr == nil && last.Host != "" {
			host = last.Host
		}
	}
	return &Error{Host: host, Err: err}
}

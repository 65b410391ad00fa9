//go:build !darwin && !dragonfly && !freebsd && !linux && !netbsd && !openbsd

package main

// hideTyping leaves that to term.ReadPassword.
func hideTyping(int) error { return nil }

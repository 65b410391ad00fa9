// Package login makes Telegram sessions, and looks at ones that exist.
//
// Phone, QR and Bot log an account in and return its session, Verify asks Telegram
// whose a session is, LogOut ends one. Each of them is one connection that is closed
// before the function returns, so that the session may be used elsewhere then: the same
// auth key on two connections from two places costs an account its session. Where a
// login fails after Telegram has authorized the key, the key is logged out again.
//
// The package asks its caller for what it needs to know (Asker), and neither reads a
// terminal nor stores anything. It never signs up: an account is registered in an
// official app. It does not wait when Telegram wants a pause; FloodError says how long that
// is. Nothing secret (codes, passwords, tokens, keys) is in its errors or its log.
package login

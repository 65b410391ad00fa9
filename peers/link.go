package peers

import (
	"strconv"
	"strings"
)

// Links are read as TDLib's LinkManager reads them; the kinds of link are those
// of core.telegram.org/api/links. This file takes a link apart, and links_tme.go
// and links_tg.go say what the parts mean.

const linkForms = "use t.me/username, t.me/+invite, t.me/c/<channel>/<message> or tg://resolve?domain=username"

// hosts serve t.me links, also with "www." in front.
var hosts = map[string]bool{"t.me": true, "telegram.me": true, "telegram.dog": true}

// reservedSubdomains are no usernames in name.t.me. Shorter ones than 4 characters
// never are.
var reservedSubdomains = map[string]bool{
	"addemoji": true, "addlist": true, "addstickers": true, "addstyle": true, "addtheme": true,
	"auction": true, "auth": true, "boost": true, "call": true, "confirmphone": true,
	"contact": true, "giftcode": true, "invoice": true, "joinchat": true, "login": true,
	"proxy": true, "setlanguage": true, "share": true, "socks": true,
}

// isLink reports whether s was meant as a link, however broken: anything with a
// slash, a tg link, and anything on one of Telegram's hosts.
func isLink(s string) bool {
	if strings.Contains(s, "/") || isTgLink(s) {
		return true
	}
	host := hostOf(s)
	return hosts[host] || strings.HasSuffix(host, ".t.me") || hosts[strings.TrimPrefix(host, "www.")]
}

func isTgLink(s string) bool { return len(s) >= 3 && equalFoldASCII(s[:3], "tg:") }

// hostOf returns the host that s begins with, decoded and in lower case.
func hostOf(s string) string {
	if i := strings.IndexAny(s, ":/?#"); i >= 0 {
		s = s[:i]
	}
	return lowerASCII(percentDecode(s, false))
}

func parseLink(s string) (Ref, *problem) {
	s, _, _ = strings.Cut(s, "#") // Telegram ignores fragments
	if isTgLink(s) {
		return parseTgLink(strings.TrimPrefix(s[3:], "//"))
	}
	return parseWebLink(s)
}

func parseWebLink(s string) (Ref, *problem) {
	if i := strings.IndexAny(s, ":/?@[]"); i >= 0 && strings.HasPrefix(s[i:], "://") {
		scheme := lowerASCII(s[:i])
		if scheme != "http" && scheme != "https" {
			return Ref{}, fault(CodeInvalidLink, "is a link with the scheme %s, which is not Telegram's; %s", quote(scheme), linkForms)
		}
		s = s[i+len("://"):]
	}
	authority, target := cutAny(s, "/?")
	if strings.ContainsAny(authority, "@[]") {
		return Ref{}, fault(CodeInvalidLink, "is a link with a user or an address instead of a plain host; %s", linkForms)
	}
	host, port, hasPort := strings.Cut(authority, ":")
	if n, ok := parseDigits(port); hasPort && (!ok || n != 80 && n != 443) {
		return Ref{}, fault(CodeInvalidLink, "is a link with the port %s; Telegram's links have none, 80 or 443", quote(port))
	}
	host = hostOf(host)

	if name, ok := strings.CutSuffix(host, ".t.me"); ok && len(name) >= 4 && usernameFault(name) == "" {
		if reservedSubdomains[name] {
			return Ref{}, fault(CodeInvalidLink, "is a link to %s, a host that Telegram keeps for itself; %s", quote(host), linkForms)
		}
		path, q := splitTarget(target)
		return parseTme(append([]string{name}, path...), q)
	}
	if !hosts[strings.TrimPrefix(host, "www.")] {
		return Ref{}, fault(CodeInvalidLink, "is a link to %s, not to Telegram; %s", quote(host), linkForms)
	}
	return parseTme(splitTarget(stripPreview(target)))
}

// stripPreview removes the /s/ of web previews, which may be repeated.
func stripPreview(target string) string {
	for {
		switch {
		case strings.HasPrefix(target, "/s/"):
			target = target[len("/s"):]
		case strings.HasPrefix(target, "/%73/"):
			target = target[len("/%73"):]
		default:
			return target
		}
	}
}

// query holds the arguments of a link, in order.
type query []struct{ name, value string }

// get returns the value of the first argument of that name, "" if there is none.
func (q query) get(name string) string {
	for _, a := range q {
		if a.name == name {
			return a.value
		}
	}
	return ""
}

func (q query) has(name string) bool {
	for _, a := range q {
		if a.name == name {
			return true
		}
	}
	return false
}

// splitTarget decodes "/path/segments?name=value". The path has no empty
// segments at its end.
func splitTarget(target string) (path []string, q query) {
	p, args, _ := strings.Cut(target, "?")
	for seg := range strings.SplitSeq(strings.TrimPrefix(p, "/"), "/") {
		path = append(path, percentDecode(seg, false))
	}
	for len(path) > 0 && path[len(path)-1] == "" {
		path = path[:len(path)-1]
	}
	for arg := range strings.SplitSeq(args, "&") {
		name, value, _ := strings.Cut(arg, "=")
		if name != "" {
			q = append(q, struct{ name, value string }{percentDecode(name, true), percentDecode(value, true)})
		}
	}
	return path, q
}

// percentDecode leaves broken escapes as they are, as TDLib does.
func percentDecode(s string, plusIsSpace bool) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+' && plusIsSpace:
			b = append(b, ' ')
		case s[i] == '%' && i+2 < len(s):
			n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				b = append(b, '%')
				continue
			}
			b = append(b, byte(n))
			i += 2
		default:
			b = append(b, s[i])
		}
	}
	return string(b)
}

// cutAny cuts s before the first of chars.
func cutAny(s, chars string) (before, from string) {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

package outbound

import (
	"net/netip"
	"slices"
)

// notPublic4 is what IPv4 has besides public unicast.
// Source: the IANA IPv4 Special-Purpose Address Registry.
var notPublic4 = prefixes(
	"0.0.0.0/8",        // this network
	"10.0.0.0/8",       // private
	"100.64.0.0/10",    // carrier-grade NAT
	"127.0.0.0/8",      // loopback
	"168.63.129.16/32", // metadata of Azure; those of other clouds are in the blocks
	"169.254.0.0/16",   // link-local
	"172.16.0.0/12",    // private
	"192.0.0.0/24",     // protocol assignments
	"192.0.2.0/24",     // documentation
	"192.88.99.0/24",   // relays of 6to4
	"192.168.0.0/16",   // private
	"198.18.0.0/15",    // benchmarks
	"198.51.100.0/24",  // documentation
	"203.0.113.0/24",   // documentation
	"224.0.0.0/4",      // multicast
	"240.0.0.0/4",      // reserved, and broadcast
)

// notPublic6 is what is not public unicast in unicast6.
// Source: the IANA IPv6 Special-Purpose Address Registry.
var notPublic6 = prefixes(
	"2001::/23",     // protocol assignments, Teredo and benchmarks among them
	"2001:db8::/32", // documentation
	"3fff::/20",     // documentation
)

var (
	unicast6  = netip.MustParsePrefix("2000::/3")     // all that is given out
	nat64     = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052: IPv4 in the last 4 bytes
	sixToFour = netip.MustParsePrefix("2002::/16")    // RFC 3056: IPv4 in the 4 bytes that follow
)

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		out[i] = netip.MustParsePrefix(text)
	}
	return out
}

// public tells whether an address is public unicast. One that carries an IPv4
// address is if that is.
func public(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	holds := func(p netip.Prefix) bool { return p.Contains(a) }
	switch {
	case !a.IsValid():
		return false
	case a.Is4():
		return !slices.ContainsFunc(notPublic4, holds)
	case nat64.Contains(a):
		b := a.As16()
		return public(netip.AddrFrom4([4]byte(b[12:])))
	case sixToFour.Contains(a):
		b := a.As16()
		return public(netip.AddrFrom4([4]byte(b[2:])))
	}
	return unicast6.Contains(a) && !slices.ContainsFunc(notPublic6, holds)
}

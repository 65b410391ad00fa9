package outbound

import (
	"net/netip"
	"testing"
)

func TestPublic(t *testing.T) {
	tests := []struct {
		addr string
		want bool
	}{
		{"8.8.8.8", true},
		{"149.154.167.50", true},
		{"100.63.255.255", true},
		{"172.32.0.1", true},
		{"0.0.0.0", false},
		{"0.1.2.3", false},
		{"10.0.0.1", false},
		{"100.64.0.1", false},
		{"100.100.100.200", false}, // metadata of Alibaba
		{"127.0.0.1", false},
		{"127.255.255.254", false},
		{"168.63.129.16", false},
		{"169.254.169.254", false}, // metadata of most
		{"172.16.0.1", false},
		{"192.0.0.192", false}, // metadata of Oracle
		{"192.0.2.1", false},
		{"192.88.99.1", false},
		{"192.168.1.1", false},
		{"198.19.255.255", false},
		{"198.51.100.7", false},
		{"203.0.113.7", false},
		{"224.0.0.1", false},
		{"239.255.255.255", false},
		{"240.0.0.1", false},
		{"255.255.255.255", false},

		{"2001:4860:4860::8888", true},
		{"2a00:1450:4001:80b::200e", true},
		{"::", false},
		{"::1", false},
		{"::8.8.8.8", false}, // IPv4-compatible
		{"100::1", false},    // discard
		{"2001::1", false},   // Teredo
		{"2001:2::1", false}, // benchmarks
		{"2001:20::1", false},
		{"2001:db8::1", false},
		{"3fff:fff::1", false},
		{"5f00::1", false},
		{"64:ff9b:1::8.8.8.8", false}, // NAT64 of one network
		{"fc00::1", false},
		{"fd00:ec2::254", false}, // metadata of AWS
		{"fe80::1", false},
		{"fe80::1%eth0", false},
		{"fec0::1", false},
		{"ff02::1", false},

		{"::ffff:8.8.8.8", true},
		{"::ffff:127.0.0.1", false},
		{"::ffff:169.254.169.254", false},
		{"64:ff9b::8.8.8.8", true},
		{"64:ff9b::10.0.0.1", false},
		{"64:ff9b::169.254.169.254", false},
		{"2002:808:808::1", true},   // 8.8.8.8
		{"2002:7f00:1::1", false},   // 127.0.0.1
		{"2002:c0a8:101::1", false}, // 192.168.1.1
	}
	for _, tt := range tests {
		t.Run(tt.addr, func(t *testing.T) {
			if got := public(netip.MustParseAddr(tt.addr)); got != tt.want {
				t.Errorf("public(%s) = %t, want %t", tt.addr, got, tt.want)
			}
		})
	}
	if public(netip.Addr{}) {
		t.Error("the zero address is public")
	}
}

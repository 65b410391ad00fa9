package peers_test

import (
	"strings"
	"testing"

	"github.com/tgswitchboard/switchboard/peers"
)

// The tables of this file hold what other clients test of peers, by source, and
// what it is for Parse. Where they disagree, TDLib's LinkManager decides among
// links, and core.telegram.org/api/bots/ids among ids.

// client is an input and the reference it means, or the code of its error.
type client struct{ in, want string }

const (
	badName  = peers.CodeInvalidUsername
	badPhone = peers.CodeInvalidPhone
	badID    = peers.CodeInvalidID
	badRef   = peers.CodeInvalidRef
	badLink  = peers.CodeInvalidLink
	noPeer   = peers.CodeNotAPeer
)

func runClients(t *testing.T, tests []client) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.in[:min(len(tt.in), 80)], func(t *testing.T) {
			switch tt.want {
			case badName, badPhone, badID, badRef, badLink, noPeer:
				failsWith(t, tt.in, tt.want, "")
			default:
				parsesTo(t, tt.in, tt.want)
			}
		})
	}
}

// TestParseTDLib has cases of test/link.cpp of 2022 and of 2026.
func TestParseTDLib(t *testing.T) {
	const (
		name    = "@username"
		message = "tg://resolve?domain=username&post=12345"
		private = "tg://privatepost?channel=12345&post=123"
		invite  = "https://t.me/+abc0def"
		phone   = "+123456"
	)
	runClients(t, []client{
		{"www%2etelegram.me/username/12345", message},
		{"http://t.me/s/s/s/s/s/s/s/s/s/s/s/s/s/s/s/s/s/joinchat/abc0def", invite},
		{"t.dog/username/12345", badLink},
		{"t.m/username/12345", badLink},
		{"t.me/username/12345//?voicechat=&single", message},
		{"t.me/username/12345/asdasd//asd/asd/asd/?single", message},
		{"t.me/username/12345/67890/asdasd//asd/?single", "tg://resolve?domain=username&post=67890&thread=12345"},
		{"t.me//12345?single", badLink},
		{"t.me//username?start=", badLink},
		{"https://telegram.dog?startapp=t%63st", badLink},
		{"tg:resolve?domain=username&post=12345&single&startattach=1&attach=test", message},
		{"tg:resolve?domain=user%6eame&post=%312345&single&comment=456&t=789&thread=123%20%31", message + "&comment=456"},
		{"t.me/c/%312345/%3123?comment=456&t=2h3m101s&single&thread=123%20%31", private + "&comment=456"},
		{"t.me/c/12345/123/asd/asd////?single", private},
		{"t.me/c/12345/123/456/asd//?single", "tg://privatepost?channel=12345&post=456&thread=123"},
		{"t.me/c/12345?single", badLink},
		{"t.me/c//1?single", badLink},
		{"tg:resolve?domain=&post=12345&single", badLink},
		{"tg:resolve?domain=123456&post=&single", badLink},
		{"tg:privatepost?channel=username/12345&single", badLink},
		{"tg:privatepost?channel=username&post=12345", badLink},

		{"t.me/username/aasdas/2?test=1&voicechat=#12312", name},
		{"t.me/username/0/a//s/as?startgroup=", name},
		{"t.me/username?attach=bot&startattach=1&choose=users", name},
		{"t.me/username?profile&text=@asd", name},
		{"t.me/username#/s/123", name},
		{"t.me/username/s/live", name},
		{"t.me/username/c/1234", name},
		{"t.me/username/a/3?qwe=12312#12312", name},
		{"t.me/username/asd?12312&startapp=qwe&mode=compact", name},
		{"TG://resolve?domain=username&collection=-1", name},
		{"tg:resolve?domain=username&direct=aasdasd", name},
		{"tg:resolve?domain=username&startgroup=1&admin=delete_messages+anonymous", name},
		{"tg:resolve?&&&&&&&domain=username&text=1%A02", name},
		{"t.me/telegrampassport?bot_id=12345&public_key=key&scope=asd&payload=nonce", "@telegrampassport"},
		{"tg:resolve?domain=telegrampassport&bot_id=-1&public_key=key&scope=asd&nonce=x", "@telegrampassport"},
		{"tg:resolve?domain=telegrampassport&bot_id=1&scope=asd&payload=nonce", "@telegrampassport"},
		{"tg:resolve?domain=oauth&startapp=", "@oauth"},
		{"t.me/abcdefghijklmnopqrstuvwxyz123456", "@abcdefghijklmnopqrstuvwxyz123456"},
		{"t.me/abcdefghijklmnopqrstuvwxyz1234567", badLink},
		{"t.me/abcdefghijklmnop~qrstuvwxyz", badLink},
		{"t.me/0asdf", badLink},
		{"t.me/asdf_", badLink},
		{"t.me/h/hh", "@h"},
		{"t.me/i/ii", noPeer},

		{"username.t.me////0/a//s/as?start=", name},
		{"username.t.me?start=as", name},
		{"aAAb.t.me/12345?single", "tg://resolve?domain=aaab&post=12345"},
		{"shares.t.me", "@shares"},
		{"aaa_.t.me/12345?single", badLink},
		{"0aaa.t.me", badLink},
		{"web.t.me", badLink},
		{"share.t.me", badLink},
		{"addstyle.t.me", badLink},

		{"t.me/ 123456/123123/12/31/a/s//21w/?asdas#test", phone},
		{"t.me/+123456?attach=bot&startattach&profile", phone},
		{"tg:resolve?phone=123456&attach=test&startattach&choose=users", phone},
		{"tg:resolve?phone=01234567890123456789012345678912", "+01234567890123456789012345678912"},
		{"tg:resolve?phone=", badLink},
		{"t.me/ abc0def", invite},
		{"t.me/+abc%30def", invite},
		{"t.me/joinchat/abc0def/123123/12/31/a/s//21w/?asdas#test", invite},
		{"tg://join?invite=abc%30def", invite},
		{"tg:join?invite=abc%20def", badLink},
		{"t.me/ /123456/123123/12/31/a/s//21w/?asdas#test", badLink},
		{"t.me/ ?/abcdef", badLink},
		{"t.me/+/abcdef", badLink},
		{"t.me/+?invite=abcdef", badLink},
		{"t.me/joinchat?invite=abcdef", badLink},
		{"t.me/joinchat//abcdef", badLink},
		{"t.me/joinchat/123456/123123/12/31/a/s//21w/?asdas#test", badLink},

		{"t.me/boost/s/12345", "@boost"},
		{"t.me/boost?c=-1", "@boost"},
		{"t.me/boost?cc=1#c=1", "@boost"},
		{"t.me/bOoSt?c=12telegram", noPeer},
		{"t.me/boost/s", noPeer},
		{"t.me/c/12345l5431?boost", noPeer},
		{"t.me/c/l12345?boost", badLink},
		{"tg:boost?channel=12345", noPeer},
		{"t.me/nft/startattach/adasd", noPeer},
		{"t.me/%24123456", noPeer},
		{"https://t.me/msg/url?url=%FF&text=1", noPeer},
		{"tg:stargift_auction?slug=abc%20def", noPeer},
		{"tg://new/asd", noPeer},
		{"sftp://google.com", badLink},
		{"tOn://google", badLink},
		{"tg:[2001:db8:0:0:0:ff00:42:8329]", badLink},
		{"tg:127.0.0.1", noPeer},
		{"https://grAph.org/12345", badLink},
	})
}

// TestParseTelethon has what utils.parse_username, parse_phone and resolve_id of
// version 1 and PeerRef of version 2 take and refuse.
func TestParseTelethon(t *testing.T) {
	runClients(t, []client{
		{"https://telegram.me/Username/", "@username"},
		{"www.t.me/username", "@username"},
		{"gif", "@gif"},
		{"ab", "@ab"}, // Telethon wants 3, the sale of names knows 1
		{"http://t.me/joinchat/AAAAAFFszQPyPEZ7wgxLtd", "https://t.me/+AAAAAFFszQPyPEZ7wgxLtd"},
		{"tg://join?invite=AAAAAFFszQPyPEZ7wgxLtd", "https://t.me/+AAAAAFFszQPyPEZ7wgxLtd"},
		{"t.me/@username", badLink}, // for Telethon a name; for Telegram's apps nothing
		{"telegram.org/username", badLink},
		{"+34 (600) 00-00-00", "+34600000000"},
		{"34600000000", "u.34600000000.0"}, // for Telethon a phone
		{"-1000000000456", "c.456.0"},
		{"-456", "g.456.0"},

		{"u.12.AAAAAAAAACI", "u.12.AAAAAAAAACI"},
		{"g.5.0", "g.5.0"},
		{"c.67.AAAAAAAAAFk", "c.67.AAAAAAAAAFk"},
		{"u.12.gAAAAAAAAAA", "u.12.gAAAAAAAAAA"}, // the smallest int64
		{"c.1.f_________8", "c.1.f_________8"},   // the largest
		{"invalid", "@invalid"},
		{"u.0.0", badRef},                 // its SELF is me here
		{"u.12.AAAAAAAAACI.", badRef},     // Telethon ignores what is behind
		{"u.12.AAAAAAAAACI ~", badRef},    //
		{"u.12.AAAAAAAAACI==", badRef},    // and padding
		{"u.12.AAAAAAAAACL", badRef},      // and stray bits
		{"u.12.AAAAAAAAAC", badRef},       // seven bytes
		{"u.12.AAAAAAAAAAAA", badRef},     // nine
		{"u.12.AAAAAAAAA+I", badRef},      // the other alphabet
		{"u.12.\u0410AAAAAAAACI", badRef}, // a Cyrillic A
		{"u.\u0661\u0662.0", badRef},      // Arabic digits, which Python's \d and int take
		{"u.1099511627776.0", badRef},     // 2^40
		{"u.12.34", badRef},               // a hash in decimal
		{"c.-1000000000067.0", badRef},    // a Bot API id
		{"alice:u.12.AAAAAAAAACI=", badRef},
		{"alice:bob:u.12.0", badRef},
		{"u.12.0:alice", badRef},
	})
}

// TestParseGotd has cases of gotd/td's deeplink and message/peer packages.
func TestParseGotd(t *testing.T) {
	runClients(t, []client{
		{"t.me/joinchat/AAAAAAAAAAAAAAAAAA/", "https://t.me/+AAAAAAAAAAAAAAAAAA"},
		{"t.me/+AAAAAAAAAAAAAAAAAA/", "https://t.me/+AAAAAAAAAAAAAAAAAA"},
		{"t.me/  +AAAAAAAAAAAAAAAAAA/", badLink}, // TDLib skips one of them
		{"https://t.co/joinchat/AAAAAAAAAAAAAAAAAA", badLink},
		{"rt://join?invite=AAAAAAAAAAAAAAAAAA", badLink},
		{"tg:resolve?&&&&&&&domain=gotd_ru", "@gotd_ru"},
		{"telegram_test123", "@telegram_test123"},
		{"gotd.test", badName},
		{"@_gotd_test123", badName},
		{"tg://resolve?domain=gotd_test_", badLink},
		{"+1 (311) 555-0123", "+13115550123"},
		{"13115556162", "u.13115556162.0"}, // for gotd a phone
		{"123gotd_test", badName},          // for gotd the phone 123
		{"https://telegram.dog/m/gotd_ru", noPeer},
		{"tg:message?&&&&&&&slug=gotd_ru", noPeer},
	})
}

// TestParseJavaScript has cases of mtcute, MTKruto and GramJS.
func TestParseJavaScript(t *testing.T) {
	runClients(t, []client{
		{"https://t.me/+hash", "https://t.me/+hash"},
		{"https://t.me/+lAj1jA01-2daJJ", "https://t.me/+lAj1jA01-2daJJ"},
		{"https://t.me/username/123/456", "tg://resolve?domain=username&post=456&thread=123"},
		{"tg://resolve?domain=username&post=456&thread=123", "tg://resolve?domain=username&post=456&thread=123"},
		{"https://t.me/c/666/123/456", "tg://privatepost?channel=666&post=456&thread=123"},
		{"tg://privatepost?channel=666&post=123", "tg://privatepost?channel=666&post=123"},
		{"https://t.me/username?boost", "@username"},
		{"https://t.me/c/123?boost", noPeer},
		{"https://t.me/username?livestream=invite_hash", "@username"},
		{"tg://resolve?domain=bot_username&appname=short_name", "@bot_username"},
		{"https://t.me/addlist/slug", noPeer},
		{"tg://contact?token=abc", noPeer},
		{"-1001183945448", "c.1183945448.0"},

		{"https://telegram.me/p_ic/a", "@p_ic"},
		{"https://test12345.t.me", "@test12345"},
		{"https://pic.t.me", badLink}, // for MTKruto a name; TDLib wants 4 characters
		{"https://telegram.telegram.t.me", badLink},
		{"https://a__c.t.me", badLink},
		{"https://t\u00east.t.me", badLink},
		{"@t\u00east", badName},
	})
}

// TestParseBounds has the edges of every range of ids, and what Pyrogram's
// get_peer_type makes of some of them.
func TestParseBounds(t *testing.T) {
	runClients(t, []client{
		{"1", "u.1.0"},
		{"999999999999", "u.999999999999.0"}, // Pyrogram's largest user
		{"1000000000000", "u.1000000000000.0"},
		{"-1", "g.1.0"},
		{"-2147483648", "g.2147483648.0"}, // beyond Pyrogram's chats
		{"-100", "g.100.0"},
		{"-1001", "g.1001.0"},
		{"-100123456789", "g.100123456789.0"}, // -100 in front makes no channel by itself
		{"-1000000000000", badID},
		{"-1002147483647", "c.2147483647.0"}, // Pyrogram's largest channel
		{"-1002147483648", "c.2147483648.0"},
		{"-1997852516351", "c.997852516351.0"},
		{"-1999898625393", badID}, // a secret chat
		{"-2000000000000", badID},
		{"-2002147483650", "c.1002147483650.0"},
		{"-3000000000000", "c.2000000000000.0"},
		{"9223372036854775807", badID},
		{"9223372036854775808", badID},
		{"-00", badID},
		{"-001000000000042", "c.42.0"},
		{"user:1099511627775", "u.1099511627775.0"},
		{"user:1099511627776", badID},
		{"channel:997852516353", badID},
		{"channel:1002147483648", badID},
		{"channel:2999999999999", "c.2999999999999.0"},
		{"g.999999999999.0", "g.999999999999.0"},
		{"c.997852516352.0", "c.997852516352.0"},
		{"c.997852516353.0", badRef},
		{"c.1002147483648.0", badRef},
		{"c.3000000000000.0", badRef},
		{"t.me/c/997852516352/1", "tg://privatepost?channel=997852516352&post=1"},
		{"t.me/c/997852516353/1", badLink},
		{"t.me/c/1002147483648/1", badLink},
		{"tg:privatepost?channel=3000000000000&post=1", badLink},
		{"tg:privatepost?channel=1&post=2147483648", badLink},
		{"tg:user?id=1099511627775", "u.1099511627775.0"},
		{"tg:user?id=1099511627776", badLink},
		{"tg:user?id=99999999999999999999", badLink},
	})
}

// TestParseHostile has look-alikes, invisible characters and other tricks.
func TestParseHostile(t *testing.T) {
	runClients(t, []client{
		{"https://t.me@example.com/durov", badLink},
		{"https://example.com@t.me/durov", badLink},
		{"@t.me/durov", badLink},
		{"https://t.me:443@example.com/durov", badLink},
		{"https://t.me:80:443/durov", badLink},
		{"https://t.me:+443/durov", badLink},
		{"https://t.me:99999999999999999999/durov", badLink},
		{"https://t.me:443:/durov", badLink},
		{"https://t.me\\durov", badLink},
		{"https:\\\\t.me/durov", badLink},
		{"https:///t.me/durov", badLink},
		{"//t.me/durov", badLink},
		{"://t.me/durov", badLink},
		{"https://https://t.me/durov", badLink},
		{"https://t.me.example.com/durov", badLink},
		{"https://t.me%2Fdurov", badLink},
		{"https://t.me%00/durov", badLink},
		{"https://www.www.t.me/durov", badLink},
		{"https://t.me/durov%00", badLink},
		{"https://t.me/durov%2F1", badLink}, // TDLib splits before it decodes
		{"https://t.me/durov%3Fstart=1", badLink},
		{"https://t.me/%64%75%72%6F%76", "@durov"},
		{"https://t.me/%2564urov", badLink},
		{"https://t.me/durov?domain=other&post=5", "@durov"},
		{"https://t.me/durov/1?comment=5&comment=6", "tg://resolve?domain=durov&post=1&comment=5"},
		{"t.m\u0435/durov", badLink},     // a Cyrillic e
		{"t\u3002me/durov", badLink},     // an ideographic full stop
		{"\uff54.me/durov", badLink},     // a full-width t
		{"t.me/dur\u043ev", badLink},     // a Cyrillic o
		{"@dur\u043ev", badName},         //
		{"@durov\u200b", badName},        // a space of no width
		{"\u202edurov", badName},         // written right to left
		{"\ufeff@durov", badName},        // a byte order mark
		{"\u00a0@durov\u3000", "@durov"}, // white space is
		{"\x00@durov", badName},
		{"@durov\x00", badName},
		{"du\nrov", badName},
		{"\uff0b7999", badName}, // a full-width plus
		{"+7\u00a0999\u2009123\u201345\u201467", "+79991234567"},
		{"+7.999.123", badPhone},
		{"+7999\u202c", badPhone},
		{"+\u0667\u0669", badPhone}, // Arabic digits
		{"+7 999 ext. 5", badPhone},
		{"+()- ", badPhone},
		{"+-42", "+42"},
		{"tel:+7999", badRef},
		{"\u221242", badName}, // a minus that is no hyphen
		{"\u0664\u0662", badName},
		{"4_2", badID},
		{"0x2a", badName},
		{"1e3", badName},
		{"- 42", badID},
		{"-1001234567890.0", badID},
		{"User:42", badRef},
		{"user: 42", badID},
		{"user:+42", badID},
		{"me:42", badRef},
		{"t.me:443", badLink},
		{"\tTG:ReSoLvE?domain=durov\v", "@durov"},
		{"tg:/resolve?domain=durov", badLink},
		{"tg:///resolve?domain=durov", badLink},
		{"tg:%72esolve?domain=durov", "@durov"},
		{"tg:resolve?DOMAIN=durov", badLink},
		{"tg:resolve?domain=@durov", badLink},
		{"tg:resolve?domain=durov&phone=7999", "@durov"},
		{"tg:resolve#?domain=durov", badLink},
		{"tg :resolve?domain=durov", badRef},
		{strings.Repeat("a", 1<<20), badName},
		{strings.Repeat("9", 1<<20), badID},
		{"+" + strings.Repeat("9 ", 1<<20), badPhone},
		{"u.1." + strings.Repeat("A", 1<<20), badRef},
		{"t.me/" + strings.Repeat("s/", 1<<19) + "durov", "@durov"},
		{"t.me/durov" + strings.Repeat("/", 1<<20), "@durov"},
		{"t.me/durov?" + strings.Repeat("a=%41&", 1<<18), "@durov"},
		{strings.Repeat("%", 1<<20) + "t.me/durov", badLink},
	})
}

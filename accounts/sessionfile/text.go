package sessionfile

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/gotd/td/bin"
)

// readText reads a string session, or gotd's JSON.
func readText(data []byte, want Format) (Found, error) {
	text := string(bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))))
	text = strings.TrimSpace(strings.Trim(text, `"'`+"`"))
	if text == "" {
		return Found{}, unknown("it is empty")
	}
	f, err := detectText(text, want)
	if err != nil {
		return Found{}, err
	}
	if f == Gotd {
		if want == "" && othersJSON([]byte(text)) {
			return Found{}, unknown("the JSON has neither Version nor Data, which gotd's has")
		}
		return readGotd([]byte(text))
	}
	if len(text) > maxString {
		return Found{}, fmt.Errorf("%s: it has %d characters, and such a string has fewer than %d", f, len(text), maxString)
	}
	body := text
	if f == Telethon || f == GramJS {
		var versioned bool
		if body, versioned = strings.CutPrefix(text, stringVersion); !versioned {
			return Found{}, fmt.Errorf("%s: the string begins with %q, and version %s is the only one that is known", f, text[:1], stringVersion)
		}
	}
	raw, err := decodeBase64(body)
	if err != nil {
		return Found{}, fmt.Errorf("%s: %w", f, err)
	}
	defer clear(raw)
	switch f {
	case Telethon:
		return readTelethon(raw)
	case GramJS:
		return readGramJS(raw)
	case Pyrogram:
		return readPyrogram(raw)
	}
	return readMtcute(raw)
}

const (
	// stringVersion begins the strings of Telethon and GramJS.
	stringVersion = "1"
	maxString     = 4096
	keySize       = 256
)

// detectText says which format a text has. One that was named has to be possible.
func detectText(text string, want Format) (Format, error) {
	got := sniffText(text)
	switch {
	case want == "" && got == "":
		return "", noSession(text)
	case want == "":
		return got, nil
	case want == TData:
		return "", errors.New("tdata: it is a file; give Telegram Desktop's folder tdata, or a zip archive of it")
	case want == TelethonSQLite || want == PyrogramSQLite:
		return "", fmt.Errorf("%s: it is no SQLite database", want)
	case got != "" && got != want:
		return "", fmt.Errorf("%s: it is a session of another format, %s", want, got)
	}
	return want, nil
}

// sniffText is the format of a text that is a whole session, "" if it is none.
func sniffText(text string) Format {
	if text[0] == '{' {
		return Gotd
	}
	if len(text) > maxString {
		return ""
	}
	if body, ok := strings.CutPrefix(text, stringVersion); ok {
		if raw, err := decodeBase64(body); err == nil {
			defer clear(raw)
			if _, ok := gramJSAddress(raw); ok {
				return GramJS
			}
			if n := len(raw); n == telethonIPv4 || n == telethonIPv6 {
				return Telethon
			}
		}
	}
	raw, err := decodeBase64(text)
	if err != nil {
		return ""
	}
	defer clear(raw)
	switch n := len(raw); {
	case n == pyrogramOld || n == pyrogramOld64 || n == pyrogramNew:
		return Pyrogram
	case n > keySize && raw[0] >= mtcuteFirst && raw[0] <= mtcuteLast:
		return Mtcute
	}
	return ""
}

// decodeBase64 reads both alphabets, with padding or without.
func decodeBase64(s string) ([]byte, error) {
	s = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(s, "="))
	raw, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil {
		var at base64.CorruptInputError
		if errors.As(err, &at) {
			return nil, fmt.Errorf("it is no base64 at character %d; copy the whole string, and nothing else", int64(at)+1)
		}
		return nil, errors.New("it is no base64; copy the whole string, and nothing else")
	}
	return raw, nil
}

// Lengths of Telethon's strings: data center, address, port, key.
const (
	telethonIPv4 = 1 + 4 + 2 + keySize
	telethonIPv6 = 1 + 16 + 2 + keySize
)

// readTelethon reads struct '>B4sH256s' or '>B16sH256s'.
// Source: telethon/sessions/string.py.
func readTelethon(raw []byte) (Found, error) {
	if n := len(raw); n != telethonIPv4 && n != telethonIPv6 {
		return Found{}, fmt.Errorf("telethon: it has %d bytes, and a whole string has %d or %d; copy all of it", n, telethonIPv4, telethonIPv6)
	}
	at := len(raw) - keySize - 2
	f, err := newFound(Telethon, int(raw[0]), raw[at+2:])
	if err != nil {
		return Found{}, err
	}
	ip, _ := netip.AddrFromSlice(raw[1:at])
	f.setAddr(ip.Unmap().String(), binary.BigEndian.Uint16(raw[at:]))
	return f, nil
}

// gramJSAddress is the address in a GramJS string; false if this is none. A string with
// an address of 14 characters is as long as one of Telethon with IPv6.
func gramJSAddress(raw []byte) (string, bool) {
	if len(raw) < 1+2+2+keySize {
		return "", false
	}
	n := int(binary.BigEndian.Uint16(raw[1:]))
	if n == 0 || len(raw) != 1+2+n+2+keySize {
		return "", false
	}
	address := string(raw[3 : 3+n])
	for _, c := range address {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.ContainsRune(".:-[]%", c):
		default:
			return "", false
		}
	}
	return address, true
}

// readGramJS reads data center, length of the address, address, port, key. A string that
// is as Telethon's is what GramJS takes too, but never writes.
// Source: gramjs/sessions/StringSession.ts.
func readGramJS(raw []byte) (Found, error) {
	address, ok := gramJSAddress(raw)
	if !ok {
		return Found{}, fmt.Errorf("gramjs: its %d bytes are no data center, address, port and key; copy the whole string", len(raw))
	}
	at := 3 + len(address)
	f, err := newFound(GramJS, int(raw[0]), raw[at+2:])
	if err != nil {
		return Found{}, err
	}
	f.setAddr(address, binary.BigEndian.Uint16(raw[at:]))
	return f, nil
}

// Lengths of Pyrogram's strings: of 351, 356 and 362 characters.
const (
	pyrogramOld   = 1 + 1 + keySize + 4 + 1     // '>B?256sI?'
	pyrogramOld64 = 1 + 1 + keySize + 8 + 1     // '>B?256sQ?'
	pyrogramNew   = 1 + 4 + 1 + keySize + 8 + 1 // '>BI?256sQ?'
)

// readPyrogram reads data center, API id in the new form, test mode, key, user id, bot.
// Source: pyrogram/storage/storage.py.
func readPyrogram(raw []byte) (Found, error) {
	n, at, apiID := len(raw), 1, 0
	switch n {
	case pyrogramOld, pyrogramOld64:
	case pyrogramNew:
		apiID = int(binary.BigEndian.Uint32(raw[1:]))
		at += 4
	default:
		return Found{}, fmt.Errorf("pyrogram: it has %d bytes, and a whole string has %d, %d or %d; copy all of it", n, pyrogramOld, pyrogramOld64, pyrogramNew)
	}
	f, err := newFound(Pyrogram, int(raw[0]), raw[at+1:at+1+keySize])
	if err != nil {
		return Found{}, err
	}
	id := uint64(0)
	for _, b := range raw[at+1+keySize : n-1] {
		id = id<<8 | uint64(b)
	}
	if id > math.MaxInt64 || raw[at] > 1 || raw[n-1] > 1 {
		return Found{}, errors.New("pyrogram: its user id or flags are none, so it is damaged")
	}
	f.UserID, f.APIID = int64(id), apiID
	f.setTest(raw[at] == 1)
	f.setBot(raw[n-1] == 1)
	return f, nil
}

// Versions of mtcute's strings.
const (
	mtcuteFirst = 1
	mtcuteLast  = 3
)

// Flags of an mtcute string, and of a data center in one.
const (
	mtcuteSelf    = 1 << 0
	mtcuteTestOld = 1 << 1
	mtcuteMedia   = 1 << 2 // from version 2 on

	mtcuteDCTest = 1 << 2
)

// readMtcute reads a version, and in TL's own encoding flags, data centers, who it is,
// and the key. Source: mtcute packages/core, utils/string-session.ts and dcs.ts.
func readMtcute(raw []byte) (Found, error) {
	if len(raw) == 0 || raw[0] < mtcuteFirst || raw[0] > mtcuteLast {
		return Found{}, fmt.Errorf("mtcute: its version is unknown; %d to %d are known", mtcuteFirst, mtcuteLast)
	}
	f, err := parseMtcute(raw[0], &bin.Buffer{Buf: raw[1:]})
	if errors.Is(err, errDamaged) {
		return Found{}, errors.New("mtcute: the string ends too early or is damaged; copy all of it")
	}
	return f, err
}

var errDamaged = errors.New("damaged")

func parseMtcute(version byte, b *bin.Buffer) (Found, error) {
	flags, err := b.Int32()
	if err != nil {
		return Found{}, errDamaged
	}
	main, err := parseMtcuteDC(b)
	if err != nil {
		return Found{}, err
	}
	if version > 1 && flags&mtcuteMedia != 0 {
		if _, err := parseMtcuteDC(b); err != nil {
			return Found{}, err
		}
	}
	var id int64
	var bot bool
	if flags&mtcuteSelf != 0 {
		var err1, err2 error
		id, err1 = b.Long()
		bot, err2 = b.Bool()
		if err1 != nil || err2 != nil || id < 0 {
			return Found{}, errDamaged
		}
	}
	key, err := b.Bytes()
	if err != nil {
		return Found{}, errDamaged
	}
	defer clear(key)
	f, err := newFound(Mtcute, main.dc, key)
	if err != nil {
		return Found{}, err
	}
	f.setAddr(main.address, main.port)
	f.UserID = id
	f.setTest(main.test || flags&mtcuteTestOld != 0)
	if flags&mtcuteSelf != 0 {
		f.setBot(bot)
	}
	return f, nil
}

type mtcuteDC struct {
	dc      int
	address string
	port    uint16
	test    bool
}

func parseMtcuteDC(b *bin.Buffer) (mtcuteDC, error) {
	data, err := b.Bytes()
	if err != nil || len(data) < 3 || data[0] < 1 || data[0] > 2 {
		return mtcuteDC{}, errDamaged
	}
	in := &bin.Buffer{Buf: data[3:]}
	address, err1 := in.String()
	port, err2 := in.Int32()
	if err1 != nil || err2 != nil || port < 0 || port > math.MaxUint16 {
		return mtcuteDC{}, errDamaged
	}
	return mtcuteDC{dc: int(data[1]), address: address, port: uint16(port), test: data[0] == 2 && data[2]&mtcuteDCTest != 0}, nil
}

// setAddr takes what a session says of where its data center is; nothing if that is no
// address. IPv6 is written as usual.
func (f *Found) setAddr(host string, port uint16) {
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		host = ip.String()
		f.Test = f.Test || testServers[host]
	}
	if host != "" && port != 0 {
		f.Session.Addr = net.JoinHostPort(host, strconv.Itoa(int(port)))
	}
}

// testServers are Telegram's; some formats tell them by nothing else.
// Source: my.telegram.org, App configuration; Telethon's documentation, Test servers.
var testServers = map[string]bool{
	"149.154.175.10": true, "149.154.167.40": true, "149.154.175.117": true,
	"2001:b28:f23d:f001::e": true, "2001:67c:4e8:f002::e": true, "2001:b28:f23d:f003::e": true,
}

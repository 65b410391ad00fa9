package sessionfile

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"

	"github.com/gotd/td/session"
	"github.com/gotd/td/telegram/dcs"

	"github.com/tgswitchboard/switchboard/accounts"
)

// Written lists the formats that Write knows.
func Written() []Format { return []Format{Telethon, Gotd} }

// Write writes a session. What it writes is the account: whoever has it has that.
func Write(w io.Writer, f Format, s accounts.Session) error {
	if s.Key.IsZero() {
		return errors.New("the session has no auth key")
	}
	var out []byte
	var err error
	switch f {
	case Telethon:
		out, err = writeTelethon(s)
	case Gotd:
		out, err = writeGotd(s)
	default:
		return fmt.Errorf("%s is not written; use %s or %s", f, Telethon, Gotd)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f, err)
	}
	defer clear(out)
	_, err = w.Write(append(out, '\n'))
	return err
}

// writeTelethon writes what readTelethon reads.
func writeTelethon(s accounts.Session) ([]byte, error) {
	host, port, err := Address(s)
	if err != nil {
		return nil, err
	}
	ip, err := netip.ParseAddr(host)
	if err != nil { // a name, which it has no place for
		if host, port, err = Address(accounts.Session{DC: s.DC}); err != nil {
			return nil, err
		}
		ip = netip.MustParseAddr(host)
	}
	if s.DC > 255 {
		return nil, fmt.Errorf("it has no place for data center %d", s.DC)
	}
	key := s.Key.Bytes()
	defer clear(key)
	raw := append([]byte{byte(s.DC)}, ip.Unmap().AsSlice()...)
	raw = binary.BigEndian.AppendUint16(raw, uint16(port))
	raw = append(raw, key...)
	defer clear(raw)
	return base64.URLEncoding.AppendEncode([]byte(stringVersion), raw), nil
}

// writeGotd writes what gotd's session.FileStorage reads.
func writeGotd(s accounts.Session) ([]byte, error) {
	key, id := s.Key.Bytes(), s.Key.ID()
	defer clear(key)
	addr := s.Addr
	if host, port, err := Address(s); addr == "" && err == nil {
		addr = net.JoinHostPort(host, strconv.Itoa(port))
	}
	var to session.StorageMemory
	loader := session.Loader{Storage: &to}
	ctx := context.Background() // it is in memory
	err := loader.Save(ctx, &session.Data{
		DC: s.DC, Addr: addr, AuthKey: key, AuthKeyID: id[:], Salt: s.Salt,
		Config: session.Config{ThisDC: s.DC},
	})
	if err != nil {
		return nil, err
	}
	return to.LoadSession(ctx)
}

const usualPort = 443

// Address is where a session's data center listens: as it says itself, or Telegram's own
// over IPv4.
func Address(s accounts.Session) (host string, port int, err error) {
	if host, text, err := net.SplitHostPort(s.Addr); err == nil {
		if port, err = strconv.Atoi(text); err == nil {
			return host, port, nil
		}
	}
	if _, err := netip.ParseAddr(s.Addr); err == nil { // as gotd makes it of tdata
		return s.Addr, usualPort, nil
	}
	if host, port, ok := usual(dcs.Prod(), s.DC); ok {
		return host, port, nil
	}
	return "", 0, fmt.Errorf("no address of data center %d is known", s.DC)
}

// usual is the address of a data center over IPv4 in one of gotd's tables.
func usual(list dcs.List, dc int) (host string, port int, ok bool) {
	for _, o := range dcs.FindPrimaryDCs(list.Options, dc, false) {
		if !o.Ipv6 && !o.TCPObfuscatedOnly {
			return o.IPAddress, o.Port, true
		}
	}
	return "", 0, false
}

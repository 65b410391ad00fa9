package pool_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
)

// Records of TLS, and where a hello has its random.
// Source: RFC 8446, 4.1.2, 5.1; gotd's mtproxy/faketls.
const (
	tlsChangeCipher = 0x14
	tlsHandshake    = 0x16
	tlsApplication  = 0x17
	tlsHeader       = 5
	helloRandom     = tlsHeader + 6
)

// fakeTLS is an MTProxy that looks like TLS: a hello signed with the secret is answered
// with one that is, and what follows is in records.
func fakeTLS(secret []byte) func(map[int]string) func(net.Conn) (io.ReadWriter, string, error) {
	return func(at map[int]string) func(net.Conn) (io.ReadWriter, string, error) {
		return func(conn net.Conn) (io.ReadWriter, string, error) {
			_, hello, err := readTLSRecord(conn)
			if err != nil {
				return nil, "", err
			}
			if len(hello) < helloRandom+sha256.Size {
				return nil, "", errors.New("a short hello")
			}
			said := append([]byte(nil), hello[helloRandom:helloRandom+sha256.Size]...)
			clear(hello[helloRandom : helloRandom+sha256.Size])
			mac := hmac.New(sha256.New, secret)
			mac.Write(hello)
			if !hmac.Equal(mac.Sum(nil)[:28], said[:28]) { // the rest has the time in it
				return nil, "", errors.New("another secret")
			}
			answer := appendTLSRecord(nil, tlsHandshake, make([]byte, 122))
			answer = appendTLSRecord(answer, tlsChangeCipher, []byte{1})
			answer = appendTLSRecord(answer, tlsApplication, make([]byte, 512))
			mac = hmac.New(sha256.New, secret)
			mac.Write(said)
			mac.Write(answer)
			copy(answer[helloRandom:], mac.Sum(nil))
			if _, err := conn.Write(answer); err != nil {
				return nil, "", err
			}
			return acceptObfuscated(&tlsRecords{Conn: conn}, secret, at)
		}
	}
}

// tlsRecords are read and written as what is in them.
type tlsRecords struct {
	net.Conn
	left    []byte // read and not taken; one goroutine reads
	writing sync.Mutex
}

func (c *tlsRecords) Read(p []byte) (int, error) {
	for len(c.left) == 0 {
		kind, rec, err := readTLSRecord(c.Conn)
		if err != nil {
			return 0, err
		}
		if kind == tlsApplication {
			c.left = rec[tlsHeader:]
		}
	}
	n := copy(p, c.left)
	c.left = c.left[n:]
	return n, nil
}

func (c *tlsRecords) Write(p []byte) (n int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	for len(p) > 0 {
		part := p[:min(len(p), 1<<14)]
		if _, err := c.Conn.Write(appendTLSRecord(nil, tlsApplication, part)); err != nil {
			return n, err
		}
		n, p = n+len(part), p[len(part):]
	}
	return n, nil
}

// readTLSRecord returns a record with its header.
func readTLSRecord(r io.Reader) (kind byte, rec []byte, err error) {
	rec = make([]byte, tlsHeader)
	if _, err := io.ReadFull(r, rec); err != nil {
		return 0, nil, err
	}
	rec = append(rec, make([]byte, binary.BigEndian.Uint16(rec[3:]))...)
	_, err = io.ReadFull(r, rec[tlsHeader:])
	return rec[0], rec, err
}

func appendTLSRecord(to []byte, kind byte, body []byte) []byte {
	to = append(to, kind, 3, 3)
	return append(binary.BigEndian.AppendUint16(to, uint16(len(body))), body...)
}

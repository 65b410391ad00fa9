package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// sqlProxy stands between a worker and Postgres and counts the statements that the
// worker has executed: queries, transactions' begin and end, and each execution of
// a prepared one.
type sqlProxy struct {
	ln              net.Listener // immutable, as are network and target
	network, target string

	statements atomic.Int64
	conns      sync.WaitGroup
}

// newSQLProxy listens, and returns the URL by which the database is reached over it.
func newSQLProxy(ctx context.Context, database string) (_ *sqlProxy, proxied string, err error) {
	cfg, err := pgx.ParseConfig(database)
	if err != nil {
		return nil, "", err
	}
	if cfg.TLSConfig != nil {
		return nil, "", errors.New("statements cannot be counted over TLS; add sslmode=disable to --database")
	}
	p := &sqlProxy{}
	p.network, p.target = pgconn.NetworkAddress(cfg.Host, cfg.Port)
	if p.ln, err = (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return nil, "", err
	}
	u := url.URL{Scheme: "postgres", Host: p.ln.Addr().String(), Path: "/" + cfg.Database, RawQuery: "sslmode=disable"}
	u.User = url.UserPassword(cfg.User, cfg.Password)
	return p, u.String(), nil
}

// run serves until close.
func (p *sqlProxy) run() error {
	defer p.conns.Wait()
	for {
		c, err := p.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		p.conns.Go(func() { _ = p.serve(c) }) // either side may go at any time
	}
}

// close ends listening; connections end with their clients.
func (p *sqlProxy) close() error { return p.ln.Close() }

func (p *sqlProxy) serve(client net.Conn) error {
	defer client.Close()
	server, err := net.Dial(p.network, p.target)
	if err != nil {
		return err
	}
	defer server.Close()
	p.conns.Go(func() { // ends as server is closed
		_, _ = io.Copy(client, server)
		_ = client.Close()
	})
	r := bufio.NewReader(client)
	// The first message has no type, see "Message Formats" in Postgres's manual.
	if err := pass(server, r, nil); err != nil {
		return err
	}
	for {
		kind, err := r.ReadByte()
		if err != nil {
			return err
		}
		if kind == 'Q' || kind == 'E' { // Query, Execute
			p.statements.Add(1)
		}
		if err := pass(server, r, []byte{kind}); err != nil {
			return err
		}
	}
}

// pass copies a message whose head was read.
func pass(w io.Writer, r *bufio.Reader, head []byte) error {
	size, err := r.Peek(4)
	if err != nil {
		return err
	}
	n := int64(binary.BigEndian.Uint32(size))
	if n < 4 {
		return fmt.Errorf("a message of %d bytes", n)
	}
	_, err = io.CopyN(w, io.MultiReader(bytes.NewReader(head), r), n+int64(len(head)))
	return err
}

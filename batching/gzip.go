package batching

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/proto"
)

// squeezeFrom is the size from which packing may pay.
const squeezeFrom = 1024

// squeeze returns the body, gzip_packed if that makes it smaller.
func squeeze(body []byte) []byte {
	if len(body) < squeezeFrom {
		return body
	}
	var b bin.Buffer
	if err := (proto.GZIP{Data: body}).Encode(&b); err != nil || b.Len() >= len(body) {
		return body
	}
	return b.Buf
}

// maxUnpacked is how much one answer, and what one frame holds besides answers, may
// become when it is unpacked. A KiB of gzip may hold a MiB.
const maxUnpacked = 10 << 20

var errUnpacked = errors.New("what it holds is too large")

var unpackers = sync.Pool{New: func() any { return new(gzip.Reader) }}

// unpack returns what a gzip_packed holds, if that is at most limit bytes. With an
// error it returns what was unpacked until then. Source:
// core.telegram.org/mtproto/service_messages, Packed Object.
func unpack(packed []byte, limit int) ([]byte, error) {
	b := bin.Buffer{Buf: packed}
	if err := b.ConsumeID(proto.GZIPTypeID); err != nil {
		return nil, err
	}
	data, err := b.Bytes()
	if err != nil {
		return nil, err
	}
	r := unpackers.Get().(*gzip.Reader)
	defer unpackers.Put(r)
	if err := r.Reset(bytes.NewReader(data)); err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	out, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	switch {
	case err != nil:
		return out, fmt.Errorf("gzip: %w", err)
	case len(out) > limit:
		return out, errUnpacked
	}
	return out, nil
}

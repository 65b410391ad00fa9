package tgsim_test

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

func TestStatsCountBytes(t *testing.T) {
	t.Parallel()
	srv := setup(t, tgsim.Config{})
	nc, err := net.Dial("tcp", srv.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	const payload = 24                                       // the key of nobody, and no message
	out := binary.LittleEndian.AppendUint32(nil, 0xeeeeeeee) // intermediate
	out = binary.LittleEndian.AppendUint32(out, payload)     // length of the frame
	out = append(append(out, 1), make([]byte, payload-1)...) // auth_key_id that is not 0
	if err := nc.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Write(out); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(nc, make([]byte, 4+4)); err != nil { // transport error -404
		t.Fatal(err)
	}
	if st := srv.Stats(); st.Frames != 1 || st.Bytes != len(out) {
		t.Errorf("%d frames of %d bytes, want 1 of %d", st.Frames, st.Bytes, len(out))
	}
	srv.ResetRecord()
	if n := srv.Stats().Bytes; n != 0 {
		t.Errorf("%d bytes after a reset", n)
	}
}

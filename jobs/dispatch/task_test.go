package dispatch

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
)

func TestTaskOf(t *testing.T) {
	msg := []byte{0x1a, 2, 'i', 'd', 0x30, 3}
	entry := text(text(nil, 1, "name"), 2, "value")
	full := text(text(append([]byte(nil), msg...), fieldType, "send"), fieldPayload, "p")
	full = text(text(full, fieldHeaders, string(entry)), fieldHeaders, string(text(nil, 1, "alone")))
	full = number(number(full, fieldTimeout, 5), fieldDeadline, 7)
	full = text(number(full, fieldRetention, 9), fieldUnique, "key")
	full = protowire.AppendFixed64(protowire.AppendTag(full, 99, protowire.Fixed64Type), 1) // of a later version
	for _, tt := range []struct {
		msg  []byte
		want task
	}{
		{msg, task{id: "id", retried: 3}},
		{withRetried(msg, 300), task{id: "id", retried: 300}},
		{withError(msg, "e", time.Now()), task{id: "id", retried: 3, tried: true}},
		{full, task{id: "id", retried: 3, kind: "send", payload: []byte("p"), timeout: 5, deadline: 7, retention: 9, unique: "key",
			headers: map[string]string{"name": "value", "alone": ""}}},
	} {
		before := bytes.Clone(tt.msg)
		tt.want.msg = tt.msg
		got, err := taskOf(tt.msg)
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(task{})); err != nil || diff != "" {
			t.Errorf("taskOf(%x): %v (-want +got):\n%s", tt.msg, err, diff)
		}
		withRetried(tt.msg, 1)
		if !bytes.Equal(tt.msg, before) {
			t.Error("a message was changed")
		}
	}
	for _, bad := range [][]byte{nil, {0x30, 3}, {0x1a, 9, 'x'}, {0xff}, append(msg[:len(msg):len(msg)], 0x7a, 2, 0x0a, 5), append(msg[:len(msg):len(msg)], 0x7a, 1, 0xff)} {
		if _, err := taskOf(bad); err == nil {
			t.Errorf("taskOf(%x) found a task", bad)
		}
	}
}

func TestTaskUntil(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	for _, tt := range []struct {
		timeout, deadline int64
		want              time.Time
	}{
		{0, 0, now.Add(30 * time.Minute)},
		{5, 0, now.Add(5 * time.Second)},
		{5, 1_000_003, now.Add(3 * time.Second)},
		{5, 1_000_008, now.Add(5 * time.Second)},
		{0, 2_000_000, time.Unix(2_000_000, 0)},
		{-1, -1, time.Unix(-1, 0)},
		{1 << 62, 0, now.Add(1<<63 - 1).Truncate(time.Second)},
	} {
		tk := task{timeout: tt.timeout, deadline: tt.deadline}
		if got := tk.until(now); !got.Equal(tt.want) {
			t.Errorf("until with timeout %d, deadline %d: %v, want %v", tt.timeout, tt.deadline, got, tt.want)
		}
	}
}

func FuzzTaskOf(f *testing.F) {
	f.Add([]byte{0x1a, 2, 'i', 'd', 0x30, 3})
	f.Add(text(text([]byte{0x1a, 2, 'i', 'd'}, fieldHeaders, string(text(text(nil, 1, "a"), 2, "b"))), fieldPayload, "p"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		before, err := taskOf(msg)
		if err != nil {
			return
		}
		at := time.Unix(5, 0)
		after, err := taskOf(withRetried(withError(withCompleted(msg, at), "e\xff", at), 7))
		if err != nil {
			t.Fatalf("a message that was read cannot be once fields are set: %v", err)
		}
		before.msg, after.msg = nil, nil
		before.retried, before.tried = 7, true
		if diff := cmp.Diff(before, after, cmp.AllowUnexported(task{})); diff != "" {
			t.Errorf("(-before +after):\n%s", diff)
		}
	})
}

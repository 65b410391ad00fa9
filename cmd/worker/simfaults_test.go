package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/tgswitchboard/switchboard/internal/simtest"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// TestSendsInAStorm is the shipped worker under what a network and Telegram may
// do to it: 200 sends in rounds while the salt rotates every 10 frames of a key,
// every connection is cut in each of 20 rounds, and one period is half-open, when
// frames vanish and nobody says so. Each job must be done once, by the rules.
func TestSendsInAStorm(t *testing.T) {
	t.Parallel()
	const cuts, round = 20, 4
	f := newFleet(t, 2)
	f.call(t, http.MethodPost, "/salts", `{"every":10}`, nil)
	f.call(t, http.MethodPost, "/rtt", `{"rtt":"5ms"}`, nil) // some are in flight at any time
	w := start(t, f.env, "run", "--name", "w")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ids := map[string]string{}
	// send puts the messages up to a number on the lines, and waits for one in the
	// middle.
	sent := 0
	send := func(to int) {
		t.Helper()
		maps.Copy(ids, f.numbered(t, sent, to))
		if _, err := f.client.Wait(ctx, ids[fmt.Sprint("user00 ", (sent+to)/2)]); err != nil {
			t.Fatal(err)
		}
		sent = to
	}
	// hit does something to open connections.
	hit := func(path, body string) {
		t.Helper()
		var hit struct{ Connections int }
		simtest.Until(t, "there is a connection for "+path, func() bool {
			f.call(t, http.MethodPost, path, body, &hit)
			return hit.Connections > 0
		})
	}
	for i := range cuts {
		send(round * (i + 1))
		hit("/cut", `{}`)
	}
	send(round*cuts + 10)
	hit("/half-open", `{"for":"2s","close":true}`)
	send(100)
	f.wait(t, ids)
	f.checkRecord(t, ids)
	var st tgsim.Stats
	f.call(t, http.MethodGet, "/stats", "", &st)
	t.Logf("%d connections, %d frames, %d calls, %d salts refused, closes %v", st.Connections, st.Frames, st.Calls, st.BadSalts, st.Closes)
	// A salt may also be learned from new_session_created after a cut: that one
	// was refused is not certain, that one rotated is, with 80 frames of two keys.
	if st.Closes["cut on demand"] < cuts || st.Frames < 80 {
		t.Errorf("closes %v, %d frames: the storm did not happen", st.Closes, st.Frames)
	}
	w.term(t)
}

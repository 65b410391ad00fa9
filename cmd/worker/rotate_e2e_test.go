package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tgswitchboard/switchboard/internal/cli"
)

// TestRotateKeyUnderLoad goes the whole way from one key to another while two workers
// run jobs: restarted one after the other with each step, they lose none.
func TestRotateKeyUnderLoad(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 8)
	keyFile := f.env["SWITCHBOARD_KEY_FILE"]
	old := keysOf(t, keyFile).Keys[0]
	copied := filepath.Join(t.TempDir(), "old.json")
	data, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied, data, 0o600); err != nil {
		t.Fatal(err)
	}
	addr := map[string]string{"a": freeAddr(t), "b": freeAddr(t)}
	workers := map[string]*process{}
	begin := func(name string) {
		workers[name] = start(t, f.env, "run", "--name", name, "--http", addr[name], "--idle-after", "1s")
	}
	begin("a")
	begin("b")
	untilHealth(t, addr["a"], 200, 4)
	untilHealth(t, addr["b"], 200, 4)
	ids := map[string]string{}
	from := 0
	load := func() { // runs while the next step is gone
		for text, id := range f.numbered(t, from, from+10) {
			ids[text] = id
		}
		from += 10
	}
	rollOut := func() {
		for _, name := range []string{"a", "b"} {
			workers[name].term(t)
			begin(name)
			untilHealth(t, addr[name], 200, 4)
			load()
		}
	}

	load()
	must(t, f.env, "", "key", "add", keyFile)
	rollOut()
	must(t, f.env, "", "key", "promote", keyFile)
	rollOut()
	load()
	var report resealed
	if err := json.Unmarshal([]byte(must(t, f.env, "", "accounts", "rotate-key", "--json").stdout), &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Unopened) > 0 || report.Sessions+report.Before != len(f.accounts) {
		t.Errorf("report %+v, want all %d accounts", report, len(f.accounts))
	}
	load()
	must(t, f.env, "", "key", "remove", keyFile)
	rollOut()
	f.wait(t, ids)
	f.checkRecord(t, ids)
	for _, w := range workers {
		w.term(t)
	}

	got := installation{env: f.env}.check(t, keyFile, cli.ExitOK)
	if got.Opened != len(f.accounts) || len(got.Sealed) != 1 || got.Sealed[0].Key == old {
		t.Errorf("after the rotation: %+v", got)
	}
	// A worker that was left behind does not start.
	behind := start(t, with(f.env, "SWITCHBOARD_KEY_FILE", copied), "run")
	behind.gone(t)
	if code := behind.cmd.ProcessState.ExitCode(); code != cli.ExitFailed {
		t.Errorf("a worker with the old key: exit %d: %s", code, behind.log)
	}
	if said := behind.log.String(); !strings.Contains(said, "was sealed with another key") {
		t.Errorf("it says %s", said)
	}
}

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tgswitchboard/switchboard/internal/cli"
)

const sessionVectors = "../../accounts/sessionfile/testdata/"

// TestInspectStrings looks at what other libraries have written, without a database, a
// key or a setting, in a file and on stdin.
func TestInspectStrings(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(sessionVectors + "strings.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Name, Text string
		Want       inspected
	}
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors {
		path := filepath.Join(t.TempDir(), "session")
		if err := os.WriteFile(path, []byte(v.Text), 0o600); err != nil {
			t.Fatal(err)
		}
		file := must(t, nil, "", "accounts", "import", "--inspect", path, "--json").stdout
		stream := must(t, nil, v.Text, "accounts", "import", "--inspect", "-", "--from", string(v.Want.Format), "--json").stdout
		if file != stream {
			t.Errorf("%s: from a file\n%sfrom stdin\n%s", v.Name, file, stream)
		}
		var got inspected
		if err := json.Unmarshal([]byte(file), &got); err != nil {
			t.Fatal(err)
		}
		if v.Want.Address == "" { // Telegram's own, by the data center
			if got.Address == "" || got.Port != 443 {
				t.Errorf("%s: no address in %s", v.Name, file)
			}
			got.Address, got.Port = "", 0
		}
		if diff := cmp.Diff(v.Want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", v.Name, diff)
		}
	}
}

// TestInspectLine is the line to the letter, and the table.
func TestInspectLine(t *testing.T) {
	t.Parallel()
	code := filepath.Join(t.TempDir(), "code")
	if err := os.WriteFile(code, []byte("correct horse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := sessionVectors + "tdata-passcode"
	got := must(t, nil, "", "accounts", "import", "--inspect", dir, "--passcode-file", code, "--json").stdout
	const want = `{"format":"tdata","dc":4,"address":"149.154.167.91","port":443,"user_id":2222,"test":false,"auth_key_id":"77d4b340d8ba9a83"}` + "\n"
	if got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	table := must(t, nil, "", "accounts", "import", "--inspect", sessionVectors+"tdata-three").stdout
	if lines := strings.Split(strings.TrimSpace(table), "\n"); len(lines) != 4 || !strings.Contains(lines[2], "5000003332") {
		t.Errorf("the table is\n%s", table)
	}
}

// TestInspectRefuses names the file and what is wrong with it.
func TestInspectRefuses(t *testing.T) {
	t.Parallel()
	text := filepath.Join(t.TempDir(), "notes.txt")
	if err := os.WriteFile(text, []byte("nothing of interest"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ args, want []string }{
		{[]string{text}, []string{text, "no session that is known"}},
		{[]string{text, "--from", "mtcute"}, []string{text, "mtcute"}},
		{[]string{text, "--from", "telegram"}, []string{"--from", `unknown format "telegram"`, "pyrogram-sqlite"}},
		{[]string{sessionVectors + "tdata-passcode"}, []string{"tdata", "locked with a passcode", "--passcode-file"}},
		{[]string{sessionVectors + "tdata-passcode", "--passcode-file", text}, []string{"tdata", "the passcode is wrong"}},
		{[]string{text + ".gone"}, []string{text + ".gone", "no such file"}},
	} {
		got := runIn(t.Context(), nil, "", append([]string{"accounts", "import", "--json", "--inspect"}, tt.args...)...)
		if got.code != cli.ExitUsage || got.stdout != "" {
			t.Errorf("%v: exit %d, stdout %s", tt.args, got.code, got.stdout)
		}
		for _, want := range tt.want {
			if !strings.Contains(got.stderr, want) {
				t.Errorf("%v: stderr lacks %q: %s", tt.args, want, got.stderr)
			}
		}
	}
}

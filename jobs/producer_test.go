package jobs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/tgswitchboard/switchboard/internal/testenv"
)

// TestProducerIsSmall builds a program that enqueues, and runs it.
func TestProducerIsSmall(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		args []string
		most int64
	}{
		{"go build", nil, 15 << 20},
		{"go build -ldflags='-s -w'", []string{"-ldflags=-s -w"}, 11 << 20},
	} {
		program := filepath.Join(t.TempDir(), "producer")
		args := append([]string{"build", "-buildvcs=false", "-o", program}, tt.args...)
		if out, err := exec.Command("go", append(args, "./testdata/producer")...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		st, err := os.Stat(program)
		if err != nil {
			t.Fatal(err)
		}
		if t.Logf("%s: %d bytes", tt.name, st.Size()); st.Size() > tt.most {
			t.Errorf("%s: %d bytes, at most %d are allowed", tt.name, st.Size(), tt.most)
		}
		if out, err := exec.Command(program, testenv.Redis(t)).CombinedOutput(); err != nil || len(out) != 37 {
			t.Errorf("%v: %s", err, out)
		}
	}
}

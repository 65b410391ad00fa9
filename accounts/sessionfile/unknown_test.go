package sessionfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUnknown(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		content string
		unknown bool
	}{
		"notes":          {"all my accounts\n", true},
		"word":           {"hello", true},
		"large":          {strings.Repeat("text ", 1<<15), true},
		"settings":       {`{"app_id": 1, "phone": "1555"}`, true},
		"other zip":      {"PK\x05\x06" + strings.Repeat("\x00", 18), true},
		"cut string":     {"1" + strings.Repeat("Abc_", 60), false},
		"cut JSON":       {`{"Version":1,"Data":{"DC":2`, false},
		"gotd's, no key": {`{"Version":1,"Data":{"DC":2}}`, false},
		"cut database":   {"SQLite format 3\x00 and no more", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Read(t.Context(), path, Options{})
			if err == nil || errors.Is(err, ErrUnknown) != tt.unknown {
				t.Errorf("%v matches ErrUnknown: %t, want %t", err, !tt.unknown, tt.unknown)
			}
		})
	}
}

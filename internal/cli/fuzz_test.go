package cli

import (
	"strings"
	"testing"
)

// FuzzOpenRedis: no URL makes it panic, and no error repeats a password.
func FuzzOpenRedis(f *testing.F) {
	for _, s := range []string{
		DefaultRedis, "rediss://user:hunter2@h:1/2", "unix:///run/redis.sock", "redis+cluster://:hunter2@a,b:2",
		"redis+sentinel://:hunter2@a,b/master?db=1", "redis://:hunter2@h:port", "redis://[::1]:6379", "redis://%zz",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := OpenRedis(s)
		if err == nil {
			_ = c.Close() // connected to nothing
			return
		}
		if strings.Contains(s, "hunter2@") && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error of %q shows the password: %v", s, err)
		}
	})
}

package main

import (
	"crypto/sha512"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/tgswitchboard/switchboard/internal/testenv"
	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// madeUp is a session that no server knows.
func madeUp(n int) tgsim.Session {
	s := tgsim.Session{DC: 2}
	for at := 0; at < len(s.AuthKey); at += sha512.Size {
		sum := sha512.Sum512(fmt.Append(nil, "a key of no account ", n, " ", at))
		copy(s.AuthKey[at:], sum[:])
	}
	return s
}

// BenchmarkImportFolder imports 1,000 of Telethon's files with 100 peers each, without
// asking Telegram.
func BenchmarkImportFolder(b *testing.B) {
	const sessions, known = 1000, 100
	m := &movers{dir: b.TempDir()}
	entities := make([]entity, known)
	for i := range entities {
		entities[i] = entity{id: int64(1000 + i), hash: int64(i + 1), username: fmt.Sprintf("person%d", i), date: 1700000000}
	}
	for n := range sessions {
		m.telethon(b, fmt.Sprintf("account%04d.session", n), madeUp(n), entities...)
	}
	m.env = map[string]string{"SWITCHBOARD_KEY_FILE": filepath.Join(b.TempDir(), "key.json")}
	must(b, m.env, "", "key", "new", m.env["SWITCHBOARD_KEY_FILE"])
	for b.Loop() {
		b.StopTimer()
		m.env["SWITCHBOARD_DATABASE"] = testenv.Postgres(b)
		must(b, m.env, "", "migrate", "up")
		b.StartTimer()
		lines, code := m.folder(b, "--no-verify")
		if code != 0 || len(lines) != sessions || lines["account0999.session"].Result != resultImported {
			b.Fatalf("exit %d, %d lines", code, len(lines))
		}
	}
	b.ReportMetric(float64(sessions*b.N)/b.Elapsed().Seconds(), "sessions/s")
}

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tgswitchboard/switchboard/jobs"
)

// TestHTTPDocument runs the examples of docs/http.md where their interpreters are: each
// is a client in its language against a gateway, behind which jobs are done.
func TestHTTPDocument(t *testing.T) {
	for language, want := range map[string]struct {
		program []string
		printed string
	}{
		"sh":         {[]string{"sh", "-e"}, `"kind":"resolve"`},
		"python":     {[]string{"python3"}, "succeeded\n"},
		"javascript": {[]string{"node", "--input-type=module"}, "body.jobs[1].send.text\nsucceeded\n"},
	} {
		t.Run(language, func(t *testing.T) {
			b := setup(t)
			_, blocks := documented(t, "../../docs/http.md")
			var text string
			for _, block := range blocks {
				if block.language == language && strings.Contains(block.text, "http://127.0.0.1:8080") {
					text += block.text
				}
			}
			if text == "" {
				t.Fatal("no example")
			}
			_, err := exec.LookPath(want.program[0])
			if language == "sh" && err == nil {
				_, err = exec.LookPath("curl")
			}
			if err != nil {
				t.Logf("not run: %v", err)
				return
			}
			if language != "sh" { // which looks at what is pending
				b.serve("alice", func(r jobs.Result) jobs.Result { return sent(r) })
			}
			s := b.gateway()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, want.program[0], want.program[1:]...)
			cmd.Stdin = strings.NewReader(strings.ReplaceAll(text, "http://127.0.0.1:8080", s.url))
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), want.printed) {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// TestDocsPage opens the page in Chromium, where there is one: it is whole, and the
// browser has nothing to complain about.
func TestDocsPage(t *testing.T) {
	b := setup(t)
	s := b.gateway()
	page := s.want(200, "openapi.json", "GET", "/docs", "")
	for _, foreign := range []string{"<script", "http://", "https://", "src=", "@import", "url("} {
		if strings.Contains(page, foreign) {
			t.Errorf("the page has %s", foreign)
		}
	}
	for _, path := range []string{"/v1/jobs/{id}/retry", "/v1/outcomes", "schema-Problem", "Idempotency-Key"} {
		if !strings.Contains(page, path) {
			t.Errorf("the page lacks %s", path)
		}
	}
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Logf("not opened: %v", err)
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	dir := t.TempDir()
	cmd := exec.CommandContext(ctx, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--user-data-dir="+dir, "--enable-logging=stderr", "--v=0", "--dump-dom", s.url+"/docs")
	cmd.Env = append(os.Environ(), "HOME="+filepath.Join(dir, "home"))
	var dom, log strings.Builder
	cmd.Stdout, cmd.Stderr = &dom, &log
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, log.String())
	}
	if strings.Contains(log.String(), "CONSOLE") {
		t.Error(log.String())
	}
	if !strings.Contains(dom.String(), `id="postJobs"`) || !strings.Contains(dom.String(), "</html>") {
		t.Errorf("%s", dom.String())
	}
	if requests := strings.Count(s.log.String(), `"path"`); requests != 0 {
		t.Errorf("the page asked the API: %s", s.log)
	}
}

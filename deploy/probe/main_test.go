package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestRun(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/ready", http.StatusFound)
		case "/ready":
			_, _ = io.WriteString(w, `{"ok":true}`)
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, `{"ok":false}`)
		}
	}))
	defer server.Close()
	closed := httptest.NewServer(nil)
	closed.Close()
	for _, tt := range []struct {
		args []string
		want int
		out  string
	}{
		{[]string{server.URL + "/ready"}, 0, `{"ok":true}`},
		{[]string{server.URL + "/waits"}, 1, `{"ok":false}`},
		{[]string{server.URL + "/moved"}, 1, ""},
		{[]string{closed.URL}, 1, ""},
		{[]string{"http://%zz"}, 2, ""},
		{nil, 2, ""},
	} {
		var out bytes.Buffer
		if got := run(t.Context(), tt.args, &out, io.Discard); got != tt.want {
			t.Errorf("probe %q exits with %d, want %d", tt.args, got, tt.want)
		} else if tt.out != "" && out.String() != tt.out {
			t.Errorf("probe %q prints %q, want %q", tt.args, out.String(), tt.out)
		}
	}
}

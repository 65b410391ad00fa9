// Command probe asks a URL and exits with 0 if the answer is 200. It is the
// health check of an image that has no shell and no curl:
//
//	probe http://127.0.0.1:8080/readyz
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// limit is more than the 2 s that /readyz gives Postgres and Redis together.
const limit = 4 * time.Second

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// run prints what was answered, which Docker keeps, and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) != 1 {
		fmt.Fprintln(stderr, "probe: give one URL, such as http://127.0.0.1:8080/readyz")
		return 2
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, args[0], nil)
	if err != nil {
		fmt.Fprintf(stderr, "probe: %v\n", err)
		return 2
	}
	// Neither a proxy of the environment nor another host is meant.
	client := &http.Client{
		Transport:     &http.Transport{Proxy: nil},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		fmt.Fprintf(stderr, "probe: %v\n", err)
		return 1
	}
	defer res.Body.Close()
	_, _ = io.Copy(stdout, io.LimitReader(res.Body, 4<<10)) // a part tells enough
	if res.StatusCode != http.StatusOK {
		fmt.Fprintf(stderr, "probe: %s answers %s\n", args[0], res.Status)
		return 1
	}
	return 0
}

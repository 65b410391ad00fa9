//go:build unix

package testenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
)

// Provision is one Redis and one Postgres for a whole command, as cmd/testenv
// gives them to a test run.
type Provision struct {
	env     []string // NAME=value
	servers []backend
}

// Provide starts what no variable names, after installing what is missing where
// that is possible, and says on out what it provides.
func Provide(ctx context.Context, out io.Writer) (*Provision, error) {
	installErr := install(ctx, out)
	p := new(Provision)
	if err := p.start(out); err != nil {
		return nil, errors.Join(err, installErr, p.Close())
	}
	return p, nil
}

// Env is what the command has to have in its environment on top of ours.
func (p *Provision) Env() []string { return p.env }

// Close stops every server that Provide started.
func (p *Provision) Close() error {
	var errs []error
	for _, s := range p.servers {
		errs = append(errs, s.kill(), s.remove())
	}
	p.servers = nil
	return errors.Join(append(errs, space.close())...)
}

func (p *Provision) start(out io.Writer) error {
	if given := os.Getenv(envRedisURL); given != "" {
		fmt.Fprintf(out, "testenv: Redis: %s, given by %s\n", redacted(given), envRedisURL)
	} else {
		b, err := newRedis(false)
		if err == nil {
			err = p.add(b, envRedisURL)
		}
		if err != nil {
			return err
		}
		how := viaDocker
		if r, ok := b.(*localRedis); ok {
			how = r.path
		}
		// Tests start their own: that isolates channels too.
		p.env = append(p.env, envRedisServer+"="+how)
		fmt.Fprintf(out, "testenv: Redis: %s, and one more for every test that asks (%s)\n", b.url(), version(how))
	}
	if given := os.Getenv(envPostgresURL); given != "" {
		fmt.Fprintf(out, "testenv: Postgres: %s, given by %s\n", redacted(given), envPostgresURL)
		return nil
	}
	b, err := newPostgres(false)
	if err == nil {
		err = p.add(b, envPostgresURL)
	}
	if err != nil {
		return err
	}
	how := viaDocker
	if l, ok := b.(*localPostgres); ok {
		how = filepath.Join(l.bin, "postgres")
	}
	fmt.Fprintf(out, "testenv: Postgres: %s (%s)\n", redacted(b.url()), version(how))
	return nil
}

// add starts b and notes its URL for the command.
func (p *Provision) add(b backend, variable string) error {
	if err := b.start(); err != nil {
		return errors.Join(err, b.remove())
	}
	p.servers = append(p.servers, b)
	p.env = append(p.env, variable+"="+b.url())
	return nil
}

var versionNumber = regexp.MustCompile(`[0-9]+(\.[0-9]+)+`)

// version is the program with the version it says it has.
func version(path string) string {
	text, err := exec.Command(path, "--version").Output()
	if err != nil {
		return path
	}
	return path + " " + string(versionNumber.Find(text))
}

// redacted hides the password of a URL.
func redacted(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "a URL that cannot be read"
	}
	return u.Redacted()
}

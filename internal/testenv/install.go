//go:build unix

package testenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

const (
	installLimit = 15 * time.Minute
	installTail  = 3000 // bytes of apt-get's output in an error

	// policyFile decides on Debian if a package may start its service.
	policyFile   = "/usr/sbin/policy-rc.d"
	policyScript = "#!/bin/sh\n# Written while test servers are installed, removed after that.\nexit 101\n"
)

// missingPackages names the Debian packages that would give the servers which no
// variable and no installed program gives.
func missingPackages() []string {
	var names []string
	if os.Getenv(envRedisServer) == "" && os.Getenv(envRedisURL) == "" && findRedis() == "" {
		names = append(names, "redis-server")
	}
	if os.Getenv(envPostgresURL) == "" && findPostgres() == "" {
		names = append(names, "postgresql")
	}
	return names
}

// install gets what is missing with apt-get, where there is one and we are root.
// It starts no service. A nil error does not mean that all is there.
func install(ctx context.Context, out io.Writer) (err error) {
	names := missingPackages()
	if len(names) == 0 || os.Geteuid() != 0 {
		return nil
	}
	apt, err := exec.LookPath("apt-get")
	if err != nil {
		return nil
	}
	fmt.Fprintf(out, "testenv: installing %s with apt-get\n", strings.Join(names, ", "))
	restore, err := forbidServices()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, restore()) }()

	ctx, cancel := context.WithTimeout(ctx, installLimit)
	defer cancel()
	// Lists may be old or absent, but may also do: only the install has to work.
	updateErr := aptGet(ctx, apt, "update")
	if err := aptGet(ctx, apt, append([]string{"install", "--yes", "--no-install-recommends"}, names...)...); err != nil {
		return errors.Join(updateErr, err)
	}
	return nil
}

func aptGet(ctx context.Context, apt string, args ...string) error {
	cmd := exec.CommandContext(ctx, apt, append([]string{"--quiet", "--option", "DPkg::Lock::Timeout=300"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
	text, err := cmd.CombinedOutput()
	if err != nil {
		if len(text) > installTail {
			text = text[len(text)-installTail:]
		}
		return fmt.Errorf("apt-get %s: %w: %s", args[0], err, text)
	}
	return nil
}

// forbidServices keeps packages from starting what they install. A policy that the
// machine already has stays as it is.
func forbidServices() (restore func() error, err error) {
	f, err := os.OpenFile(policyFile, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if errors.Is(err, os.ErrExist) {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, err
	}
	_, err = f.WriteString(policyScript)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, errors.Join(err, os.Remove(policyFile))
	}
	return func() error { return os.Remove(policyFile) }, nil
}

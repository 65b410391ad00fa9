//go:build unix

package testenv

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	redisImage    = "redis:7-alpine"
	postgresImage = "postgres:17-alpine"
	containerFile = "container"     // read by the watchdog: the container's id
	dockerLimit   = 5 * time.Minute // for one docker command; the first pulls an image
	containerPoll = 50 * time.Millisecond
)

// container is a server in Docker: slower to start than a process by half a
// second, the same otherwise.
type container struct {
	dir   string
	image string
	inner int      // the port inside
	env   []string // as in `docker run --env`
	args  []string // after the image
	ping  func(port int) error
	at    func(port int) string // the URL

	id   string // "" until the first start
	port int
}

func newRedisContainer(dir string, durable bool) *container {
	return &container{
		dir: dir, image: redisImage, inner: 6379,
		args: append([]string{"redis-server"}, redisArgs(durable)...),
		ping: func(port int) error { return pingRedis(port, 0) },
		at:   redisURL,
	}
}

func newPostgresContainer(dir string, durable bool) *container {
	password := rand.Text()
	at := func(port int) string { return postgresURL(port, password) }
	return &container{
		dir: dir, image: postgresImage, inner: 5432,
		env:  []string{"POSTGRES_PASSWORD=" + password},
		args: append([]string{"postgres"}, postgresArgs(durable)...),
		ping: func(port int) error { return pingPostgres(at(port)) },
		at:   at,
	}
}

func (c *container) url() string { return c.at(c.port) }

func (c *container) start() error {
	if err := c.up(); err != nil {
		return err
	}
	deadline := time.Now().Add(startLimit)
	tick := time.NewTicker(containerPoll)
	defer tick.Stop()
	for {
		err := c.ping(c.port)
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("container of %s does not answer after %s: %w", c.image, startLimit, err)
		}
		<-tick.C
	}
}

// up creates the container, or starts the one that was killed.
func (c *container) up() error {
	if c.id != "" {
		_, err := docker("start", c.id)
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	args := []string{"run", "--detach", "--publish", loopback(port) + ":" + strconv.Itoa(c.inner)}
	for _, kv := range c.env {
		args = append(args, "--env", kv)
	}
	id, err := docker(append(append(args, c.image), c.args...)...)
	if err != nil {
		return err
	}
	c.id, c.port = id, port
	return os.WriteFile(filepath.Join(c.dir, containerFile), []byte(id), 0o600)
}

func (c *container) kill() error {
	_, err := docker("kill", c.id)
	return err
}

// stop sends the image's own signal, which for Postgres is that of a fast shutdown.
func (c *container) stop() error {
	_, err := docker("stop", "--time", strconv.Itoa(int(stopLimit/time.Second)), c.id)
	return err
}

func (c *container) remove() error {
	if c.id != "" {
		if _, err := docker("rm", "--force", "--volumes", c.id); err != nil {
			return err
		}
	}
	return os.RemoveAll(c.dir)
}

// docker runs one command and returns what it printed.
func docker(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dockerLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, "docker", args...).Output()
	if err != nil {
		if exit, ok := err.(*exec.ExitError); ok {
			return "", fmt.Errorf("docker %s: %w: %s", args[0], err, exit.Stderr)
		}
		return "", fmt.Errorf("docker %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}

package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/spf13/pflag"
)

// DefaultRedis is the development instance, which `worker dev` runs.
const DefaultRedis = "redis://127.0.0.1:7379"

// pingLimit is enough for go-redis to try twice.
const pingLimit = 10 * time.Second

// RedisVar defines --redis.
func RedisVar(flags *pflag.FlagSet, p *string) {
	flags.StringVar(p, "redis", DefaultRedis, "`URL` of Redis: redis://[user:password@]host:port[/db], rediss:// for TLS, unix:///path,\n"+
		"redis+cluster://host1,host2 or redis+sentinel://host1,host2/master")
}

// DatabaseVar defines --database.
func DatabaseVar(flags *pflag.FlagSet, p *string, usage string) {
	flags.StringVar(p, "database", "", "`URL` of the database: postgres://user:password@host:5432/name or sqlite:PATH; "+usage)
}

// OpenRedis makes a client; nothing is connected yet. Options of go-redis may be
// in the query (?read_timeout=5s). Forms:
//
//	redis://, rediss://, unix://                        one server
//	redis+cluster://[user:password@]h1:p1,h2:p2         a cluster (rediss+cluster: TLS)
//	redis+sentinel://[user:password@]h1,h2/master?db=1  what the Sentinels at h1, h2 call master
//	                                                    (rediss+sentinel; sentinel_username, sentinel_password)
//
// The error is a usage error and shows no password.
func OpenRedis(rawURL string) (redis.UniversalClient, error) {
	u, err := splitURL(rawURL)
	if err != nil {
		return nil, err
	}
	client, err := u.client()
	if err != nil {
		return nil, Usage("--redis: %s", strings.TrimPrefix(err.Error(), "redis: "))
	}
	return client, nil
}

// redisURL is a URL taken apart by hand: net/url refuses lists of hosts, and
// its errors show passwords.
type redisURL struct {
	scheme, user string // user is user:password@, or ""
	hosts        []string
	path         string
	query        url.Values
}

var errRedisURL = Usage("--redis is not a URL such as redis://user:password@host:6379/0; " +
	"write %%40, %%2F and the like for special characters in the password")

func splitURL(raw string) (u redisURL, err error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return u, errRedisURL
	}
	u.scheme = strings.ToLower(scheme)
	rest, query, _ := strings.Cut(rest, "?")
	if u.query, err = url.ParseQuery(query); err != nil {
		return u, errRedisURL
	}
	authority := rest
	if i := strings.Index(rest, "/"); i >= 0 {
		authority, u.path = rest[:i], rest[i:]
	}
	if i := strings.LastIndex(authority, "@"); i >= 0 {
		u.user, authority = authority[:i+1], authority[i+1:]
	}
	u.hosts = strings.Split(authority, ",")
	for _, host := range u.hosts {
		// Also catches a password with "/" or "#" in it, whose rest would be a path.
		if p, err := url.Parse("redis://" + u.user + host + u.path); err != nil || p.Host != host || strings.Contains(u.path, "@") {
			return u, errRedisURL
		}
	}
	return u, nil
}

// single is the URL of the first host in go-redis's own form.
func (u redisURL) single(scheme, user, path string) string {
	return scheme + "://" + user + u.hosts[0] + path + "?" + u.query.Encode()
}

// fillPorts gives every host a port and moves all but the first into the query.
func (u *redisURL) fillPorts(port string) error {
	for i, host := range u.hosts {
		if host == "" {
			return errors.New("a host is missing; write host1:port,host2:port")
		}
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(strings.Trim(host, "[]"), port)
		}
		u.hosts[i] = host
	}
	for _, host := range u.hosts[1:] {
		u.query.Add("addr", host)
	}
	return nil
}

func (u redisURL) client() (redis.UniversalClient, error) {
	plain, kind, _ := strings.Cut(u.scheme, "+")
	if plain != "redis" && plain != "rediss" && u.scheme != "unix" {
		return nil, fmt.Errorf("%q is not a form of Redis URL; use redis://, rediss://, unix://, redis+cluster:// or redis+sentinel://", u.scheme)
	}
	switch kind {
	case "":
		return u.server()
	case "cluster":
		return u.cluster(plain)
	case "sentinel":
		return u.sentinel(plain)
	}
	return nil, fmt.Errorf("%q is not a form of Redis URL; use redis+cluster:// or redis+sentinel://", u.scheme)
}

func (u redisURL) server() (redis.UniversalClient, error) {
	if len(u.hosts) > 1 {
		return nil, errors.New("several hosts need redis+cluster:// or redis+sentinel://")
	}
	if db := strings.Trim(u.path, "/"); u.scheme != "unix" && db != "" {
		if _, err := strconv.ParseUint(db, 10, 16); err != nil {
			return nil, errors.New("what follows the host is the number of a database, such as /0")
		}
	}
	opt, err := redis.ParseURL(u.single(u.scheme, u.user, u.path))
	if err != nil {
		return nil, err
	}
	opt.ContextTimeoutEnabled = true
	opt.DialerRetries = 1 // commands are retried already
	opt.MaintNotificationsConfig = noMaintenance()
	return redis.NewClient(opt), nil
}

func (u redisURL) cluster(plain string) (redis.UniversalClient, error) {
	if db := strings.Trim(u.path, "/"); db != "" && db != "0" {
		return nil, errors.New("a cluster has database 0 only; take the path off the URL")
	}
	if err := u.fillPorts("6379"); err != nil {
		return nil, err
	}
	opt, err := redis.ParseClusterURL(u.single(plain, u.user, ""))
	if err != nil {
		return nil, err
	}
	opt.ContextTimeoutEnabled = true
	opt.DialerRetries = 1
	opt.MaintNotificationsConfig = noMaintenance()
	secure(opt.TLSConfig)
	return redis.NewClusterClient(opt), nil
}

func (u redisURL) sentinel(plain string) (redis.UniversalClient, error) {
	master := strings.Trim(u.path, "/")
	if master != "" {
		u.query.Set("master_name", master)
	}
	if u.query.Get("master_name") == "" {
		return nil, errors.New("the master's name is missing; write redis+sentinel://host1,host2/NAME")
	}
	if err := u.fillPorts("26379"); err != nil {
		return nil, err
	}
	sentinelUser, sentinelPassword := u.query.Get("sentinel_username"), u.query.Get("sentinel_password")
	u.query.Del("sentinel_username")
	u.query.Del("sentinel_password")
	opt, err := redis.ParseFailoverURL(u.single(plain, "", ""))
	if err != nil {
		return nil, err
	}
	opt.SentinelUsername, opt.SentinelPassword = sentinelUser, sentinelPassword
	if p, err := url.Parse("redis://" + u.user + "h"); err == nil && p.User != nil {
		opt.Username = p.User.Username()
		opt.Password, _ = p.User.Password()
	}
	opt.ContextTimeoutEnabled = true
	opt.DialerRetries = 1
	secure(opt.TLSConfig)
	return redis.NewFailoverClient(opt), nil
}

// noMaintenance saves a question to the server on every connection.
func noMaintenance() *maintnotifications.Config {
	return &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

func secure(c *tls.Config) {
	if c != nil {
		c.MinVersion = tls.VersionTLS12
	}
}

// PingRedis asks for an answer before a command relies on there being one. The
// error exits with ExitUnavailable.
func PingRedis(ctx context.Context, client redis.UniversalClient, rawURL string) error {
	ctx, cancel := context.WithTimeout(ctx, pingLimit)
	defer cancel()
	err := client.Ping(ctx).Err()
	switch {
	case err == nil || redis.HasErrorPrefix(err, "NOPERM"): // it knows us, and PING is not ours to send
		return nil
	case errors.Is(err, context.Canceled):
		return err
	case redis.HasErrorPrefix(err, "NOAUTH"), redis.HasErrorPrefix(err, "WRONGPASS"):
		return Unavailable("Redis at %s refuses the user or the password; put the right ones into --redis", address(rawURL))
	}
	return RedisUnavailable(rawURL, err)
}

// address is the part of a Redis URL that may be shown.
func address(rawURL string) string {
	u, err := splitURL(rawURL)
	if err != nil {
		return "the address in --redis"
	}
	return cmp.Or(strings.Join(u.hosts, ","), u.path)
}

// RedisUnavailable says that Redis at rawURL cannot be reached and what would
// do. It shows no password.
func RedisUnavailable(rawURL string, err error) error {
	hint := "check --redis"
	if rawURL == DefaultRedis {
		hint = "start `worker dev`, or name another Redis with --redis"
	}
	return Unavailable("cannot reach Redis at %s (%s); %s", address(rawURL), because(err), hint)
}

// because is the short cause: libraries wrap it in what the caller says better.
func because(err error) string {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return "no such host"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "it closed the connection"
	}
	return Sentence(err)
}

package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/redis/go-redis/v9"
)

// newLogger logs to w as --log-level and --log-format say.
func newLogger(w io.Writer, c common) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.logLevel)) // one of the choices
	opts := &slog.HandlerOptions{Level: level}
	if c.logFormat == "text" || c.logFormat == "auto" && IsTerminal(w) {
		return slog.New(slog.NewTextHandler(w, opts))
	}
	return slog.New(slog.NewJSONHandler(w, opts))
}

// redisLog takes go-redis's own messages, which repeat what its callers are
// told as errors.
type redisLog struct{ log *slog.Logger }

func (l redisLog) Printf(ctx context.Context, format string, args ...any) {
	l.log.DebugContext(ctx, "redis: "+Clean(fmt.Sprintf(format, args...)))
}

func init() { redis.SetLogger(redisLog{slog.New(slog.DiscardHandler)}) }

// routeRedisLog sends go-redis's messages, which are global, to the logger of a
// real program. Programs run by tests share a process and stay silent.
func routeRedisLog(env *Env) {
	if env.Stderr == io.Writer(os.Stderr) {
		redis.SetLogger(redisLog{env.Log})
	}
}

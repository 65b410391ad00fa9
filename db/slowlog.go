package db

import (
	"context"
	"log/slog"
	"time"

	"gorm.io/gorm/logger"
)

// slowLog reports slow statements. Errors are returned to the caller and logged
// by nobody here.
type slowLog struct {
	log  *slog.Logger
	slow time.Duration
}

var _ logger.Interface = slowLog{}

func (l slowLog) LogMode(logger.LogLevel) logger.Interface { return l }

func (slowLog) Info(context.Context, string, ...any)  {}
func (slowLog) Warn(context.Context, string, ...any)  {}
func (slowLog) Error(context.Context, string, ...any) {}

func (l slowLog) Trace(ctx context.Context, begin time.Time, statement func() (string, int64), _ error) {
	took := time.Since(begin)
	if took < l.slow || !l.log.Enabled(ctx, slog.LevelWarn) {
		return
	}
	sql, rows := statement()
	l.log.WarnContext(ctx, "slow statement", "took", took, "rows", rows, "sql", sql)
}

// ParamsFilter keeps values out of the log: they are sessions, hashes and names.
func (slowLog) ParamsFilter(_ context.Context, sql string, _ ...any) (string, []any) {
	return sql, nil
}

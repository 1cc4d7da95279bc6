package registry

import (
	"context"
	"log/slog"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapTo returns a logger for etcd that writes to log. What etcd calls Info
// and Warn ("took too long", "not recommended for production") is debugging
// to people who run meshd; its errors are warnings, since whatever they break
// fails in a call of ours that says so.
func zapTo(log *slog.Logger) *zap.Logger {
	return zap.New(slogCore{log: log.With("part", "etcd")}, zap.AddCaller(), zap.WithFatalHook(zapcore.WriteThenPanic))
}

type slogCore struct{ log *slog.Logger }

func (c slogCore) level(l zapcore.Level) slog.Level {
	switch {
	case l < zapcore.ErrorLevel:
		return slog.LevelDebug
	case l == zapcore.ErrorLevel:
		return slog.LevelWarn
	}
	return slog.LevelError
}

// Enabled implements zapcore.LevelEnabler.
func (c slogCore) Enabled(l zapcore.Level) bool {
	return c.log.Enabled(context.Background(), c.level(l))
}

// With implements zapcore.Core.
func (c slogCore) With(fields []zapcore.Field) zapcore.Core {
	return slogCore{log: c.log.With(attrs(fields)...)}
}

// Check implements zapcore.Core.
func (c slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write implements zapcore.Core.
func (c slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := c.level(e.Level)
	// A new member reports its storage version as an error until its first
	// term is on disk.
	if strings.HasSuffix(e.Caller.File, "etcdserver/version/monitor.go") {
		level = slog.LevelDebug
	}
	c.log.Log(context.Background(), level, e.Message, attrs(fields)...)
	return nil
}

// Sync implements zapcore.Core.
func (c slogCore) Sync() error { return nil }

func attrs(fields []zapcore.Field) []any {
	enc := zapcore.NewMapObjectEncoder()
	out := make([]any, 0, len(fields))
	for _, f := range fields {
		if f.Type == zapcore.SkipType {
			continue
		}
		f.AddTo(enc)
		out = append(out, slog.Any(f.Key, enc.Fields[f.Key]))
	}
	return out
}

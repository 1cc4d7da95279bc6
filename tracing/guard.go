package tracing

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// quiet is the least time between two complaints about one exporter.
const quiet = 30 * time.Second

// A guard stands between the SDK and an exporter. It keeps errors from the
// SDK, whose only way with them is a global handler, and logs them, at most
// one in quiet.
type guard struct {
	log  *slog.Logger
	what string // "traces", "metrics", "metrics to meshd"

	mu      sync.Mutex // guards the rest
	failing int        // exports since the last good one
	logged  time.Time
}

func newGuard(log *slog.Logger, what string) *guard { return &guard{log: log, what: what} }

func (g *guard) note(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err == nil {
		if g.failing > 0 && !g.logged.IsZero() {
			g.log.Info("telemetry export works again", "what", g.what, "failed_exports", g.failing)
			g.logged = time.Time{}
		}
		g.failing = 0
		return
	}
	g.failing++
	if now := time.Now(); now.Sub(g.logged) >= quiet {
		g.logged = now
		g.log.Warn("telemetry export failed", "what", g.what, "failed_exports", g.failing, "err", err,
			"next", "see that the endpoint is up and takes OTLP; calls are not affected")
	}
}

type guardedMetrics struct {
	metric.Exporter
	*guard
}

// Export never fails, as the SDK sees it.
func (g *guardedMetrics) Export(ctx context.Context, rm *metricdata.ResourceMetrics) error {
	g.note(g.Exporter.Export(ctx, rm))
	return nil
}

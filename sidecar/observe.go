package sidecar

import (
	"context"
	"errors"
	"net"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/meshd/meshd/sidecar/accesslog"
	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/tracing"
)

// logFilters is what the words of Config.AccessLogFilter mean.
var logFilters = map[string]call.LogFilter{"all": call.LogAll, "errors": call.LogFailed, "kept": call.LogKept}

// observe starts what tells others of the calls here: exporters, and the access
// log. Nothing of it waits for anybody.
func (p *Proxy) observe(ctx context.Context) (err error) {
	p.telemetry, err = tracing.Setup(ctx, tracing.Options{
		ServiceName: p.cfg.Service, Namespace: p.cfg.Namespace, InstanceID: p.cfg.Instance, Version: p.cfg.Version,
		MeshdAddr: p.cfg.Meshd, MeshdOmits: stats.MeshdOmits(), MeshdSparsely: stats.MeshdSparsely(),
		Dial: p.telemetryDial(), Producers: []sdkmetric.Producer{p.stats}, Logger: p.cfg.Logger, Getenv: p.cfg.Getenv,
	})
	if err != nil {
		return err
	}
	if p.cfg.AccessLog != "" {
		if p.access, err = accesslog.Open(p.cfg.AccessLog, p.cfg.Instance, p.cfg.Logger); err != nil {
			return err
		}
	}
	p.stats.SetFigures(p.leftFigures)
	return nil
}

// callLog is what gets the calls that --access-log-filter lets through; nil:
// nothing does.
func (p *Proxy) callLog() func(*call.Entry) {
	var records *accesslog.Recorder
	if p.telemetry.Logging() {
		records = accesslog.NewRecorder(p.telemetry.Log)
	}
	switch {
	case p.access == nil && records == nil:
		return nil
	case records == nil:
		return p.access.Write
	case p.access == nil:
		return records.Write
	}
	return func(e *call.Entry) {
		p.access.Write(e)
		records.Write(e)
	}
}

// leftFigures is what has become of what was to leave the sidecar.
func (p *Proxy) leftFigures() (out []stats.Figure) {
	for _, e := range p.telemetry.Exporters() {
		out = append(out,
			stats.Figure{Metric: stats.Exported, Value: float64(e.Exported), Word: e.Name},
			stats.Figure{Metric: stats.Unexported, Value: float64(e.Dropped + e.Failed), Word: e.Name})
		if e.Thinned > 0 {
			out = append(out, stats.Figure{Metric: stats.Thinned, Value: float64(e.Thinned), Word: e.Name})
		}
	}
	if p.access != nil {
		c := p.access.Counts()
		out = append(out,
			stats.Figure{Metric: stats.LogWritten, Value: float64(c.Written)},
			stats.Figure{Metric: stats.LogDropped, Value: float64(c.Dropped)})
	}
	return out
}

// telemetryDial dials around our own redirection, where sockets are marked at all.
func (p *Proxy) telemetryDial() func(ctx context.Context, network, addr string) (net.Conn, error) {
	if p.dialer.Control == nil {
		return nil
	}
	return p.dialer.DialContext
}

// flush sends and writes what waits, as far as ctx allows. No call is under way.
func (p *Proxy) flush(ctx context.Context) {
	if p.access != nil {
		if err := p.access.Close(ctx); err != nil {
			p.cfg.Logger.Warn("the end of the access log is lost", "error", err,
				"next", "see that there is room where the access log is written")
		}
	}
	if p.telemetry != nil {
		if err := p.telemetry.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			p.cfg.Logger.Warn("telemetry was not flushed", "error", err, "next", "see that the telemetry backend is reachable")
		}
	}
}

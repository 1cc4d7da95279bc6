package dashboard

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/meshd/meshd/dashboard/chart"
	"github.com/meshd/meshd/telemetry"
)

// tracesBody is the list of kept calls.
type tracesBody struct {
	Services  []option
	Kinds     []option
	Min       string // ms
	Window    string
	Rows      []traceRow
	ServiceMs bool // a service is asked for: its own part is shown
}

type option struct {
	Value, Text string
	Selected    bool
}

type traceRow struct {
	ID, Link, Time, Name, Service, Duration, ServiceMs, Spans, Message string
	Failed                                                             bool
}

const maxTraces = 100

func (d *Dashboard) traces(r *http.Request, s state) (page, error) {
	q := r.URL.Query()
	query := telemetry.TraceQuery{Kind: telemetry.TraceKind(q.Get("kind")), Limit: maxTraces}
	if query.Kind != telemetry.TraceError && query.Kind != telemetry.TraceSlow {
		query.Kind = telemetry.TraceAny
	}
	if text := q.Get("service"); text != "" {
		query.Service = telemetry.Service{Namespace: "default", Name: text}
		if ns, name, ok := strings.Cut(text, "/"); ok {
			query.Service = telemetry.Service{Namespace: ns, Name: name}
		}
	}
	b := tracesBody{Window: windows[s.window].Param, ServiceMs: query.Service != telemetry.Service{}}
	if ms, err := strconv.ParseFloat(q.Get("min"), 64); err == nil && ms > 0 && ms < 1e9 {
		query.Min, b.Min = time.Duration(ms*float64(time.Millisecond)), strconv.FormatFloat(ms, 'f', -1, 64)
	}
	b.Services = []option{{"", "any service", !b.ServiceMs}}
	listed := !b.ServiceMs
	for _, id := range d.known() {
		b.Services = append(b.Services, option{id.String(), id.String(), id == query.Service})
		listed = listed || id == query.Service
	}
	if !listed {
		b.Services = append(b.Services, option{query.Service.String(), query.Service.String(), true})
	}
	for _, k := range []struct {
		kind telemetry.TraceKind
		text string
	}{{telemetry.TraceAny, "newest"}, {telemetry.TraceError, "failed"}, {telemetry.TraceSlow, "slowest"}} {
		b.Kinds = append(b.Kinds, option{string(k.kind), k.text, k.kind == query.Kind})
	}
	for _, t := range d.cfg.Reader.Traces(query) {
		b.Rows = append(b.Rows, traceRow{
			ID: t.ID, Link: "/traces/" + url.PathEscape(t.ID), Time: t.Start.UTC().Format(time.TimeOnly),
			Name: t.Name, Service: t.Service.String(), Duration: chart.Millis(t.DurationMs), ServiceMs: chart.Millis(t.ServiceMs),
			Spans: fmt.Sprintf("%d in %d", t.Spans, t.Services), Message: t.Message, Failed: t.Failed,
		})
	}
	return page{Title: "Traces", Section: "Traces", Timeless: true, Body: b}, nil
}

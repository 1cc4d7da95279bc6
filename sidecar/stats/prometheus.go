package stats

import (
	"bufio"
	"encoding/hex"
	"io"
	"maps"
	"math"
	"mime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A PrometheusFormat is one in which WritePrometheus writes.
type PrometheusFormat uint8

// The formats; only OpenMetrics has exemplars.
const (
	PrometheusText PrometheusFormat = iota // 0.0.4
	OpenMetrics                            // 1.0.0
)

// ContentType is the format's.
func (f PrometheusFormat) ContentType() string {
	if f == OpenMetrics {
		return "application/openmetrics-text; version=1.0.0; charset=utf-8"
	}
	return "text/plain; version=0.0.4; charset=utf-8"
}

// AcceptedFormat is the one that an Accept field asks for. Prometheus names
// OpenMetrics where it takes it, and prefers it.
func AcceptedFormat(accept string) PrometheusFormat {
	for part := range strings.SplitSeq(accept, ",") {
		if kind, _, err := mime.ParseMediaType(part); err == nil && kind == "application/openmetrics-text" {
			return OpenMetrics
		}
	}
	return PrometheusText
}

// Latency boundaries for Prometheus are the powers of two from 2^-14 s (61 µs)
// to 2^6 s (64 s): each is also the boundary of a fine bucket, so the counts
// are exact.
const (
	promMinOctave = -14
	promMaxOctave = 6
)

// WritePrometheus writes the registry for Prometheus. Names are those of the
// OpenTelemetry metrics, dots as underscores.
func (r *Registry) WritePrometheus(w io.Writer, format PrometheusFormat) error {
	snap := r.Snapshot()
	p := promWriter{bufio.NewWriter(w), format}
	p.side("client", snap.Client, true)
	p.side("server", snap.Server, false)
	p.clients(snap.Client)
	p.some(snap.Client)
	p.tcp(snap)
	p.figures(snap.Client)
	p.figures(snap.Server)
	p.figures([]ServiceSnapshot{{Figures: snap.Figures}})

	p.head("meshd_connections", "gauge", "Open connections.")
	p.sample("meshd_connections", float64(snap.Connections.Downstream), "meshd_side", "downstream")
	p.sample("meshd_connections", float64(snap.Connections.Upstream), "meshd_side", "upstream")
	p.head("meshd_panics_total", "counter", "Panics caught.")
	p.sample("meshd_panics_total", float64(snap.Panics))
	p.head("meshd_malformed_requests_total", "counter", "Requests refused because they could not be parsed.")
	p.sample("meshd_malformed_requests_total", float64(snap.Malformed))
	p.head("meshd_passthrough_total", "counter", "Calls and connections to what the mesh does not know.")
	p.sample("meshd_passthrough_total", float64(snap.Passthrough))
	if format == OpenMetrics {
		p.w.WriteString("# EOF\n")
	}
	return p.w.Flush()
}

type promWriter struct {
	w      *bufio.Writer
	format PrometheusFormat
}

func (p promWriter) side(side string, services []ServiceSnapshot, route bool) {
	duration := "http_" + side + "_request_duration_seconds"
	active := "http_" + side + "_active_requests"
	p.head(duration, "histogram", "Duration of HTTP "+side+" requests.")
	for _, s := range services {
		for _, series := range s.Series {
			labels := []string{"meshd_service", s.Name}
			if route {
				labels = append(labels, "meshd_route", series.Route)
			}
			if series.Status != 0 {
				labels = append(labels, "http_response_status_code", strconv.Itoa(series.Status))
			}
			if series.GRPC != "" {
				labels = append(labels, "rpc_response_status_code", series.GRPC)
			}
			if series.Error != "" {
				labels = append(labels, "error_type", series.Error)
			}
			p.histogram(duration, series.Latency, labels)
		}
	}
	p.head(active, "gauge", "Number of HTTP "+side+" requests in flight.")
	for _, s := range services {
		p.sample(active, float64(s.Active), "meshd_service", s.Name)
	}
}

func (p promWriter) histogram(name string, d Distribution, labels []string) {
	var seen uint64
	next := 0
	kept := d.Exemplars
	for o := promMinOctave; o <= promMaxOctave; o++ {
		for next < len(d.Counts) && d.Offset+next < o*perOctave {
			seen += d.Counts[next]
			next++
		}
		le := strconv.FormatFloat(math.Exp2(float64(o)), 'g', -1, 64)
		p.bucket(name, seen, labels, le, newest(&kept, time.Duration(math.Exp2(float64(o))*1e9)))
	}
	p.bucket(name, d.Count, labels, "+Inf", newest(&kept, math.MaxInt64))
	p.sample(name+"_sum", d.Sum.Seconds(), labels...)
	p.sample(name+"_count", float64(d.Count), labels...)
}

// newest takes those off that are not above the bound, and returns the newest
// of them; nil: there is none.
func newest(kept *[]*Exemplar, bound time.Duration) (out *Exemplar) {
	for len(*kept) > 0 && (*kept)[0].Value <= bound {
		if e := (*kept)[0]; out == nil || e.Time.After(out.Time) {
			out = e
		}
		*kept = (*kept)[1:]
	}
	return out
}

func (p promWriter) bucket(name string, count uint64, labels []string, le string, e *Exemplar) {
	p.labelled(name+"_bucket", append(slices.Clip(labels), "le", le))
	p.value(float64(count))
	if e != nil && p.format == OpenMetrics {
		p.w.WriteString(" # ")
		p.labelled("", []string{"trace_id", hex.EncodeToString(e.Trace[:]), "span_id", hex.EncodeToString(e.Span[:])})
		p.value(e.Value.Seconds())
		p.value(float64(e.Time.UnixMilli()) / 1000)
	}
	p.w.WriteByte('\n')
}

func (p promWriter) clients(services []ServiceSnapshot) {
	p.head("meshd_client_retries_total", "counter", "Further attempts after a failed one.")
	for _, s := range services {
		for _, reason := range slices.Sorted(maps.Keys(s.Retries)) {
			p.sample("meshd_client_retries_total", float64(s.Retries[reason]), "meshd_service", s.Name, "meshd_retry_reason", reason)
		}
	}
	for _, m := range []struct {
		name, kind, help string
		value            func(ServiceSnapshot) float64
	}{
		{"meshd_client_retries_denied_total", "counter", "Retries refused because the budget was spent.", func(s ServiceSnapshot) float64 { return float64(s.RetriesDenied) }},
		{"meshd_client_idle_resets_total", "counter", "Calls moved from a connection that was closed while idle to a fresh one.", func(s ServiceSnapshot) float64 { return float64(s.IdleResets) }},
		{"meshd_breaker_open", "gauge", "Endpoints whose breaker is open or half open.", func(s ServiceSnapshot) float64 { return float64(s.BreakersOpen) }},
	} {
		p.head(m.name, m.kind, m.help)
		for _, s := range services {
			p.sample(m.name, m.value(s), "meshd_service", s.Name)
		}
	}
	for _, m := range []struct {
		name, kind, help string
		value            func(EndpointStat) float64
	}{
		{"meshd_endpoint_requests_total", "counter", "Attempts sent to an endpoint.", func(e EndpointStat) float64 { return float64(e.Requests) }},
		{"meshd_endpoint_failures_total", "counter", "Attempts on an endpoint that failed.", func(e EndpointStat) float64 { return float64(e.Failures) }},
		{"meshd_endpoint_active_requests", "gauge", "Attempts in flight on an endpoint.", func(e EndpointStat) float64 { return float64(e.InFlight) }},
	} {
		p.head(m.name, m.kind, m.help)
		eachEndpoint(services, func(_ ServiceSnapshot, e EndpointStat, of ...string) {
			p.sample(m.name, m.value(e), of...)
		})
	}
}

// some writes what not all endpoints have.
func (p promWriter) some(services []ServiceSnapshot) {
	const weight, breaker, ejections = "meshd_endpoint_weight", "meshd_endpoint_breaker", "meshd_endpoint_ejections_total"
	p.head(weight, "gauge", "Part of new calls that an endpoint is to get, 0 to 1.")
	eachEndpoint(services, func(s ServiceSnapshot, e EndpointStat, of ...string) {
		if !s.quiet {
			p.sample(weight, e.Weight, of...)
		}
	})
	p.head(breaker, "gauge", "1 of an endpoint whose breaker is open or half open.")
	eachEndpoint(services, func(_ ServiceSnapshot, e EndpointStat, of ...string) {
		if e.Breaker != BreakerClosed {
			p.sample(breaker, 1, append(of, "meshd_breaker_rule", e.BreakerRule)...)
		}
	})
	p.head(ejections, "counter", "Ejections of an endpoint as an outlier, by rule.")
	eachEndpoint(services, func(_ ServiceSnapshot, e EndpointStat, of ...string) {
		for _, rule := range slices.Sorted(maps.Keys(e.Ejections)) {
			p.sample(ejections, float64(e.Ejections[rule]), append(of, "meshd_health_rule", rule)...)
		}
	})
}

// eachEndpoint calls do for the services' endpoints, with their labels.
func eachEndpoint(services []ServiceSnapshot, do func(s ServiceSnapshot, e EndpointStat, of ...string)) {
	for _, s := range services {
		for _, e := range s.Endpoints {
			do(s, e, "meshd_service", s.Name, "meshd_endpoint", e.Address, "meshd_endpoint_id", e.ID)
		}
	}
}

func (p promWriter) figures(services []ServiceSnapshot) {
	byMetric(services, func(m *Metric, of []namedFigure) {
		p.head(m.prometheus(), m.kind(), m.Help)
		for _, f := range of {
			var labels []string
			if f.service != "" {
				labels = append(labels, "meshd_service", f.service)
			}
			if m.Attribute != "" {
				labels = append(labels, strings.ReplaceAll(m.Attribute, ".", "_"), f.Word)
			}
			p.sample(m.prometheus(), f.Value, labels...)
		}
	})
}

// head writes what goes before the samples of a metric. OpenMetrics names a
// counter without its suffix.
func (p promWriter) head(name, kind, help string) {
	if p.format == OpenMetrics && kind == "counter" {
		name = strings.TrimSuffix(name, "_total")
	}
	p.w.WriteString("# HELP " + name + " " + help + "\n# TYPE " + name + " " + kind + "\n")
}

// sample writes one line; labels are names and values in turn.
func (p promWriter) sample(name string, value float64, labels ...string) {
	p.labelled(name, labels)
	p.value(value)
	p.w.WriteByte('\n')
}

func (p promWriter) value(v float64) {
	p.w.WriteByte(' ')
	p.w.WriteString(strconv.FormatFloat(v, 'g', -1, 64))
}

func (p promWriter) labelled(name string, labels []string) {
	p.w.WriteString(name)
	for i := 0; i+1 < len(labels); i += 2 {
		if i == 0 {
			p.w.WriteByte('{')
		} else {
			p.w.WriteByte(',')
		}
		p.w.WriteString(labels[i] + `="`)
		promEscape.WriteString(p.w, strings.ToValidUTF8(labels[i+1], "\uFFFD"))
		p.w.WriteByte('"')
	}
	if len(labels) > 0 {
		p.w.WriteByte('}')
	}
}

// promEscape escapes a label's value as the format asks; a Replacer is safe
// for use by several goroutines.
var promEscape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

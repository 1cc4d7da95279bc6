package stats

import (
	"bufio"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// PrometheusContentType is the Content-Type of what WritePrometheus writes.
const PrometheusContentType = "text/plain; version=0.0.4; charset=utf-8"

// Latency boundaries for Prometheus are the powers of two from 2^-14 s (61 µs)
// to 2^6 s (64 s): each is also the boundary of a fine bucket, so the counts
// are exact.
const (
	promMinOctave = -14
	promMaxOctave = 6
)

// WritePrometheus writes the registry in the Prometheus text format 0.0.4.
// Names are those of the OpenTelemetry metrics, dots as underscores.
func (r *Registry) WritePrometheus(w io.Writer) error {
	snap := r.Snapshot()
	p := promWriter{bufio.NewWriter(w)}
	p.side("client", snap.Client, true)
	p.side("server", snap.Server, false)
	p.clients(snap.Client)
	p.tcp(snap)
	p.figures(snap.Client)
	p.figures(snap.Server)

	p.head("meshd_connections", "gauge", "Open connections.")
	p.sample("meshd_connections", float64(snap.Connections.Downstream), "meshd_side", "downstream")
	p.sample("meshd_connections", float64(snap.Connections.Upstream), "meshd_side", "upstream")
	p.head("meshd_panics_total", "counter", "Panics caught.")
	p.sample("meshd_panics_total", float64(snap.Panics))
	p.head("meshd_malformed_requests_total", "counter", "Requests refused because they could not be parsed.")
	p.sample("meshd_malformed_requests_total", float64(snap.Malformed))
	p.head("meshd_passthrough_total", "counter", "Calls and connections to what the mesh does not know.")
	p.sample("meshd_passthrough_total", float64(snap.Passthrough))
	return p.w.Flush()
}

type promWriter struct{ w *bufio.Writer }

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
	for o := promMinOctave; o <= promMaxOctave; o++ {
		for next < len(d.Counts) && d.Offset+next < o*perOctave {
			seen += d.Counts[next]
			next++
		}
		le := strconv.FormatFloat(math.Exp2(float64(o)), 'g', -1, 64)
		p.sample(name+"_bucket", float64(seen), append(slices.Clip(labels), "le", le)...)
	}
	p.sample(name+"_bucket", float64(d.Count), append(slices.Clip(labels), "le", "+Inf")...)
	p.sample(name+"_sum", d.Sum.Seconds(), labels...)
	p.sample(name+"_count", float64(d.Count), labels...)
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
		for _, s := range services {
			for _, e := range s.Endpoints {
				p.sample(m.name, m.value(e), "meshd_service", s.Name, "meshd_endpoint", e.Address, "meshd_endpoint_id", e.ID)
			}
		}
	}
}

func (p promWriter) figures(services []ServiceSnapshot) {
	byMetric(services, func(m *Metric, of []namedFigure) {
		p.head(m.prometheus(), m.kind(), m.Help)
		for _, f := range of {
			labels := []string{"meshd_service", f.service}
			if m.Attribute != "" {
				labels = append(labels, strings.ReplaceAll(m.Attribute, ".", "_"), f.Word)
			}
			p.sample(m.prometheus(), f.Value, labels...)
		}
	})
}

func (p promWriter) head(name, kind, help string) {
	p.w.WriteString("# HELP " + name + " " + help + "\n# TYPE " + name + " " + kind + "\n")
}

// sample writes one line; labels are names and values in turn.
func (p promWriter) sample(name string, value float64, labels ...string) {
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
	p.w.WriteByte(' ')
	p.w.WriteString(strconv.FormatFloat(value, 'g', -1, 64))
	p.w.WriteByte('\n')
}

// promEscape escapes a label's value as the format asks; a Replacer is safe
// for use by several goroutines.
var promEscape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

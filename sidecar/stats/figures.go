package stats

import (
	"encoding/json"
	"strings"
)

// A Figure is one number that a service's owner, or the process's, tells at
// export time, beside what the Service counts itself.
type Figure struct {
	Metric *Metric
	Value  float64
	Word   string // the value of Metric.Attribute; empty where that is
}

// A Metric is what a Figure is a value of. The names are OpenTelemetry's; in
// Prometheus' format dots become underscores, and a counter ends in _total.
type Metric struct {
	Name, Unit, Help string
	Counter          bool
	Attribute        string // besides a service's meshd.service; empty: none
}

// The metrics that protections have.
var (
	Hedges       = &Metric{Name: "meshd.client.hedges", Unit: "{attempt}", Help: "Second attempts made while the first had no answer.", Counter: true}
	HedgesWon    = &Metric{Name: "meshd.client.hedges_won", Unit: "{attempt}", Help: "Hedges whose answer came first.", Counter: true}
	Held         = &Metric{Name: "meshd.hold.waiting", Unit: "{call}", Help: "Calls that wait for an endpoint."}
	HeldDone     = &Metric{Name: "meshd.hold.calls", Unit: "{call}", Help: "Calls that have waited for an endpoint, by what became of it: served, expired, full.", Counter: true, Attribute: "meshd.hold.outcome"}
	HeldTime     = &Metric{Name: "meshd.hold.wait", Unit: "s", Help: "Time that served calls have waited for an endpoint, in all.", Counter: true}
	Ejections    = &Metric{Name: "meshd.health.ejections", Unit: "{ejection}", Help: "Endpoints ejected as outliers, by rule.", Counter: true, Attribute: "meshd.health.rule"}
	Ejected      = &Metric{Name: "meshd.health.ejected", Unit: "{endpoint}", Help: "Endpoints that are ejected now."}
	Checks       = &Metric{Name: "meshd.health.checks", Unit: "{check}", Help: "Active health checks, by outcome: success, failure.", Counter: true, Attribute: "meshd.health.outcome"}
	Unhealthy    = &Metric{Name: "meshd.health.unhealthy", Unit: "{endpoint}", Help: "Endpoints that fail their active checks now."}
	Mirrors      = &Metric{Name: "meshd.client.mirrored", Unit: "{call}", Help: "Copies of calls sent to other clusters.", Counter: true}
	MirrorsLost  = &Metric{Name: "meshd.client.mirrors_dropped", Unit: "{call}", Help: "Copies of calls not sent, since too many were under way or nobody was there.", Counter: true}
	GateLimit    = &Metric{Name: "meshd.admission.limit", Unit: "{call}", Help: "Calls that the application may have at once."}
	GateInFlight = &Metric{Name: "meshd.admission.in_flight", Unit: "{call}", Help: "Calls that the application has."}
	GateWaiting  = &Metric{Name: "meshd.admission.waiting", Unit: "{call}", Help: "Calls that wait for the application."}
	GateWait     = &Metric{Name: "meshd.admission.wait", Unit: "s", Help: "Time that admitted calls have waited for the application, in all.", Counter: true}
	CallsOut     = &Metric{Name: "meshd.server.outbound_calls", Unit: "{call}", Help: "Calls that the application made while it served some, by whether traceparent joins them with one of those.", Counter: true, Attribute: "meshd.joined"}
	GateShed     = &Metric{Name: "meshd.admission.shed", Unit: "{call}", Help: "Calls that were shed, by reason: priority, full, wait, deadline.", Counter: true, Attribute: "meshd.shed.reason"}
)

// The metrics of what leaves the sidecar: of the process, not of a service.
var (
	LogWritten = &Metric{Name: "meshd.access_log.written", Unit: "{line}", Help: "Lines of the access log.", Counter: true}
	LogDropped = &Metric{Name: "meshd.access_log.dropped", Unit: "{line}", Help: "Lines of the access log for which there was no room, or that could not be written.", Counter: true}
	Exported   = &Metric{Name: "meshd.telemetry.exported", Unit: "{item}", Help: "Spans and log records that an exporter has delivered.", Counter: true, Attribute: "meshd.exporter"}
	Thinned    = &Metric{Name: "meshd.telemetry.thinned", Unit: "{span}", Help: "Sampled spans that an exporter was not given, since it shows only so many.", Counter: true, Attribute: "meshd.exporter"}
	Unexported = &Metric{Name: "meshd.telemetry.dropped", Unit: "{item}", Help: "Spans and log records that an exporter had no room for, or could not deliver.", Counter: true, Attribute: "meshd.exporter"}
)

// SetFigures gives the function that tells the process's figures, as a Service's.
func (r *Registry) SetFigures(list func() []Figure) { r.figures.Store(&list) }

func (r *Registry) allFigures() []Figure {
	if list := r.figures.Load(); list != nil {
		return (*list)()
	}
	return nil
}

// SetFigures gives the function that tells the service's figures. It is called
// at export time, on the exporter's goroutine, and must not block.
func (s *Service) SetFigures(list func() []Figure) { s.figures.Store(&list) }

// Hedged counts a hedge.
func (s *Service) Hedged() { s.hedges.Inc() }

// HedgeWon counts a hedge whose answer came first.
func (s *Service) HedgeWon() { s.hedgesWon.Inc() }

// Mirrored counts a copy of a call, sent or not.
func (s *Service) Mirrored(sent bool) {
	if sent {
		s.mirrors.Inc()
	} else {
		s.mirrorsLost.Inc()
	}
}

func (s *Service) allFigures() []Figure {
	out := s.partFigures()
	if n := s.hedges.Value(); n > 0 {
		out = append(out, Figure{Metric: Hedges, Value: float64(n)}, Figure{Metric: HedgesWon, Value: float64(s.hedgesWon.Value())})
	}
	if sent, lost := s.mirrors.Value(), s.mirrorsLost.Value(); sent+lost > 0 {
		out = append(out, Figure{Metric: Mirrors, Value: float64(sent)}, Figure{Metric: MirrorsLost, Value: float64(lost)})
	}
	if list := s.figures.Load(); list != nil {
		out = append(out, (*list)()...)
	}
	return out
}

// byMetric groups the figures of services, in the order in which they come.
func byMetric(services []ServiceSnapshot, each func(m *Metric, of []namedFigure)) {
	var order []*Metric
	groups := map[*Metric][]namedFigure{}
	for _, s := range services {
		for _, f := range s.Figures {
			if groups[f.Metric] == nil {
				order = append(order, f.Metric)
			}
			groups[f.Metric] = append(groups[f.Metric], namedFigure{s.Name, f})
		}
	}
	for _, m := range order {
		each(m, groups[m])
	}
}

type namedFigure struct {
	service string // empty: the process's
	Figure
}

// prometheus is the metric's name in Prometheus' format.
func (m *Metric) prometheus() string {
	name := strings.ReplaceAll(m.Name, ".", "_")
	if m.Unit == "s" {
		name += "_seconds"
	}
	if m.Counter {
		name += "_total"
	}
	return name
}

func (m *Metric) kind() string {
	if m.Counter {
		return "counter"
	}
	return "gauge"
}

// Figures are a service's; in JSON an object by the metrics' names.
type Figures []Figure

// MarshalJSON writes {"NAME": value} or {"NAME": {"WORD": value}}.
func (f Figures) MarshalJSON() ([]byte, error) {
	out := map[string]any{}
	for _, x := range f {
		if x.Metric.Attribute == "" {
			out[x.Metric.Name] = x.Value
			continue
		}
		words, _ := out[x.Metric.Name].(map[string]float64)
		if words == nil {
			words = map[string]float64{}
			out[x.Metric.Name] = words
		}
		words[x.Word] = x.Value
	}
	return json.Marshal(out)
}

package dashboard

import "github.com/meshd/meshd/telemetry"

// interim answers by what the store has kept so far, the history of services,
// until the store is a telemetry.Reader itself.
type interim struct{ *telemetry.Store }

func (i interim) Series(id telemetry.Service, _ telemetry.Selection, span telemetry.Span) (out []telemetry.Sample) {
	for _, p := range i.History(id, span.From) {
		out = append(out, telemetry.Sample{Time: p.Time, RPS: p.RPS, Success: p.Success, Instances: p.Instances, InFlight: p.InFlight, Retries: p.Retries,
			P50Ms: millis(p.P50), P90Ms: millis(p.P90), P99Ms: millis(p.P99)})
	}
	return out
}
func (i interim) Instances(telemetry.Service, telemetry.Span) []telemetry.InstanceStat { return nil }
func (i interim) Scatter(telemetry.Service, telemetry.Span) []telemetry.Dot            { return nil }
func (i interim) Edges(telemetry.Span) []telemetry.Edge                                { return nil }
func (i interim) Events(telemetry.Service, telemetry.Span) []telemetry.Event           { return nil }
func (i interim) Traces(telemetry.TraceQuery) []telemetry.TraceSummary                 { return nil }
func (i interim) Trace(string) (t telemetry.Trace, ok bool)                            { return t, false }

package translate

import (
	"testing"

	"github.com/meshd/meshd/mesh"
	"github.com/meshd/meshd/xds/resource"
)

// trafficOf puts into want what a policy says of how calls are treated.
func trafficOf(t *testing.T, b *mesh.Backend, want *resource.Route) {
	t.Helper()
	p := &b.Policy
	want.Priority = p.Priority
	if want.Hedge = resource.Hedge(p.Retry.Hedge); p.Retry.Hedge.Disabled {
		want.Hedge = resource.Hedge{Disabled: true}
	}
	if s := &p.Session; s.Cookie != "" {
		want.Session = resource.Session{Cookie: s.Cookie, Path: s.Path, TTL: s.TTL, Key: b.SessionKey}
	}
	if l := &p.RateLimit; l.Requests > 0 {
		want.RateLimit = resource.RateLimit{PerSecond: float64(l.Requests) / l.Per.Seconds(), Burst: float64(l.Burst), Shared: l.Shared}
	}
	for _, m := range p.Mirrors {
		want.Mirrors = append(want.Mirrors, resource.Mirror{Cluster: m.Service.String(), Share: m.Share})
	}
	f := &p.Fault
	want.Fault = resource.Fault{Delay: f.Delay, DelayShare: f.DelayShare, Abort: int(f.HTTPStatus), AbortShare: f.AbortShare}
	if f.GRPCStatus > 0 {
		want.Fault.Abort = 1000 + int(f.GRPCStatus)
	}
	for _, h := range f.Headers {
		m := resource.HeaderMatch{Name: h.Name, Exact: h.Exact, Prefix: h.Prefix, Present: h.Present}
		if h.Regex != "" {
			var err error
			if m.Regex, err = resource.NewRegex(h.Regex); err != nil {
				t.Fatal(err)
			}
		}
		want.Fault.Headers = append(want.Fault.Headers, m)
	}
}

// healthOf puts into want what a policy says of the instances' health and of
// calls that they cannot take.
func healthOf(p *mesh.Policy, want *resource.Cluster) {
	want.Hold, want.Admission, want.SharedRequests = resource.Hold(p.Hold), resource.Admission(p.Admission), p.Limits.SharedRequests
	if p.Hold.Calls == 0 {
		want.Hold = resource.Hold{}
	}
	want.Outlier = resource.Outlier{Disabled: true}
	if o := &p.Outlier; !o.Disabled {
		want.Outlier = resource.Outlier{
			Interval: o.Interval, BaseEjection: o.BaseEjection, MaxEjection: o.MaxEjection, Jitter: o.Jitter,
			MaxEjected: float64(o.MaxPercent) / 100, Consecutive: o.Consecutive,
			StdevFactor: o.SuccessRate.StdevFactor, SuccessHosts: o.SuccessRate.MinimumHosts, SuccessVolume: o.SuccessRate.RequestVolume,
			Percentage: float64(o.Failures.Threshold) / 100, PercentageHosts: o.Failures.MinimumHosts, PercentageVolume: o.Failures.RequestVolume,
			LatencyFactor: o.LatencyFactor,
		}
	}
	h := &p.Check
	check := resource.HealthCheck{
		Timeout: h.Timeout, Interval: h.Interval, UnhealthyInterval: h.UnhealthyInterval, NoTrafficInterval: h.NoTrafficInterval,
		Jitter: h.Jitter, Unhealthy: h.Unhealthy, Healthy: h.Healthy,
	}
	switch {
	case h.HTTP != nil:
		check.Kind, check.Path, check.Host, check.HTTP2 = resource.HealthCheckHTTP, h.HTTP.Path, h.HTTP.Host, h.HTTP.HTTP2
		for _, r := range h.HTTP.Expected {
			check.Expect = append(check.Expect, [2]int{r.From, r.To + 1})
		}
	case h.GRPC != nil && p.Protocol != mesh.ProtocolHTTP1 && p.Protocol != mesh.ProtocolTCP:
		check.Kind, check.Service = resource.HealthCheckGRPC, h.GRPC.Service
	case h.TCP:
		check.Kind = resource.HealthCheckTCP
	default:
		return
	}
	want.Check = check
}

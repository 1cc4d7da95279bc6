package translate

import (
	"math"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meshd/meshd/mesh"
)

// outlier is nil where it is disabled, which is how Envoy has it by default. A
// rule that is off is not enforced: 0 is no number of failures or hosts.
func outlier(o *mesh.Outlier) *clusterv3.OutlierDetection {
	if o.Disabled {
		return nil
	}
	on := func(rule bool) *wrapperspb.UInt32Value {
		if rule {
			return wrapperspb.UInt32(100)
		}
		return wrapperspb.UInt32(0)
	}
	out := &clusterv3.OutlierDetection{
		Interval:              durationpb.New(o.Interval),
		BaseEjectionTime:      durationpb.New(o.BaseEjection),
		MaxEjectionTime:       durationpb.New(o.MaxEjection),
		MaxEjectionTimeJitter: durationpb.New(o.Jitter),
		MaxEjectionPercent:    wrapperspb.UInt32(o.MaxPercent),
		AlwaysEjectOneHost:    wrapperspb.Bool(true),

		EnforcingConsecutive_5Xx:       on(o.Consecutive > 0),
		EnforcingSuccessRate:           on(o.SuccessRate.StdevFactor > 0),
		SuccessRateMinimumHosts:        wrapperspb.UInt32(o.SuccessRate.MinimumHosts),
		SuccessRateRequestVolume:       wrapperspb.UInt32(o.SuccessRate.RequestVolume),
		EnforcingFailurePercentage:     on(o.Failures.Threshold > 0),
		FailurePercentageMinimumHosts:  wrapperspb.UInt32(o.Failures.MinimumHosts),
		FailurePercentageRequestVolume: wrapperspb.UInt32(o.Failures.RequestVolume),
	}
	if o.Consecutive > 0 {
		out.Consecutive_5Xx = wrapperspb.UInt32(o.Consecutive)
	}
	if f := o.SuccessRate.StdevFactor; f > 0 {
		out.SuccessRateStdevFactor = wrapperspb.UInt32(max(1, uint32(math.Round(1000*f))))
	}
	if o.Failures.Threshold > 0 {
		out.FailurePercentageThreshold = wrapperspb.UInt32(o.Failures.Threshold)
	}
	return out
}

// healthChecks is empty where nobody is asked. Of gRPC only where HTTP/2 is
// spoken: elsewhere no instance could answer, and Envoy refuses the cluster.
func healthChecks(h *mesh.HealthCheck, p mesh.Protocol) []*corev3.HealthCheck {
	out := &corev3.HealthCheck{
		Timeout:               durationpb.New(h.Timeout),
		Interval:              durationpb.New(h.Interval),
		UnhealthyInterval:     optional(h.UnhealthyInterval),
		NoTrafficInterval:     durationpb.New(h.NoTrafficInterval),
		IntervalJitterPercent: uint32(math.Round(100 * h.Jitter)),
		UnhealthyThreshold:    wrapperspb.UInt32(h.Unhealthy),
		HealthyThreshold:      wrapperspb.UInt32(h.Healthy),
	}
	switch {
	case h.HTTP != nil:
		c := &corev3.HealthCheck_HttpHealthCheck{
			Path: h.HTTP.Path, Host: h.HTTP.Host,
			// A status that is not expected counts as one failure, and not at once as
			// all of the threshold.
			RetriableStatuses: []*typev3.Int64Range{{Start: 100, End: 600}},
		}
		if h.HTTP.HTTP2 {
			c.CodecClientType = typev3.CodecClientType_HTTP2
		}
		for _, r := range h.HTTP.Expected {
			c.ExpectedStatuses = append(c.ExpectedStatuses, &typev3.Int64Range{Start: int64(r.From), End: int64(r.To) + 1})
		}
		out.HealthChecker = &corev3.HealthCheck_HttpHealthCheck_{HttpHealthCheck: c}
	case h.GRPC != nil && (p == mesh.ProtocolHTTP2 || p == mesh.ProtocolAuto):
		out.HealthChecker = &corev3.HealthCheck_GrpcHealthCheck_{GrpcHealthCheck: &corev3.HealthCheck_GrpcHealthCheck{ServiceName: h.GRPC.Service}}
	case h.TCP:
		out.HealthChecker = &corev3.HealthCheck_TcpHealthCheck_{TcpHealthCheck: &corev3.HealthCheck_TcpHealthCheck{}}
	default:
		return nil
	}
	return []*corev3.HealthCheck{out}
}

package resource

import (
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonfaultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func millionths(n uint32) *typev3.FractionalPercent {
	return &typev3.FractionalPercent{Numerator: n, Denominator: typev3.FractionalPercent_MILLION}
}

func aFault() *faultv3.HTTPFault {
	return &faultv3.HTTPFault{
		Delay: &commonfaultv3.FaultDelay{
			FaultDelaySecifier: &commonfaultv3.FaultDelay_FixedDelay{FixedDelay: durationpb.New(50 * time.Millisecond)}, Percentage: millionths(2500),
		},
		Abort:   &faultv3.FaultAbort{ErrorType: &faultv3.FaultAbort_GrpcStatus{GrpcStatus: 14}, Percentage: millionths(1_000_000)},
		Headers: []*routev3.HeaderMatcher{{Name: "X-Test"}},
	}
}

func aRateLimit() *ratelimitv3.LocalRateLimit {
	all := &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{Numerator: 100}}
	return &ratelimitv3.LocalRateLimit{
		StatPrefix: "x", FilterEnabled: all, FilterEnforced: all,
		TokenBucket: &typev3.TokenBucket{MaxTokens: 20, TokensPerFill: wrapperspb.UInt32(50), FillInterval: durationpb.New(2 * time.Second)},
	}
}

// trafficRoute decodes a route with these filters and our metadata.
func trafficRoute(t testing.TB, filters map[string]proto.Message, ours map[string]any) (*Route, error) {
	r := aRoute(anAction())
	r.Metadata = meshMetadata(t, ours)
	r.TypedPerFilterConfig = map[string]*anypb.Any{}
	for name, m := range filters {
		r.TypedPerFilterConfig[name] = packed(t, m)
	}
	rc, err := DecodeRouteConfig(packed(t, aRouteConfig(r)))
	if err != nil {
		return nil, err
	}
	return &rc.VirtualHosts[0].Routes[0], nil
}

func TestTraffic(t *testing.T) {
	optional := &routev3.FilterConfig{IsOptional: true, Config: packed(t, aRateLimit())}
	unknown := &routev3.FilterConfig{IsOptional: true, Config: &anypb.Any{TypeUrl: "type.googleapis.com/vendor.Filter"}}
	r, err := trafficRoute(t, map[string]proto.Message{"f": aFault(), "l": optional, "u": unknown}, map[string]any{
		"priority": "sheddable", "rateLimit": map[string]any{"shared": true},
		"hedge":   map[string]any{"share": 0.02, "delay": "10ms"},
		"session": map[string]any{"cookie": "s", "path": "/a", "ttl": "1h", "key": "k"},
	})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, r.Fault, Fault{
		Headers: []HeaderMatch{{Name: "x-test", Present: true}}, Delay: 50 * time.Millisecond, DelayShare: 0.0025, Abort: 1014, AbortShare: 1,
	})
	equal(t, r.RateLimit, RateLimit{PerSecond: 25, Burst: 20, Shared: true})
	equal(t, r.Hedge, Hedge{Share: 0.02, Delay: 10 * time.Millisecond})
	equal(t, r.Session, Session{Cookie: "s", Path: "/a", TTL: time.Hour, Key: "k"})
	equal(t, r.Priority, "sheddable")

	// What is not in force has no effect.
	off := aRateLimit()
	off.FilterEnforced = nil
	r, err = trafficRoute(t, map[string]proto.Message{"l": off, "f": &routev3.FilterConfig{Disabled: true, Config: packed(t, aFault())}}, nil)
	if err != nil || r.RateLimit != (RateLimit{}) || r.Fault.Abort != 0 || !r.Hedge.Disabled {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestRefusedTraffic(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*faultv3.HTTPFault, *ratelimitv3.LocalRateLimit)
		want   string
	}{
		"header delay": {func(f *faultv3.HTTPFault, _ *ratelimitv3.LocalRateLimit) {
			f.Delay.FaultDelaySecifier = &commonfaultv3.FaultDelay_HeaderDelay_{}
		}, "f.delay.header_delay: not supported, want fixed_delay"},
		"header abort": {func(f *faultv3.HTTPFault, _ *ratelimitv3.LocalRateLimit) {
			f.Abort.ErrorType = &faultv3.FaultAbort_HeaderAbort_{HeaderAbort: &faultv3.FaultAbort_HeaderAbort{}}
		}, "f.abort.header_abort: not supported, want http_status or grpc_status"},
		"status": {func(f *faultv3.HTTPFault, _ *ratelimitv3.LocalRateLimit) {
			f.Abort.ErrorType = &faultv3.FaultAbort_HttpStatus{HttpStatus: 99}
		}, "f.abort.http_status: 99 is not valid, want 200..599"},
		"code": {func(f *faultv3.HTTPFault, _ *ratelimitv3.LocalRateLimit) {
			f.Abort.ErrorType = &faultv3.FaultAbort_GrpcStatus{}
		}, "f.abort.grpc_status: 0 is not supported, want 1..16"},
		"cluster": {func(f *faultv3.HTTPFault, _ *ratelimitv3.LocalRateLimit) { f.UpstreamCluster = "c" }, `f.upstream_cluster: "c" is not supported`},
		"most":    {func(f *faultv3.HTTPFault, _ *ratelimitv3.LocalRateLimit) { f.MaxActiveFaults = wrapperspb.UInt32(3) }, "f.max_active_faults: not supported"},
		"slow": {func(f *faultv3.HTTPFault, _ *ratelimitv3.LocalRateLimit) {
			f.ResponseRateLimit = &commonfaultv3.FaultRateLimit{}
		}, "f.response_rate_limit: not supported"},
		"teapot": {func(_ *faultv3.HTTPFault, l *ratelimitv3.LocalRateLimit) { l.Status = &typev3.HttpStatus{Code: 503} }, "l.status.code: 503 is not supported, want 429"},
		"part": {func(_ *faultv3.HTTPFault, l *ratelimitv3.LocalRateLimit) {
			l.FilterEnabled.DefaultValue = millionths(5)
		}, "is not supported, want 0 or 100"},
		"no fill":  {func(_ *faultv3.HTTPFault, l *ratelimitv3.LocalRateLimit) { l.TokenBucket.FillInterval = nil }, "l.token_bucket.fill_interval: missing"},
		"no token": {func(_ *faultv3.HTTPFault, l *ratelimitv3.LocalRateLimit) { l.TokenBucket.MaxTokens = 0 }, "l.token_bucket.max_tokens: 0 is not valid"},
		"shared": {func(_ *faultv3.HTTPFault, l *ratelimitv3.LocalRateLimit) {
			l.LocalRateLimitPerDownstreamConnection = true
		},
			"l.local_rate_limit_per_downstream_connection: true is not supported, want false"},
	} {
		f, l := aFault(), aRateLimit()
		c.change(f, l)
		_, err := trafficRoute(t, map[string]proto.Message{"f": f, "l": l}, nil)
		wantError(t, name, err, "routes[0].typed_per_filter_config[", c.want)
	}
	for name, c := range map[string]struct {
		ours map[string]any
		want string
	}{
		"priority": {map[string]any{"priority": "high"}, `priority: "high" is not valid, want sheddable, sheddable-plus, critical, critical-plus`},
		"cookie":   {map[string]any{"session": map[string]any{"key": "k"}}, "session.cookie: missing"},
		"key":      {map[string]any{"session": map[string]any{"cookie": "k"}}, "session.key: missing"},
		"share":    {map[string]any{"hedge": map[string]any{"share": 2}}, "hedge.share: 2 is not valid"},
	} {
		_, err := trafficRoute(t, nil, c.ours)
		wantError(t, name, err, "metadata.filter_metadata[meshd.io].", c.want)
	}
}

// Filters that do nothing without a route are no reason to refuse a listener.
func TestListenerFilters(t *testing.T) {
	for name, c := range map[string]struct {
		filter proto.Message
		want   string
	}{
		"no fault": {&faultv3.HTTPFault{}, ""}, "no limit": {&ratelimitv3.LocalRateLimit{StatPrefix: "x"}, ""},
		"fault": {aFault(), `http_filters[0]: filter "f" is configured here, want it on the routes`},
		"limit": {aRateLimit(), `http_filters[0]: filter "f" is configured here, want it on the routes`},
	} {
		hcm := aManager(t)
		hcm.HttpFilters = append([]*hcmv3.HttpFilter{{Name: "f", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed(t, c.filter)}}}, hcm.HttpFilters...)
		_, err := DecodeListener(packed(t, aListener(t, hcm)))
		if c.want == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		} else if c.want != "" {
			wantError(t, name, err, c.want)
		}
	}
}

func anOutlier() *clusterv3.OutlierDetection {
	return &clusterv3.OutlierDetection{
		Consecutive_5Xx: wrapperspb.UInt32(7), MaxEjectionPercent: wrapperspb.UInt32(50), EnforcingFailurePercentage: wrapperspb.UInt32(100),
		Interval: durationpb.New(time.Second), MaxEjectionTimeJitter: durationpb.New(time.Second),
	}
}

func aCheck() *corev3.HealthCheck {
	return &corev3.HealthCheck{
		Timeout: durationpb.New(time.Second), Interval: durationpb.New(5 * time.Second), IntervalJitterPercent: 10,
		UnhealthyThreshold: wrapperspb.UInt32(3), HealthyThreshold: wrapperspb.UInt32(2),
		HealthChecker: &corev3.HealthCheck_HttpHealthCheck_{HttpHealthCheck: &corev3.HealthCheck_HttpHealthCheck{
			Path: "/ready", Host: "h", CodecClientType: typev3.CodecClientType_HTTP2, ExpectedStatuses: []*typev3.Int64Range{{Start: 200, End: 300}},
		}},
	}
}

func TestHealth(t *testing.T) {
	c := aCluster()
	c.OutlierDetection = anOutlier()
	c.HealthChecks = []*corev3.HealthCheck{aCheck()}
	c.Metadata = meshMetadata(t, map[string]any{
		"outlier": map[string]any{"latencyFactor": 3}, "sharedRequests": 100,
		"hold":      map[string]any{"calls": 10, "wait": "2s", "scaled": true},
		"admission": map[string]any{"min": 2, "max": 8, "queue": 5, "maxWait": "100ms"},
	})
	got, err := DecodeCluster(packed(t, c))
	if err != nil {
		t.Fatal(err)
	}
	want := Outlier{
		Interval: time.Second, BaseEjection: 30 * time.Second, MaxEjection: 5 * time.Minute, Jitter: time.Second, MaxEjected: 0.5,
		Consecutive: 7, StdevFactor: 1.9, SuccessHosts: 5, SuccessVolume: 100,
		Percentage: 0.85, PercentageHosts: 5, PercentageVolume: 50, LatencyFactor: 3,
	}
	equal(t, got.Outlier, want)
	equal(t, got.Check, HealthCheck{
		Kind: HealthCheckHTTP, Path: "/ready", Host: "h", HTTP2: true, Expect: [][2]int{{200, 300}},
		Timeout: time.Second, Interval: 5 * time.Second, NoTrafficInterval: time.Minute, Jitter: 0.1, Unhealthy: 3, Healthy: 2,
	})
	equal(t, got.Hold, Hold{Calls: 10, Wait: 2 * time.Second, Scaled: true})
	equal(t, got.Admission, Admission{Min: 2, Max: 8, Queue: 5, MaxWait: 100 * time.Millisecond})
	equal(t, got.SharedRequests, uint32(100))

	// Envoy's defaults enforce neither less nor more.
	c.OutlierDetection, c.Metadata = &clusterv3.OutlierDetection{}, nil
	c.HealthChecks[0].HealthChecker = &corev3.HealthCheck_GrpcHealthCheck_{GrpcHealthCheck: &corev3.HealthCheck_GrpcHealthCheck{ServiceName: "s"}}
	if got, err = DecodeCluster(packed(t, c)); err != nil {
		t.Fatal(err)
	}
	want.Interval, want.Jitter, want.MaxEjected, want.Consecutive, want.Percentage, want.LatencyFactor = 10*time.Second, 0, 0.1, 5, 0, 0
	equal(t, got.Outlier, want)
	if got.Check.Kind != HealthCheckGRPC || got.Check.Service != "s" {
		t.Errorf("got %+v", got.Check)
	}
}

func TestRefusedHealth(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*clusterv3.Cluster)
		want   string
	}{
		"two checks": {func(c *clusterv3.Cluster) { c.HealthChecks = append(c.HealthChecks, aCheck()) }, "health_checks[1]: a second one is not supported"},
		"no kind":    {func(c *clusterv3.Cluster) { c.HealthChecks[0].HealthChecker = nil }, "health_checks[0].health_checker: want exactly one of http_health_check"},
		"no timeout": {func(c *clusterv3.Cluster) { c.HealthChecks[0].Timeout = nil }, "health_checks[0].timeout: missing"},
		"threshold":  {func(c *clusterv3.Cluster) { c.HealthChecks[0].HealthyThreshold = nil }, "healthy_threshold: missing"},
		"other port": {func(c *clusterv3.Cluster) { c.HealthChecks[0].AltPort = wrapperspb.UInt32(1) }, "alt_port: not supported"},
		"HTTP/3":     {func(c *clusterv3.Cluster) { c.HealthChecks[0].GetHttpHealthCheck().CodecClientType = 2 }, "codec_client_type: 2 is not supported, want HTTP1 or HTTP2"},
		"HEAD":       {func(c *clusterv3.Cluster) { c.HealthChecks[0].GetHttpHealthCheck().Method = 2 }, "method: 2 is not supported, want GET"},
		"no path":    {func(c *clusterv3.Cluster) { c.HealthChecks[0].GetHttpHealthCheck().Path = "" }, "path: \"\" is not valid"},
		"statuses": {func(c *clusterv3.Cluster) {
			c.HealthChecks[0].GetHttpHealthCheck().ExpectedStatuses = []*typev3.Int64Range{{Start: -1, End: 600}}
		}, "expected_statuses[0]: [-1, 600) is not valid"},
		"payload": {func(c *clusterv3.Cluster) {
			c.HealthChecks[0].HealthChecker = &corev3.HealthCheck_TcpHealthCheck_{TcpHealthCheck: &corev3.HealthCheck_TcpHealthCheck{Send: &corev3.HealthCheck_Payload{}}}
		}, "tcp_health_check.send: not supported, want a connection to be enough"},
		"half": {func(c *clusterv3.Cluster) { c.OutlierDetection.EnforcingSuccessRate = wrapperspb.UInt32(50) }, "outlier_detection.enforcing_success_rate: 50 is not supported, want 0 or 100"},
		"gateway": {func(c *clusterv3.Cluster) {
			c.OutlierDetection.EnforcingConsecutiveGatewayFailure = wrapperspb.UInt32(100)
		}, "enforcing_consecutive_gateway_failure: 100 is not supported, want 0"},
		"split":   {func(c *clusterv3.Cluster) { c.OutlierDetection.SplitExternalLocalOriginErrors = true }, "split_external_local_origin_errors: true is not supported"},
		"times":   {func(c *clusterv3.Cluster) { c.OutlierDetection.MaxEjectionTime = durationpb.New(time.Second) }, "max_ejection_time: 1s is not valid, want at least base_ejection_time, 30s"},
		"percent": {func(c *clusterv3.Cluster) { c.OutlierDetection.MaxEjectionPercent = wrapperspb.UInt32(101) }, "max_ejection_percent: 101 is not valid, want 0..100"},
		"admission": {func(c *clusterv3.Cluster) {
			c.Metadata = meshMetadata(t, map[string]any{"admission": map[string]any{"min": 3, "max": 2}})
		}, "admission.max: 2 is not valid, want at least min, 3"},
	} {
		cl := aCluster()
		cl.OutlierDetection, cl.HealthChecks = anOutlier(), []*corev3.HealthCheck{aCheck()}
		c.change(cl)
		_, err := DecodeCluster(packed(t, cl))
		wantError(t, name, err, `cluster "default/checkout:8080": `, c.want)
	}
}

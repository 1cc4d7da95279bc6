package telemetry

import (
	"maps"
	"slices"
	"strconv"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
)

// kind says what a metric counts.
type kind uint8

const (
	clientDuration kind = iota + 1
	serverDuration
	clientActive
	serverActive
	retries
	retriesDenied
	openBreakers
	endpointRequests
)

// shape is the OTLP data that a metric comes as.
type shape uint8

const (
	histogram shape = iota + 1 // cumulative exponential histogram
	counter                    // cumulative monotonic sum
	gauge                      // gauge or cumulative sum that may fall
)

// metrics are the ones that the store keeps, by the names of
// docs/reference/wire.md. meshd.connections belongs to no service and is not kept.
var metrics = map[string]struct {
	kind  kind
	shape shape
}{
	"http.client.request.duration": {clientDuration, histogram},
	"http.server.request.duration": {serverDuration, histogram},
	"http.client.active_requests":  {clientActive, gauge},
	"http.server.active_requests":  {serverActive, gauge},
	"meshd.client.retries":         {retries, counter},
	"meshd.client.retries_denied":  {retriesDenied, counter},
	"meshd.breaker.open":           {openBreakers, gauge},
	"meshd.endpoint.requests":      {endpointRequests, counter},
}

func (k kind) isGauge() bool { return k == clientActive || k == serverActive || k == openBreakers }

func (k kind) addGauge(g *gauges, v float64) {
	switch k {
	case clientActive:
		g.clientActive += v
	case serverActive:
		g.serverActive += v
	case openBreakers:
		g.openBreakers += v
	}
}

// seriesKey is the identity of one stream of values of one reporter: the
// metric and all of its attributes.
type seriesKey struct {
	kind    kind
	service string
	attributes
}

// reporterKey is the resource of one sidecar.
type reporterKey struct{ namespace, name, instance string }

// A reporter is one sidecar: what it said last, to see what is new.
type reporter struct {
	seen   int64 // meshd's time of the last report, ns
	series map[seriesKey]*series
	gauges []*series
	// demands are what it wants of the services that are followed.
	demands map[string]*demand
	// partial: some of its series were refused or forgotten. One that comes
	// later may then not be new, and its first value is a baseline only.
	partial bool
}

// forget drops the series that the reporter no longer mentions, such as those
// of endpoints that are gone, and returns how many they were.
func (r *reporter) forget(now int64) int {
	silent := func(sr *series) bool { return now-sr.seen > int64(forgetAfter) }
	before := len(r.series)
	maps.DeleteFunc(r.series, func(_ seriesKey, sr *series) bool { return silent(sr) })
	r.gauges = slices.DeleteFunc(r.gauges, silent)
	gone := before - len(r.series)
	r.partial = r.partial || gone > 0
	return gone
}

// series is the last known value of a stream.
type series struct {
	kind     kind
	service  *service
	failed   bool        // calls of a duration series
	endpoint endpointKey // of an endpoint series

	start, time uint64 // of the last data point, by the reporter's clock, ns
	seen        int64  // its arrival, by meshd's clock, ns
	value       float64
	seconds     float64 // of a duration series, summed up
	hist        buckets
}

// freshStart is how young a reporter must be for its first values to be taken
// as what happened since it began; an older one met meshd late, and its totals
// are a baseline only.
const freshStart = 5 * time.Second

// span decides which stretch of meshd's time a data point covers, given the
// one before it. ok is false when the point only sets the baseline, drop when it must
// be ignored; reset says that the series counts from zero.
func (s *series) span(r *reporter, start, at uint64, now int64, isNew, knew bool) (from int64, reset, ok, drop bool) {
	switch {
	case isNew && knew && !r.partial:
		// New attributes of a reporter that we know: all of it is new.
		return r.seen, true, true, false
	case isNew:
		age := int64(at - start)
		return now - age, true, at >= start && age <= int64(freshStart), false
	case start < s.start && now-s.seen <= int64(staleAfter):
		// The late word of a process that another one has replaced.
		return 0, false, false, true
	case start < s.start:
		return 0, true, false, false // a clock was set back: begin anew
	case start > s.start:
		return s.seen, true, true, false // restarted
	case at <= s.time:
		return 0, false, false, true
	}
	return s.seen, false, true, false
}

// spread shares what happened from..now (meshd's time, ns) among the seconds
// of that stretch, so that two reports in one second do not look like a burst
// beside a silence.
func (s *Store) spread(svc *service, from, now int64, add func(sl *slot, n int64, share float64)) {
	first := max(s.cur-hotSlots+1, svc.born)
	from = max(from, first*int64(step))
	if from >= now {
		add(svc.slot(s.cur), s.cur, 1)
		return
	}
	total := float64(now - from)
	for n := from / int64(step); n <= s.cur; n++ {
		lo, hi := max(from, n*int64(step)), min(now, (n+1)*int64(step))
		if hi > lo {
			add(svc.slot(n), n, float64(hi-lo)/total)
		}
	}
}

// addCount adds a counter's delta to its service. Needs s.mu.
func (s *Store) addCount(sr *series, delta float64, from, now int64) {
	if delta <= 0 {
		return
	}
	svc := sr.service
	var ep *endpoint
	if sr.kind == endpointRequests {
		if ep = svc.endpoints[sr.endpoint]; ep == nil {
			if len(svc.endpoints) >= s.cfg.MaxEndpoints {
				s.stats.OverflowEndpoints++
				return
			}
			ep = &endpoint{}
			svc.endpoints[sr.endpoint] = ep
		}
		ep.last = s.cur
	}
	s.spread(svc, from, now, func(sl *slot, n int64, share float64) {
		switch sr.kind {
		case retries:
			sl.retries += share * delta
		case retriesDenied:
			sl.denied += share * delta
		case endpointRequests:
			ep.requests[n%hotSlots] += float32(share * delta)
		}
	})
}

// addCalls adds the calls of a histogram's delta to its service. Needs s.mu.
func (s *Store) addCalls(sr *series, delta *buckets, from, now int64) {
	n := float64(delta.total())
	if n == 0 {
		return
	}
	s.spread(sr.service, from, now, func(sl *slot, _ int64, share float64) {
		t := &sl.client
		if sr.kind == serverDuration {
			t = &sl.server
		}
		t.requests += share * n
		if sr.failed {
			t.failures += share * n
		}
		t.latency.add(delta, share)
	})
}

// attributes are a data point's, beside its service.
type attributes struct {
	route, errorType, reason string
	status                   int64  // of HTTP. 0: none; -1: not a number
	grpc                     string // the name of a gRPC status
	endpoint                 endpointKey
	rest                     string // those that we do not know, in the order given
}

// maxText bounds the length of an attribute that becomes part of a key.
const maxText = 1024

// readAttributes sorts out a data point's attributes; ok is false when one is
// too long to keep.
func readAttributes(kvs []*commonpb.KeyValue) (service string, a attributes, ok bool) {
	for _, kv := range kvs {
		text := kv.GetValue().GetStringValue()
		if len(text) > maxText || len(kv.GetKey()) > maxText {
			return "", a, false
		}
		switch kv.GetKey() {
		case "meshd.service":
			service = text
		case "meshd.route":
			a.route = text
		case "http.response.status_code":
			a.status = status(kv.GetValue())
		case "rpc.response.status_code":
			a.grpc = text
		case "error.type":
			a.errorType = text
		case "meshd.retry.reason":
			a.reason = text
		case "meshd.endpoint":
			a.endpoint.address = text
		case "meshd.endpoint.id":
			a.endpoint.id = text
		default:
			a.rest += kv.GetKey() + "=" + kv.GetValue().String() + ";"
		}
	}
	return service, a, len(a.rest) <= maxText
}

// failed says whether the calls with these attributes count as failed.
func (a *attributes) failed() bool {
	return a.errorType != "" || a.status >= 500 || failedGRPC(a.grpc)
}

// failedGRPC is for gRPC what 500 and up is for HTTP: the codes that
// OpenTelemetry's conventions have as an error on a server's span.
func failedGRPC(code string) bool {
	switch code {
	case "UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS":
		return true
	}
	return false
}

// status reads a status code, which comes as a number or as text.
func status(v *commonpb.AnyValue) int64 {
	text, ok := v.GetValue().(*commonpb.AnyValue_StringValue)
	if !ok {
		return v.GetIntValue()
	}
	n, err := strconv.ParseInt(text.StringValue, 10, 64)
	if err != nil {
		return -1
	}
	return n
}

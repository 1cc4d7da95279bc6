package stats

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

func TestSameNameSameCounters(t *testing.T) {
	r := NewRegistry()
	client, server := r.Client("a"), r.Server("a")
	if r.Client("a") != client || r.Server("a") != server {
		t.Error("two sets of counters for one name")
	}
	if client == server {
		t.Error("client and server share counters")
	}
	if x := client.Route("x"); client.Route("x") != x || client.Route("y") == x {
		t.Error("routes are not told apart by their name")
	}
	if x := server.Route("x"); server.Route("y") != x {
		t.Error("a server's routes are told apart, and the metric has no attribute for it")
	}
}

func TestBounded(t *testing.T) {
	r := NewRegistry()
	for i := range maxServices + 10 {
		r.Client(fmt.Sprint("s", i))
	}
	if got := r.Client("one more").Name(); got != Other {
		t.Errorf("service beyond the bound counts as %q", got)
	}
	if got := len(r.Snapshot().Client); got != maxServices+1 {
		t.Errorf("%d services", got)
	}
	r.ForgetClient("s0")
	r.ForgetClient("s1")
	r.ForgetClient("never seen")
	if got := r.Client("fresh").Name(); got != "fresh" {
		t.Errorf("after forgetting two, a new service counts as %q", got)
	}

	s := r.Client("fresh")
	for i := range maxRoutes + 10 {
		s.Route(fmt.Sprint("r", i)).Record(200, ErrNone, time.Millisecond)
	}
	if s.Route("one more") != s.Route(Other) {
		t.Error("a route beyond the bound has counters of its own")
	}

	route := r.Client("c").Route("r")
	for status := 100; status < 600; status++ {
		route.Record(status, ErrNone, time.Millisecond)
	}
	var total uint64
	series := route.snapshot()
	for _, s := range series {
		total += s.Count
	}
	if len(series) != maxSeries+1 || total != 500 {
		t.Errorf("%d series with %d calls", len(series), total)
	}
}

func TestOutcomes(t *testing.T) {
	r := NewRegistry()
	route := r.Client("s").Route("r")
	for _, o := range []struct {
		status int
		err    ErrorType
		times  int
	}{
		{200, ErrNone, 3}, {204, ErrNone, 1}, {404, ErrNone, 2}, {999, ErrNone, 1}, {0, ErrClientClosed, 2},
		{503, ErrNone, 1}, {503, ErrDestinationUnavailable, 4}, {503, ErrConnectionLimitReached, 1},
		{504, ErrDestinationUnavailable, 1}, {-1, ErrNone, 1}, {1 << 40, ErrNone, 1}, {502, ErrorType(250), 1},
	} {
		for range o.times {
			route.Record(o.status, o.err, time.Millisecond)
		}
		var found int
		for _, s := range r.Snapshot().Client[0].Series {
			if s.Status == o.status && s.Error == o.err.String() {
				found = int(s.Count)
			}
		}
		if found != o.times {
			t.Errorf("status %d error %q: %d of %d", o.status, o.err, found, o.times)
		}
	}
}

func TestConcurrent(t *testing.T) {
	const workers, calls = 8, 2000
	r := NewRegistry()
	statuses := []int{200, 201, 302, 404, 503, 999}
	stop := make(chan struct{})
	var readers, wg sync.WaitGroup
	readers.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				r.Snapshot()
			}
		}
	})
	for w := range workers {
		wg.Go(func() {
			for i := range calls {
				s := r.Client("s")
				s.Active.Inc()
				s.Route("r").Record(statuses[i%len(statuses)], ErrorType(i%3), time.Duration(w*i)*time.Microsecond)
				s.Retry(RetryReset)
				s.Active.Dec()
			}
		})
	}
	wg.Wait()
	close(stop)
	readers.Wait()
	snap := r.Snapshot().Client[0]
	var total uint64
	for _, s := range snap.Series {
		total += s.Count
	}
	if total != workers*calls || snap.Retries["reset"] != workers*calls || snap.Active != 0 {
		t.Errorf("%d calls, %d retries, %d active", total, snap.Retries["reset"], snap.Active)
	}
}

func TestSnapshotJSON(t *testing.T) {
	r := NewRegistry()
	s := r.Client("default/checkout:8080")
	s.Route("all").Record(200, ErrNone, 10*time.Millisecond)
	s.Retry(RetryConnectFailure)
	s.Retry(RetryIdleReset)
	s.RetryDenied()
	s.SetEndpoints(func() []EndpointStat {
		return []EndpointStat{{Address: "127.0.0.1:1", ID: "checkout-0", Requests: 2, Breaker: BreakerHalfOpen}}
	})
	b, err := json.Marshal(r.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"retries":{"connect-failure":1}`, `"idleResets":1`, `"retriesDenied":1`, `"breakersOpen":1`,
		`"breaker":"half-open"`, `"status":200`, `"meanMs":10`,
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in %s", want, b)
		}
	}
	s.SetEndpoints(nil)
	if snap := r.Snapshot().Client[0]; snap.Endpoints != nil {
		t.Error("endpoints outlive SetEndpoints(nil)")
	}
}

// Weights are told of services that are called: what the others' endpoints would
// get is nobody's share.
func TestWeightsOfWhatIsCalled(t *testing.T) {
	r := NewRegistry()
	now := r.start
	r.now = func() time.Time { return now }
	s := r.Client("default/checkout:8080")
	s.SetEndpoints(func() []EndpointStat { return []EndpointStat{{Address: "127.0.0.1:1", Weight: 1}} })
	told := func() bool {
		now = now.Add(time.Second)
		scopes, err := r.Produce(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		if err := r.WritePrometheus(&text, PrometheusText); err != nil {
			t.Fatal(err)
		}
		otlp := slices.ContainsFunc(scopes[0].Metrics, func(m metricdata.Metrics) bool { return m.Name == endpointWeight })
		if prometheus := strings.Contains(text.String(), "meshd_endpoint_weight{"); otlp != prometheus {
			t.Errorf("told over OTLP %v, at /metrics %v", otlp, prometheus)
		}
		return otlp
	}
	if told() {
		t.Error("told before anybody called")
	}
	s.Route("all").Record(200, ErrNone, time.Millisecond)
	if !told() {
		t.Error("not told after a call")
	}
	now = now.Add(quietAfter)
	if told() {
		t.Error("told long after the last call")
	}
	s.TCP().Begin()
	now = now.Add(2 * quietAfter)
	if !told() {
		t.Error("not told while a connection is open")
	}
	if weight := r.Snapshot().Client[0].Endpoints[0].Weight; weight != 1 {
		t.Errorf("at /stats it is %v", weight)
	}
}

func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for e := range errorTypes {
		name := e.String()
		if seen[name] || (name == "") != (e == ErrNone) {
			t.Errorf("error type %d is called %q", e, name)
		}
		seen[name] = true
		if s := e.Status(); s != 0 && (s < 400 || s > 599) {
			t.Errorf("%s recommends %d", name, s)
		}
	}
	for reason := range retryReasons {
		if reason.String() == "" {
			t.Errorf("retry reason %d has no name", reason)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	s := NewRegistry().Client("s")
	route := s.Route("r")
	for name, f := range map[string]func(){
		"Record":         func() { route.Record(200, ErrNone, 3*time.Millisecond) },
		"Record (gRPC)":  func() { route.Record(GRPC(0), ErrNone, 3*time.Millisecond) },
		"Record (error)": func() { route.Record(503, ErrConnectionRefused, time.Millisecond) },
		"Active":         func() { s.Active.Inc(); s.Active.Dec() },
		"Retry":          func() { s.Retry(Retry503) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// BenchmarkCall is what one call costs: in flight, and recorded.
func BenchmarkCall(b *testing.B) {
	s := NewRegistry().Client("s")
	route := s.Route("r")
	call := func(status, i int) {
		s.Active.Inc()
		route.Record(status, ErrNone, time.Duration(i&0xfffff)*64)
		s.Active.Dec()
	}
	b.Run("alone", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			call(200, i)
		}
	})
	b.Run("gRPC", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			call(GRPC(0), i)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				call(200, i)
			}
		})
	})
}

// Of two snapshots with buckets, what happened between them can be told.
func TestBuckets(t *testing.T) {
	r := NewRegistry()
	route := r.Client("default/checkout:80").Route("r")
	route.Record(200, ErrNone, 10*time.Millisecond)
	s := r.Snapshot()
	if s.Client[0].Series[0].Buckets != nil {
		t.Error("buckets that nobody asked for")
	}
	s.AddBuckets()
	b := s.Client[0].Series[0].Buckets
	perOctave := math.Exp2(float64(b.Scale))
	low, high := math.Exp2(float64(b.Offset)/perOctave), math.Exp2(float64(b.Offset+1)/perOctave)
	if len(b.Counts) != 1 || b.Counts[0] != 1 || low >= 0.01 || high < 0.01 {
		t.Errorf("%+v: from %v to %v", b, low, high)
	}
}

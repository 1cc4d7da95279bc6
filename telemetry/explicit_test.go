package telemetry

import (
	"context"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	otlp "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/grpc"
)

// advised are the bounds that the semantic conventions have for durations.
var advised = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}

// explicitMetric is a cumulative histogram of these values.
func explicitMetric(w *world, bounds, values []float64, kv ...string) *otlp.Metric {
	p := &otlp.HistogramDataPoint{Attributes: attrs(kv...), StartTimeUnixNano: uint64(w.start.UnixNano()), TimeUnixNano: uint64(w.now.UnixNano()),
		Count: uint64(len(values)), ExplicitBounds: bounds, BucketCounts: make([]uint64, len(bounds)+1)}
	sum := 0.0
	for _, v := range values {
		at, _ := slices.BinarySearch(bounds, v)
		p.BucketCounts[at]++
		sum += v
	}
	p.Sum = &sum
	return &otlp.Metric{Name: serverDurationName, Unit: "s", Data: &otlp.Metric_Histogram{Histogram: &otlp.Histogram{
		DataPoints: []*otlp.HistogramDataPoint{p}, AggregationTemporality: cumulative}}}
}

// A percentile of explicit buckets is within the bucket that the true one is
// in, and every second has its own.
func TestExplicitBuckets(t *testing.T) {
	w := newWorld(t, Config{})
	random := rand.New(rand.NewPCG(1, 2))
	var all []float64
	for second := range 10 {
		w.pass(time.Second)
		for range 100 {
			v := 0.030 * math.Exp2(random.NormFloat64())
			if second >= 5 {
				v *= 10
			}
			all = append(all, v)
		}
		if p := w.report("shop-0", explicitMetric(w, advised, all, "meshd.service", checkoutPort)); p != nil {
			t.Fatal(p)
		}
	}
	if got := w.total(checkout); got != 1000 {
		t.Errorf("%v calls, want 1000", got)
	}
	for i, of := range [][]float64{all[:500], all[500:]} {
		from := w.start.Add(time.Duration(5*i) * time.Second)
		samples := w.store.Series(checkout, Selection{}, Span{From: from, To: from.Add(5 * time.Second), Step: 5 * time.Second})
		if len(samples) == 0 {
			t.Fatal("no samples")
		}
		got := samples[len(samples)/2]
		slices.Sort(of)
		for q, ms := range map[float64]float64{0.5: got.P50Ms, 0.9: got.P90Ms, 0.99: got.P99Ms} {
			at, _ := slices.BinarySearch(advised, of[int(q*500)])
			if below, above := 1000*advised[at-1], 1000*advised[at]; ms < below*0.97 || ms > above*1.03 {
				t.Errorf("half %d: p%v is %.1f ms, want %v to %v", i, 100*q, ms, below, above)
			}
		}
	}
	if st := w.store.Stats(); st.Invalid != 0 || st.Points != 10 {
		t.Errorf("%+v", st)
	}
}

// Whatever the bounds: all is counted, within the bounds, and where counts have
// grown no bucket's has fallen.
func FuzzExplicit(f *testing.F) {
	seed := func(bounds ...float64) (b []byte) {
		for _, v := range bounds {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
		}
		return b
	}
	f.Add(seed(advised...), []byte{3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9}, uint8(2))
	f.Add(seed(-1, 0, 5, 10), []byte{1, 2, 3, 4, 255}, uint8(4))
	f.Add(seed(0.1, 0.1001, 1e-300, math.NaN()), []byte{1, 2, 3, 4, 255}, uint8(0))
	f.Add(seed(1e-300, 1e300), []byte{7, 7, 7}, uint8(1))
	f.Fuzz(func(t *testing.T, bounds, small []byte, grows uint8) {
		var counts []byte
		total := uint64(0)
		for _, n := range small {
			counts = binary.LittleEndian.AppendUint64(counts, uint64(n))
			total += uint64(n)
		}
		of := func(counts []byte) (b buckets, ok bool) {
			var p point
			if p.convert(counts, bounds) != "" || p.tooMany > 0 {
				return b, false
			}
			b.set(Scale, p.zero, p.offset, p.counts)
			return b, true
		}
		before, ok := of(counts)
		if !ok {
			return
		}
		if got := before.total(); got != total {
			t.Fatalf("%d values, want %d", got, total)
		}
		more := slices.Clone(counts)
		more[8*(int(grows)%len(small))]++
		if more[8*(int(grows)%len(small))] == 0 {
			return
		}
		after, ok := of(more)
		if !ok || !after.subtract(&before) || after.total() != 1 {
			t.Fatalf("one value more: %+v", after)
		}
	})
}

// What an SDK sends as it comes, with explicit buckets, is taken where it names
// a service of the mesh, and where it does not nobody complains: neither of that
// nor of a resource without an id.
func TestSDKWithExplicitBuckets(t *testing.T) {
	ctx := context.Background()
	store := NewStore(Config{})
	addr, stop := serve(t, store, grpc.ForceServerCodecV2(Codec()))
	defer stop()
	for _, tc := range []struct {
		name             string
		resource, labels []attribute.KeyValue
		points           uint64
		fails            bool
	}{
		{"of a service", []attribute.KeyValue{attribute.String("service.instance.id", "shop-7")}, []attribute.KeyValue{attribute.String("meshd.service", checkoutPort)}, 1, false},
		{"of none", []attribute.KeyValue{attribute.String("service.instance.id", "shop-7")}, nil, 0, false},
		{"of none and nobody", nil, nil, 0, false},
		{"of a service and nobody", nil, []attribute.KeyValue{attribute.String("meshd.service", checkoutPort)}, 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := store.Stats()
			exporter, err := otlpmetricgrpc.New(ctx, otlpmetricgrpc.WithEndpoint(addr), otlpmetricgrpc.WithInsecure())
			if err != nil {
				t.Fatal(err)
			}
			meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exporter, sdkmetric.WithInterval(time.Hour))), sdkmetric.WithResource(resource.NewSchemaless(tc.resource...)))
			latency, err := meters.Meter("test").Float64Histogram(serverDurationName, metric.WithExplicitBucketBoundaries(advised...))
			if err != nil {
				t.Fatal(err)
			}
			latency.Record(ctx, 0.030, metric.WithAttributes(tc.labels...))
			active, err := meters.Meter("test").Int64UpDownCounter("http.server.active_requests")
			if err != nil {
				t.Fatal(err)
			}
			active.Add(ctx, 1)
			if err := meters.ForceFlush(ctx); (err != nil) != tc.fails {
				t.Errorf("%v", err)
			}
			_ = meters.Shutdown(ctx) // exports again, and fails again where it does
			if st := store.Stats(); st.Points-before.Points < tc.points || (st.Invalid > before.Invalid) != tc.fails {
				t.Errorf("%+v", st)
			}
		})
	}
}

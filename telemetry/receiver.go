package telemetry

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	metricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip" // which a Collector compresses by
	_ "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
)

// receiver is the OTLP MetricsService: it takes what docs/reference/wire.md
// lists, passes over other metrics, and says in the answer's partial_success
// how many data points it refused and why the first one.
type receiver struct {
	metricspb.UnimplementedMetricsServiceServer
	store *Store
}

// Export implements MetricsServiceServer. It never fails a whole request: a
// reporter could not do better by sending it again.
func (r *receiver) Export(_ context.Context, req *metricspb.ExportMetricsServiceRequest) (*metricspb.ExportMetricsServiceResponse, error) {
	raw, err := marshal(req)
	if err != nil {
		return nil, err
	}
	return r.export(raw)
}

func (r *receiver) export(raw []byte) (*metricspb.ExportMetricsServiceResponse, error) {
	refused, why, ok := r.store.ingest(raw)
	if !ok {
		return nil, status.Error(codes.InvalidArgument, errWire.Error())
	}
	resp := &metricspb.ExportMetricsServiceResponse{}
	if refused > 0 {
		resp.PartialSuccess = &metricspb.ExportMetricsPartialSuccess{
			RejectedDataPoints: refused,
			ErrorMessage:       why.Error(),
		}
	}
	return resp, nil
}

// A rawRequest hands on the bytes of a request as gRPC has them, which are
// gRPC's own and gone afterwards: reports of a large mesh are 100 MB a second.
type rawRequest struct{ read func(data mem.BufferSlice) }

// Codec is protobuf for a grpc.Server (grpc.ForceServerCodecV2) that has a
// Store: requests to it are read where they are. On a server without it each is
// copied first, to a buffer of 1 MiB, and all that wait have one.
func Codec() encoding.CodecV2 { return codec{encoding.GetCodecV2("proto")} }

type codec struct{ encoding.CodecV2 }

// Unmarshal implements encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if r, ok := v.(*rawRequest); ok {
		r.read(data)
		return nil
	}
	return c.CodecV2.Unmarshal(data, v)
}

// To protobuf's own codec a rawRequest is a message of the first API that
// reads itself.

// Reset does nothing: there is nothing that a message before could have left.
func (*rawRequest) Reset()         {}
func (*rawRequest) String() string { return "OTLP" }

// ProtoMessage marks a message.
func (*rawRequest) ProtoMessage() {}

// Unmarshal is what protobuf calls with the bytes.
func (r *rawRequest) Unmarshal(raw []byte) error {
	r.read(mem.BufferSlice{mem.SliceBuffer(raw)})
	return nil
}

// rawMethod is a unary method that is given its request's bytes, one request
// after the other. Of those that wait for their turn, the ones are dropped whose
// senders have given up: taken late, they would make the next ones late too.
// An interceptor does not see the request.
func rawMethod[Resp any](fullName, name string, export func(impl any, raw []byte) (Resp, error)) grpc.MethodDesc {
	var turns queue
	var joined []byte // of a request in parts; its whose turn it is
	return grpc.MethodDesc{MethodName: name, Handler: func(impl any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		handle := func(ctx context.Context, _ any) (any, error) {
			var resp Resp
			var err error
			malformed := decode(&rawRequest{read: func(data mem.BufferSlice) {
				turns.run(func() {
					if ctx.Err() != nil {
						err = status.FromContextError(ctx.Err()).Err()
						return
					}
					if len(data) == 1 {
						resp, err = export(impl, data[0].ReadOnlyData())
						return
					}
					joined = slices.Grow(joined[:0], data.Len())[:data.Len()]
					data.CopyTo(joined)
					resp, err = export(impl, joined)
				})
			}})
			if malformed != nil {
				return nil, malformed
			}
			return resp, err
		}
		if intercept == nil {
			return handle(ctx, nil)
		}
		return intercept(ctx, nil, &grpc.UnaryServerInfo{Server: impl, FullMethod: fullName}, handle)
	}}
}

// Register adds the OTLP MetricsService and TraceService to a gRPC server.
func (s *Store) Register(r grpc.ServiceRegistrar) {
	metrics := metricspb.MetricsService_ServiceDesc
	metrics.Methods = []grpc.MethodDesc{rawMethod(metricspb.MetricsService_Export_FullMethodName, "Export",
		func(impl any, raw []byte) (*metricspb.ExportMetricsServiceResponse, error) {
			return impl.(*receiver).export(raw)
		})}
	r.RegisterService(&metrics, &receiver{store: s})
	spans := tracepb.TraceService_ServiceDesc
	spans.Methods = []grpc.MethodDesc{rawMethod(tracepb.TraceService_Export_FullMethodName, "Export",
		func(impl any, raw []byte) (*tracepb.ExportTraceServiceResponse, error) {
			return impl.(*spanReceiver).export(raw)
		})}
	r.RegisterService(&spans, &spanReceiver{traces: &s.traces})
}

// intake is one request being read. Needs Store.mu.
type intake struct {
	s       *Store
	now     int64
	r       *reporter
	knew    bool
	deny    error // why no point of this reporter is taken
	refused int64
	why     error // of the first
}

func (in *intake) refuse(points int, err error) {
	in.refused += int64(points)
	if in.why == nil {
		in.why = err
	}
}

// ingest takes an ExportMetricsServiceRequest; it returns how many data points
// it refused and the reason of the first. It is not ok where the bytes make no
// sense; what came before is taken then.
func (s *Store) ingest(raw []byte) (refused int64, why error, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer addSince(&s.stats.Busy, time.Now())
	at := s.cfg.Clock()
	s.advance(slotOf(at))
	in := &intake{s: s, now: at.UnixNano()}
	f := fields{rest: raw}
	ok = true
	for ok && f.next() {
		if f.tag == bytesTag(1) {
			ok = in.resource(f.bytes)
		}
	}
	return in.refused, in.why, ok && !f.bad
}

// resource reads a ResourceMetrics: what one reporter says.
func (in *intake) resource(raw []byte) bool {
	s := in.s
	key, ok := resourceKey(raw)
	if !ok {
		return false
	}
	in.r, in.knew = s.reporters[key]
	in.deny = nil
	if !in.knew {
		in.r = &reporter{key: key}
		if len(s.reporters) >= s.cfg.MaxReporters {
			in.deny = overflow{&s.stats.OverflowReporters, fmt.Sprintf("meshd listens to at most %d reporters", s.cfg.MaxReporters)}
		}
	}
	if key.instance == "" {
		in.deny = overflow{&s.stats.Invalid, fmt.Sprintf("resource: service.instance.id is missing or longer than %d bytes", maxText)}
	}
	in.r.next = 0
	before := len(in.r.series)
	f := fields{rest: raw}
	for ok && f.next() {
		if f.tag != bytesTag(2) { // scope_metrics
			continue
		}
		scope := fields{rest: f.bytes}
		for ok && scope.next() {
			if scope.tag == bytesTag(2) {
				ok = in.metric(scope.bytes)
			}
		}
		ok = ok && !scope.bad
	}
	for _, d := range in.r.demands {
		d.settle(in.now)
	}
	if len(in.r.series) > 0 {
		in.r.seen = max(in.r.seen, in.now)
		s.reporters[key] = in.r
	}
	if len(in.r.series) > before {
		in.r.trim()
	}
	return ok && !f.bad
}

// overflow is a reason to refuse that is counted by the point.
type overflow struct {
	count *uint64
	text  string
}

func (o overflow) Error() string { return o.text }

// The fields of a Metric that hold its data.
const (
	gaugeField        = 5
	sumField          = 7
	histogramField    = 9
	expHistogramField = 10
	summaryField      = 11
)

// attributesTag is where the data points of such a field have their attributes.
func attributesTag(field uint64) uint64 {
	switch field {
	case histogramField:
		return bytesTag(9)
	case expHistogramField:
		return bytesTag(1)
	}
	return bytesTag(7)
}

// ofServices is how many data points are of a service's calls. Of the others
// nobody is told that they are refused: nothing was wanted of them.
func (in *intake) ofServices(field uint64, data []byte) (n int) {
	for f := (fields{rest: data}); f.next(); {
		if f.tag != bytesTag(1) {
			continue
		}
		p := point{raw: f.bytes, attributesTag: attributesTag(field)}
		if a, err := p.attributes(); err != nil || a.service != "" && !noService(a.service) {
			n++
		}
	}
	return n
}

// metric reads a Metric.
func (in *intake) metric(raw []byte) bool {
	var name, data []byte
	field := uint64(0)
	f := fields{rest: raw}
	for f.next() {
		switch f.tag {
		case bytesTag(1):
			name = f.bytes
		case bytesTag(gaugeField), bytesTag(sumField), bytesTag(histogramField), bytesTag(expHistogramField), bytesTag(summaryField):
			field, data = f.tag>>3, f.bytes
		}
	}
	if f.bad {
		return false
	}
	spec, ours := metrics[string(name)]
	if !ours {
		return true
	}
	// What holds for all of the points comes after them.
	n := 0
	var temporality uint64
	monotonic := false
	for f = (fields{rest: data}); f.next(); {
		switch {
		case f.tag == bytesTag(1):
			n++
		case f.tag == varintTag(2) && field != gaugeField:
			temporality = f.value
		case f.tag == varintTag(3) && field == sumField:
			monotonic = f.value != 0
		}
	}
	if f.bad {
		return false
	}
	err := in.deny
	if why := spec.shape.accepts(field, temporality, monotonic); why != "" {
		err = overflow{&in.s.stats.Invalid, why}
	}
	if err != nil {
		n = max(n, 1)
		if spec.kind.anybodys() {
			n = in.ofServices(field, data)
		}
		if n > 0 {
			*err.(overflow).count += uint64(n)
			in.refuse(n, fmt.Errorf("%s: %w", name, err))
		}
		return true
	}
	p := &in.s.point
	for f = (fields{rest: data}); f.next(); {
		if f.tag != bytesTag(1) {
			continue
		}
		var ok bool
		if field == histogramField {
			ok = p.readExplicit(f.bytes, in.s.seed)
		} else {
			ok = p.read(f.bytes, in.s.seed, field == expHistogramField)
		}
		if !ok {
			return false
		}
		p.attributesTag = attributesTag(field)
		if p.nothing {
			continue
		}
		p.delta = field != gaugeField && temporality == deltaTemporality
		p.key = (p.key + uint64(spec.kind)*0x9e3779b97f4a7c15) ^ temporality<<56
		if err := in.s.take(in.r, in.knew, spec.kind, p, in.now); err != nil {
			in.refuse(1, fmt.Errorf("%s: %w", name, err))
		}
	}
	return true
}

// The values of AggregationTemporality.
const (
	deltaTemporality      = 1
	cumulativeTemporality = 2
)

// accepts says why data of that field of a Metric is not what a shape takes;
// empty if it is.
func (want shape) accepts(field, temporality uint64, monotonic bool) (why string) {
	known := temporality == deltaTemporality || temporality == cumulativeTemporality
	switch want {
	case histogram:
		if (field == expHistogramField || field == histogramField) && known {
			return ""
		}
		return "want a histogram, cumulative or delta"
	case counter:
		if field == sumField && known && monotonic {
			return ""
		}
		return "want a monotonic sum, cumulative or delta"
	default:
		if field == gaugeField || field == sumField && temporality == cumulativeTemporality && !monotonic {
			return ""
		}
		return "want a gauge or a cumulative sum that is not monotonic"
	}
}

// resourceKey names the reporter. Without an instance id, or with an id that
// is too long, the key's instance is empty.
func resourceKey(raw []byte) (key reporterKey, ok bool) {
	f := fields{rest: raw}
	for f.next() {
		if f.tag != bytesTag(1) { // resource
			continue
		}
		res := fields{rest: f.bytes}
		for res.next() {
			if res.tag != bytesTag(1) {
				continue
			}
			name, value, ok := keyValue(res.bytes)
			if !ok {
				return key, false
			}
			v := text(value)
			if len(v) > maxText {
				continue
			}
			switch string(name) {
			case "service.namespace":
				key.namespace = string(v)
			case "service.name":
				key.name = string(v)
			case "service.instance.id":
				key.instance = string(v)
			}
		}
		if res.bad {
			return key, false
		}
	}
	return key, !f.bad
}

// maxValue is more than any counter reaches; sums of what is smaller stay
// finite, as JSON needs them.
const maxValue = 1 << 53

// errTime is of a point that says no time.
var errTime = errors.New("time_unix_nano is missing")

func finite(v float64) bool { return math.Abs(v) <= maxValue }

package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/tracing"
)

// What each sidecar of a fleet does: it calls all services, so often each.
const (
	fleetServices  = 50
	callsPerSecond = 5   // of each service
	fleetSampled   = 100 // of the calls one in so many is traced, as by default
)

// A model makes the telemetry of one sidecar, with what a sidecar makes it: a
// stats.Registry in which calls are recorded as they go, and tracing, which
// sends both to "meshd" every second. That meshd is the model: it passes what
// comes on as molds, in which all of a fleet are cast. Its services count since
// a minute, so that histograms are as full as they will be.
type model struct {
	endpoints int // of each service
	registry  *stats.Registry
	sends     *tracing.Telemetry
	random    *rand.Rand
	attempts  [fleetServices][]atomic.Uint64
	traces    uint64
	server    *grpc.Server

	metrics, spans chan mold

	stop context.CancelFunc
	work sync.WaitGroup
}

// startModel begins; close ends it. Molds that nobody takes in time are lost.
func startModel(endpoints int) (*model, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	m := &model{
		endpoints: endpoints, registry: stats.NewRegistry(), random: rand.New(rand.NewPCG(1, 2)),
		metrics: make(chan mold, 1), spans: make(chan mold, 1),
		server: grpc.NewServer(grpc.ForceServerCodec(rawCodec{}), grpc.MaxRecvMsgSize(64<<20)),
	}
	for service, to := range map[string]chan mold{metricsService: m.metrics, traceService: m.spans} {
		m.server.RegisterService(exportService(service, func(b []byte) error {
			select {
			case to <- cut(b):
			default:
			}
			return nil
		}), m)
	}
	m.work.Go(func() { m.server.Serve(l) }) // returns when close stops it
	for s := range fleetServices {
		m.attempts[s] = make([]atomic.Uint64, endpoints)
		m.registry.Client(serviceName(s)).SetEndpoints(func() []stats.EndpointStat { return m.endpointsOf(s) })
	}
	for range 60 * callsPerSecond {
		m.calls(false)
	}
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	m.sends, err = tracing.Setup(ctx, tracing.Options{
		ServiceName: marked, Namespace: "default", InstanceID: marked + "-yy", Version: "v0.1.0",
		MeshdAddr: l.Addr().String(), MeshdOmits: stats.MeshdOmits(), MeshdSparsely: stats.MeshdSparsely(), // as sidecar/observe.go has it
		Producers: []metric.Producer{m.registry},
		Getenv:    func(string) string { return "" },
	})
	if err != nil {
		m.server.Stop()
		m.work.Wait()
		return nil, err
	}
	m.work.Go(func() {
		tick := time.NewTicker(time.Second / callsPerSecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				m.calls(true)
			}
		}
	})
	return m, nil
}

func (m *model) close() {
	m.stop()
	ended, cancel := context.WithCancel(context.Background())
	cancel() // nothing to flush
	m.sends.Shutdown(ended)
	m.server.Stop()
	m.work.Wait()
}

func serviceName(s int) string { return fmt.Sprintf("default/service-%02d:8080", s) }

func endpointAddr(s, e int) string { return fmt.Sprintf("10.0.%d.%d:31006", s, e+1) }

func (m *model) endpointsOf(s int) []stats.EndpointStat {
	out := make([]stats.EndpointStat, m.endpoints)
	for e := range out {
		out[e] = stats.EndpointStat{Address: endpointAddr(s, e), ID: fmt.Sprintf("service-%02d-%02d", s, e), Requests: m.attempts[s][e].Load()}
	}
	return out
}

// calls makes one call of each service, and takes as many.
func (m *model) calls(trace bool) {
	own := m.registry.Server("default/" + marked + ":8080")
	for s := range fleetServices {
		to := m.registry.Client(serviceName(s))
		m.attempts[s][m.random.IntN(m.endpoints)].Add(1)
		to.Spent(stats.PartConnect, 100*time.Microsecond)
		own.Spent(stats.PartQueued, 100*time.Microsecond)
		own.Spent(stats.PartDownstream, time.Millisecond)
		// Log-normal, a few octaves wide, about 10 ms.
		took := time.Duration(math.Exp2(0.6*m.random.NormFloat64()) * float64(10*time.Millisecond))
		if out, in := to.Route(serviceName(s)), own.Route(""); trace && m.random.IntN(fleetSampled) == 0 {
			kept := m.trace(serviceName(s), took)
			out.RecordKept(200, stats.ErrNone, took, kept)
			in.RecordKept(200, stats.ErrNone, took, kept)
		} else {
			out.Record(200, stats.ErrNone, took)
			in.Record(200, stats.ErrNone, took)
		}
	}
}

// trace emits the spans of a call, of its attempt and of one that is served.
func (m *model) trace(service string, took time.Duration) stats.Exemplar {
	m.traces++
	id := [16]byte([]byte(fmt.Sprintf("%s%08x", markedTrace, m.traces)))
	now := time.Now()
	span := tracing.Span{
		Context: tracing.SpanContext{TraceID: id, SpanID: [8]byte{1}, Flags: tracing.FlagSampled},
		Name:    "GET " + service, Start: now.Add(-took), End: now,
	}
	common := tracing.AttributesOf(
		tracing.ServerAddress.String("service.default"), tracing.ServerPort.Int(8080), tracing.MeshService.String(service), tracing.MeshRoute.String(service),
		tracing.HTTPMethod.String("GET"), tracing.URLFull.String("http://service.default:8080/items/17?page=2"), tracing.HTTPStatus.Int(200),
	)
	for i, kind := range []tracing.Kind{tracing.KindClient, tracing.KindClient, tracing.KindServer} {
		span.Kind = kind
		span.Context.SpanID[0] = byte(i + 1)
		span.Attributes = common
		switch i {
		case 0:
			span.Attributes.Add(tracing.MeshConnect.Float64(0.1), tracing.MeshBalancer.String("peak_ewma"), tracing.NetworkVersion.String("1.1"))
		case 1:
			span.Attributes.Add(tracing.MeshEndpointID.String("service-07-03"), tracing.MeshCost.Float64(12.5))
		}
		m.sends.Emit(span)
		span.Parent = span.Context
	}
	return stats.Exemplar{Trace: id, Span: span.Context.SpanID, Time: now}
}

// What a mold leaves open; texts are as long as what takes their place, so
// that no length in the message changes.
const (
	marked      = "service-xx"
	markedTrace = "trace-xx"
)

var marks = regexp.MustCompile(marked + "-yy|" + marked + "|" + markedTrace)

// A mold is a message of a sidecar without its identity: marks, and what
// comes before each, and after the last one.
type mold struct {
	size   int
	before [][]byte
	marks  []string
	rest   []byte
}

func cut(raw []byte) mold {
	m := mold{size: len(raw)}
	from := 0
	for _, at := range marks.FindAllIndex(raw, -1) {
		m.before = append(m.before, raw[from:at[0]])
		m.marks = append(m.marks, string(raw[at[0]:at[1]]))
		from = at[1]
	}
	m.rest = raw[from:]
	return m
}

// of is the message of whoever is called so in place of the marks. It is made
// of the mold's memory: to make it costs nothing.
func (m mold) of(called map[string][]byte) mem.BufferSlice {
	out := make(mem.BufferSlice, 0, 2*len(m.marks)+1)
	for i, mark := range m.marks {
		out = append(out, mem.SliceBuffer(m.before[i]), mem.SliceBuffer(called[mark]))
	}
	return append(out, mem.SliceBuffer(m.rest))
}

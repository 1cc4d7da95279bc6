package server

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/goleak"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meshd/meshd/xds/cache"
	"github.com/meshd/meshd/xds/resource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	lds = resource.ListenerType
	rds = resource.RouteType
	cds = resource.ClusterType
	eds = resource.EndpointsType
)

// A world is what there is: content by "type name". The server does not look
// inside resources.
type world map[string]string

func (w world) view() cache.View {
	w = maps.Clone(w)
	return cache.View{
		Resource: func(k cache.Key) *anypb.Any {
			name := k.Name
			if k.Type == lds {
				name = k.Namespace + "/" + k.Name
			}
			content, ok := w[k.Type+" "+name]
			if !ok {
				return nil
			}
			b, err := proto.Marshal(wrapperspb.String(content))
			if err != nil {
				panic(err)
			}
			return &anypb.Any{TypeUrl: k.Type, Value: b}
		},
		Names: func(typ string) []string {
			var out []string
			for k := range w {
				if name, ok := strings.CutPrefix(k, typ+" "); ok {
					out = append(out, name)
				}
			}
			slices.Sort(out)
			return out
		},
	}
}

type fixture struct {
	t     *testing.T
	cache *cache.Cache
	srv   *Server
	conn  *grpc.ClientConn
}

func start(t *testing.T, cfg Config) *fixture {
	t.Helper()
	f := &fixture{t: t, cache: cache.New()}
	cfg.Cache = f.cache
	f.srv = New(cfg)
	g := grpc.NewServer(Options()...)
	f.srv.Register(g)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() { g.Serve(l) })
	f.conn, err = grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.conn.Close()
		f.srv.Closing()
		g.Stop()
		served.Wait()
		f.srv.Wait()
		if n := f.cache.Len(); n != 0 {
			t.Errorf("%d resources left in the cache", n)
		}
	})
	return f
}

// A peer is a hand-written client: what it receives is read by a goroutine,
// so that a test can see that nothing came.
type peer[Req, Resp any] struct {
	t      *testing.T
	stream grpc.BidiStreamingClient[Req, Resp]
	got    chan *Resp
	err    chan error
	stop   func()
}

func newPeer[Req, Resp any](t *testing.T, open func(context.Context) (grpc.BidiStreamingClient[Req, Resp], error)) *peer[Req, Resp] {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	p := &peer[Req, Resp]{t: t, stream: stream, got: make(chan *Resp, 1000), err: make(chan error, 1)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			resp, err := stream.Recv()
			if err != nil {
				p.err <- err
				return
			}
			p.got <- resp
		}
	})
	p.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(p.stop)
	return p
}

func (p *peer[Req, Resp]) send(req *Req) {
	p.t.Helper()
	if err := p.stream.Send(req); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer[Req, Resp]) next() *Resp {
	p.t.Helper()
	select {
	case r := <-p.got:
		return r
	case err := <-p.err:
		p.t.Fatalf("stream ended: %v", err)
	case <-time.After(5 * time.Second):
		p.t.Fatal("no response")
	}
	return nil
}

// quiet checks that nothing has come, with a round trip as the evidence: the
// server answers ask after everything that came before it.
func (p *peer[Req, Resp]) quiet(ask *Req, answer func(*Resp) bool) {
	p.t.Helper()
	p.send(ask)
	if r := p.next(); !answer(r) {
		p.t.Fatalf("unexpected response %v", r)
	}
	if len(p.got) != 0 {
		p.t.Fatalf("unexpected response %v", <-p.got)
	}
}

func (f *fixture) sotw() *peer[discovery.DiscoveryRequest, discovery.DiscoveryResponse] {
	f.t.Helper()
	return newPeer(f.t, func(ctx context.Context) (grpc.BidiStreamingClient[discovery.DiscoveryRequest, discovery.DiscoveryResponse], error) {
		return discovery.NewAggregatedDiscoveryServiceClient(f.conn).StreamAggregatedResources(ctx)
	})
}

func (f *fixture) delta() *peer[discovery.DeltaDiscoveryRequest, discovery.DeltaDiscoveryResponse] {
	f.t.Helper()
	return newPeer(f.t, func(ctx context.Context) (grpc.BidiStreamingClient[discovery.DeltaDiscoveryRequest, discovery.DeltaDiscoveryResponse], error) {
		return discovery.NewAggregatedDiscoveryServiceClient(f.conn).DeltaAggregatedResources(ctx)
	})
}

// short names a type in expectations.
var short = map[string]string{lds: "LDS", rds: "RDS", cds: "CDS", eds: "EDS"}

func content(body []byte) string {
	var v wrapperspb.StringValue
	if err := proto.Unmarshal(body, &v); err != nil {
		return err.Error()
	}
	return v.Value
}

func sotwText(r *discovery.DiscoveryResponse) string {
	parts := []string{short[r.TypeUrl]}
	for _, a := range r.Resources {
		parts = append(parts, content(a.Value))
	}
	return strings.Join(parts, " ")
}

func deltaText(r *discovery.DeltaDiscoveryResponse) string {
	parts := []string{short[r.TypeUrl]}
	for _, a := range r.Resources {
		parts = append(parts, a.Name+"="+content(a.Resource.Value))
	}
	for _, n := range r.RemovedResources {
		parts = append(parts, "-"+n)
	}
	return strings.Join(parts, " ")
}

func TestLimits(t *testing.T) {
	f := start(t, Config{MaxStreams: 1, MaxNames: 2})
	p := f.sotw()
	p.send(&discovery.DiscoveryRequest{TypeUrl: cds, ResourceNames: []string{"a", "b"}})
	p.next()
	ends := func(what string, p interface{ ended() codes.Code }, want codes.Code) {
		t.Helper()
		if got := p.ended(); got != want {
			t.Errorf("%s: stream ended with %v, want %v", what, got, want)
		}
	}
	ends("a second stream", f.sotw(), codes.ResourceExhausted)
	p.send(&discovery.DiscoveryRequest{TypeUrl: eds, ResourceNames: []string{"c"}})
	ends("a third name", p, codes.ResourceExhausted)

	for what, req := range map[string]*discovery.DeltaDiscoveryRequest{
		"no type":     {},
		"a long name": {TypeUrl: cds, ResourceNamesSubscribe: []string{strings.Repeat("x", maxNameBytes+1)}},
	} {
		p := f.deltaOnceFree(req)
		ends(what, p, codes.InvalidArgument)
	}
}

// deltaOnceFree opens a stream once the server has seen the last one end.
func (f *fixture) deltaOnceFree(req *discovery.DeltaDiscoveryRequest) *peer[discovery.DeltaDiscoveryRequest, discovery.DeltaDiscoveryResponse] {
	f.t.Helper()
	for {
		f.srv.mu.Lock()
		n := len(f.srv.clients)
		f.srv.mu.Unlock()
		if n == 0 {
			break
		}
	}
	p := f.delta()
	p.send(req)
	return p
}

func (p *peer[Req, Resp]) ended() codes.Code {
	select {
	case err := <-p.err:
		return status.Code(err)
	case <-time.After(5 * time.Second):
		return codes.OK
	}
}

// A client that never reads must not keep another from its updates.
func TestSlowClient(t *testing.T) {
	f := start(t, Config{})
	big := strings.Repeat("x", 1<<20)
	f.cache.Set(world{cds + " a": big}.view())
	slow, err := discovery.NewAggregatedDiscoveryServiceClient(f.conn).StreamAggregatedResources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := slow.Send(&discovery.DiscoveryRequest{TypeUrl: cds, ResourceNames: []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	quick := f.sotw()
	quick.send(&discovery.DiscoveryRequest{TypeUrl: cds, ResourceNames: []string{"a"}})
	quick.next()
	for i := range 20 {
		f.cache.Set(world{cds + " a": fmt.Sprint(i, big)}.view())
		if got := content(quick.next().Resources[0].Value); !strings.HasPrefix(got, fmt.Sprint(i)) {
			t.Fatalf("update %d did not come", i)
		}
	}
}

func TestMembers(t *testing.T) {
	events := make(chan string, 100)
	hooks := Hooks{Join: func(in resource.Instance) (Member, error) {
		events <- "join " + in.ID
		return Member{
			Update: func(in resource.Instance) error {
				events <- fmt.Sprintf("update %s ready=%v", in.ID, in.Ready)
				return nil
			},
			Gone: func() { events <- "gone " + in.ID },
		}, nil
	}}
	f := start(t, Config{Hooks: hooks})
	expect := func(want string) {
		t.Helper()
		select {
		case got := <-events:
			if got != want {
				t.Fatalf("hook %q, want %q", got, want)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("no hook, want %q", want)
		}
	}
	node := func(id string, ready bool, mod func(map[string]any)) *core.Node {
		in := map[string]any{"id": id, "service": "checkout", "servicePort": 8080, "address": "127.0.0.1", "port": 31006, "weight": 1, "ready": ready}
		if mod != nil {
			mod(in)
		}
		md, err := structpb.NewStruct(map[string]any{"meshd.io": map[string]any{"namespace": "shop", "instance": in}})
		if err != nil {
			t.Fatal(err)
		}
		return &core.Node{Id: "checkout.shop/" + id, Cluster: "checkout", Metadata: md}
	}
	p := f.delta()
	p.send(&discovery.DeltaDiscoveryRequest{TypeUrl: cds, Node: node("c-0", false, nil), ResourceNamesSubscribe: []string{"x"}})
	expect("join c-0")
	p.next()
	p.send(&discovery.DeltaDiscoveryRequest{TypeUrl: cds, Node: node("c-0", false, nil)}) // nothing new
	p.send(&discovery.DeltaDiscoveryRequest{TypeUrl: cds, Node: node("c-0", true, nil)})
	expect("update c-0 ready=true")
	p.send(&discovery.DeltaDiscoveryRequest{TypeUrl: cds, Node: node("c-0", true, func(m map[string]any) { m["port"] = "x" })}) // wrong: ignored
	p.send(&discovery.DeltaDiscoveryRequest{TypeUrl: cds, Node: node("c-1", true, nil)})
	expect("gone c-0")
	expect("join c-1")
	if c := f.srv.Clients(); len(c) != 1 || c[0].ID != "checkout.shop/c-0" || c[0].Namespace != "shop" || c[0].Service != "checkout" {
		t.Errorf("clients %+v", c)
	}
	p.stop()
	expect("gone c-1")

	// A wrong registration still gets configuration.
	p = f.delta()
	p.send(&discovery.DeltaDiscoveryRequest{TypeUrl: cds, Node: node("", true, nil), ResourceNamesSubscribe: []string{"x"}})
	if got := deltaText(p.next()); got != "CDS -x" {
		t.Errorf("got %q", got)
	}
	if len(events) != 0 {
		t.Errorf("hook %q", <-events)
	}
}

func nack(text string) *rpcstatus.Status { return &rpcstatus.Status{Code: 3, Message: text} }

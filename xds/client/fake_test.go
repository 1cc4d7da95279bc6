package client

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/goleak"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fake is a control plane on the generated code and the real gRPC stack, in
// both variants. A resource's version is the hash of its content.
type fake struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	addr string
	grpc *grpc.Server

	stormy bool // a NACK is answered at once with what was refused

	nodes chan *corev3.Node
	nacks chan string
	asked chan string // each name with the type's first letter, + or -

	mu      sync.Mutex
	res     map[string]map[string]*anypb.Any // by type and name
	changed map[chan struct{}]bool           // of streams
}

// startFake serves on addr, or on a free port.
func startFake(t *testing.T, addr string, of *fake) *fake {
	t.Helper()
	f := &fake{
		nodes: make(chan *corev3.Node, 100), nacks: make(chan string, 100), asked: make(chan string, 1000),
		res: map[string]map[string]*anypb.Any{}, changed: map[chan struct{}]bool{},
	}
	if of != nil {
		of.mu.Lock()
		for typeURL, res := range of.res {
			f.res[typeURL] = maps.Clone(res)
		}
		of.mu.Unlock()
	}
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	lis, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	f.addr = lis.Addr().String()
	f.grpc = grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(f.grpc, f)
	done := make(chan struct{})
	go func() { defer close(done); _ = f.grpc.Serve(lis) }()
	t.Cleanup(func() { f.grpc.Stop(); <-done })
	return f
}

// set replaces a resource, or removes it where m is nil.
func (f *fake) set(t *testing.T, typeURL, name string, m proto.Message) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.res[typeURL] == nil {
		f.res[typeURL] = map[string]*anypb.Any{}
	}
	delete(f.res[typeURL], name)
	if m != nil {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		f.res[typeURL][name] = &anypb.Any{TypeUrl: typeURL, Value: b}
	}
	for ch := range f.changed {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

func (f *fake) get(typeURL, name string) (*anypb.Any, string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.res[typeURL][name]
	if a == nil {
		return nil, ""
	}
	return a, fmt.Sprintf("%x", sha256.Sum256(a.Value))
}

func (f *fake) stream() (chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changed[ch] = true
	return ch, func() { f.mu.Lock(); defer f.mu.Unlock(); delete(f.changed, ch) }
}

func (f *fake) request(node *corev3.Node, refusal *statuspb.Status) {
	if node != nil {
		f.nodes <- node
	}
	if refusal != nil {
		f.nacks <- refusal.GetMessage()
	}
}

func (f *fake) noteNames(sign, typeURL string, names []string) {
	short := typeURL[strings.LastIndexByte(typeURL, '.')+1:][:1]
	for _, n := range names {
		f.asked <- sign + short + " " + n
	}
}

// receive turns a stream's requests into a channel.
func receive[T any](ctx context.Context, recv func() (T, error)) (<-chan T, <-chan error) {
	ch, end := make(chan T), make(chan error, 1)
	go func() {
		defer close(ch)
		for {
			r, err := recv()
			if err != nil {
				end <- err
				return
			}
			select {
			case ch <- r:
			case <-ctx.Done():
			}
		}
	}()
	return ch, end
}

func streamEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (f *fake) DeltaAggregatedResources(s discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	changed, leave := f.stream()
	defer leave()
	reqs, end := receive(s.Context(), s.Recv)
	told := map[string]map[string]string{} // by type: name to version
	for nonce := 1; ; {
		select {
		case err := <-end:
			return streamEnd(err)
		case r := <-reqs:
			if r == nil {
				continue
			}
			f.request(r.GetNode(), r.GetErrorDetail())
			f.noteNames("+", r.TypeUrl, r.ResourceNamesSubscribe)
			f.noteNames("-", r.TypeUrl, r.ResourceNamesUnsubscribe)
			if told[r.TypeUrl] == nil {
				told[r.TypeUrl] = map[string]string{}
			}
			for _, n := range r.ResourceNamesUnsubscribe {
				delete(told[r.TypeUrl], n)
			}
			for _, n := range r.ResourceNamesSubscribe {
				v, ok := r.InitialResourceVersions[n]
				if !ok {
					v = "-" // nothing was told
				}
				told[r.TypeUrl][n] = v
			}
		case <-changed:
		}
		for typeURL, names := range told {
			resp := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeURL, Nonce: fmt.Sprint(nonce)}
			for name, had := range names {
				a, v := f.get(typeURL, name)
				if v == had {
					continue
				}
				names[name] = v
				if a == nil {
					resp.RemovedResources = append(resp.RemovedResources, name)
				} else {
					resp.Resources = append(resp.Resources, &discoveryv3.Resource{Name: name, Version: v, Resource: a})
				}
			}
			if len(resp.Resources)+len(resp.RemovedResources) == 0 {
				continue
			}
			nonce++
			if err := s.Send(resp); err != nil {
				return err
			}
		}
	}
}

func (f *fake) StreamAggregatedResources(s discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	changed, leave := f.stream()
	defer leave()
	reqs, end := receive(s.Context(), s.Recv)
	type state struct {
		names []string
		told  string
		nonce string
	}
	types := map[string]*state{}
	for nonce := 1; ; {
		select {
		case err := <-end:
			return streamEnd(err)
		case r := <-reqs:
			if r == nil {
				continue
			}
			f.request(r.GetNode(), r.GetErrorDetail())
			st := types[r.TypeUrl]
			if st == nil {
				st = &state{}
				types[r.TypeUrl] = st
			}
			if r.ResponseNonce != st.nonce {
				continue // it crossed a response
			}
			f.noteNames("+", r.TypeUrl, r.ResourceNames)
			st.names = r.ResourceNames
			if f.stormy && r.ErrorDetail != nil {
				st.told = ""
			}
		case <-changed:
		}
		for _, typeURL := range slices.Sorted(maps.Keys(types)) {
			st := types[typeURL]
			resp := &discoveryv3.DiscoveryResponse{TypeUrl: typeURL, Nonce: fmt.Sprint(nonce)}
			sum := fmt.Sprint(st.names)
			for _, name := range st.names {
				if a, v := f.get(typeURL, name); a != nil {
					resp.Resources = append(resp.Resources, a)
					sum += v
				}
			}
			if len(st.names) == 0 {
				st.told = ""
			}
			if sum == st.told || len(st.names) == 0 {
				continue
			}
			st.told, st.nonce, resp.VersionInfo = sum, resp.Nonce, fmt.Sprintf("%x", sha256.Sum256([]byte(sum)))
			nonce++
			if err := s.Send(resp); err != nil {
				return err
			}
		}
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

package sidecar

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/tracing"
	"github.com/meshd/meshd/xds/resource"
)

// A carrier is a sidecar's way of carrying connections, to one service.
type carrier struct {
	*Proxy
	authority *call.Authority
	cluster   *call.Cluster
}

func newCarrier(t *testing.T, change func(*Config, *resource.Cluster), backends ...string) *carrier {
	t.Helper()
	epoch := time.Now()
	p := &Proxy{epoch: epoch, stats: stats.NewRegistry()}
	p.cfg = Config{MaxTCP: 10, TCPIdle: time.Minute, Logger: slog.New(slog.DiscardHandler)}
	p.tracer = &call.Tracer{Sampler: tracing.NewSampler(0), Emit: func(tracing.Span) {}, Epoch: epoch}
	cluster := &resource.Cluster{
		Name: "default/db:5432", Balancer: "round_robin", ConnectTimeout: time.Second,
		Breaker: resource.Breaker{ConsecutiveFailures: 2, OpenFor: time.Minute}, Budget: resource.Budget{MinPerSecond: 10},
	}
	if change != nil {
		change(&p.cfg, cluster)
	}
	c := &carrier{Proxy: p, cluster: &call.Cluster{
		Name: cluster.Name, Now: p.now, Factory: func(resource.Cluster, resource.Endpoint) any { return nil },
	}}
	eps := &resource.Endpoints{}
	for _, b := range backends {
		eps.Endpoints = append(eps.Endpoints, resource.Endpoint{Addr: netip.MustParseAddrPort(b), Weight: 1})
	}
	if err := c.cluster.Update(cluster, eps); err != nil {
		t.Fatal(err)
	}
	svc := p.stats.Client(cluster.Name)
	c.authority = &call.Authority{Name: "db", Routes: []*call.Route{{
		Route:   resource.Route{Prefix: "/", TraceRatio: -1, Retry: resource.Retry{Attempts: 1, On: resource.RetryConnectFailure}},
		Service: svc, Stats: svc.Route(""), Clusters: []*call.Cluster{c.cluster},
	}}}
	return c
}

// carry opens a connection that is carried; the function waits until that is over.
func (c *carrier) carry(t *testing.T, first string) (*net.TCPConn, func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = near.SetDeadline(time.Now().Add(10 * time.Second))
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.connect(context.Background(), far.(*net.TCPConn), c.authority, []byte(first))
	}()
	wait := func() { _ = near.Close(); <-done }
	t.Cleanup(wait)
	return near.(*net.TCPConn), func() { <-done }
}

// ended is how many connections ended so, and asserts that nothing is left of them.
func (c *carrier) ended(t *testing.T, why stats.ErrorType) (n uint64) {
	t.Helper()
	s := c.stats.Snapshot()
	for _, series := range s.Client[0].TCP.Ended {
		if series.Error == why.String() {
			n += series.Count
		}
	}
	for _, ep := range c.cluster.Endpoints() {
		if left := ep.Load.InFlight(); left != 0 {
			t.Errorf("%d in flight", left)
		}
	}
	active, _ := c.cluster.InUse()
	if s.Client[0].TCP.Active != 0 || active != 0 || c.opaque.Load() != 0 || s.Connections.Upstream != 0 {
		t.Errorf("left: %d active, %d places, %d counted, %d upstream", s.Client[0].TCP.Active, active, c.opaque.Load(), s.Connections.Upstream)
	}
	return n
}

// backend serves connections until the test ends.
func backend(t *testing.T, handle func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			handle(c.(*net.TCPConn))
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// A process that is gone looks so through a sidecar before it, or a kernel that
// goes on accepting.
func TestTakenAndDropped(t *testing.T) {
	c := newCarrier(t, nil, backend(t, func(c *net.TCPConn) {
		_, _ = c.Read(make([]byte, 1)) // connected, and not earlier
		reset(c)
	}))
	for range 2 {
		near, wait := c.carry(t, "x")
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%v", err)
		}
		wait()
	}
	if n := c.ended(t, stats.ErrConnectionTerminated); n != 2 {
		t.Errorf("%d ended so", n)
	}
	if got := c.cluster.Endpoints()[0].Breaker.State(); got != breaker.Open {
		t.Errorf("the breaker is %v", got)
	}
	near, wait := c.carry(t, "")
	if _, err := near.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v", err)
	}
	wait()
	if n := c.ended(t, stats.ErrDestinationUnavailable); n != 1 {
		t.Errorf("%d found no endpoint", n)
	}
}

func TestEndsOfConnections(t *testing.T) {
	echo := func(c *net.TCPConn) { _, _ = io.Copy(c, c); _ = c.Close() }
	dead := "127.0.0.1:1"
	for name, tc := range map[string]struct {
		change   func(*Config, *resource.Cluster)
		backends []string
		talk     func(*net.TCPConn)
		want     stats.ErrorType
	}{
		"both have said all": {nil, []string{backend(t, echo)}, func(c *net.TCPConn) { _ = c.CloseWrite(); _, _ = io.Copy(io.Discard, c) }, stats.ErrNone},
		"the other instance": {nil, []string{dead, backend(t, echo)}, func(c *net.TCPConn) { _ = c.CloseWrite(); _, _ = io.Copy(io.Discard, c) }, stats.ErrNone},
		"refused by all":     {nil, []string{dead}, func(c *net.TCPConn) { _, _ = c.Read(make([]byte, 1)) }, stats.ErrConnectionRefused},
		"no instance":        {nil, nil, func(c *net.TCPConn) { _, _ = c.Read(make([]byte, 1)) }, stats.ErrDestinationUnavailable},
		"the client resets":  {nil, []string{backend(t, echo)}, func(c *net.TCPConn) { _, _ = c.Read(make([]byte, 5)); reset(c) }, stats.ErrClientClosed},
		"nothing moves": {func(c *Config, _ *resource.Cluster) { c.TCPIdle = 20 * time.Millisecond }, []string{backend(t, echo)},
			func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) }, stats.ErrConnectionReadTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCarrier(t, tc.change, tc.backends...)
			near, wait := c.carry(t, "first")
			tc.talk(near)
			wait()
			if n := c.ended(t, tc.want); n != 1 {
				t.Errorf("%+v", c.stats.Snapshot().Client[0].TCP)
			}
		})
	}
}

// The policy's limit is of connections that are open.
func TestLimitOfTheService(t *testing.T) {
	c := newCarrier(t, func(_ *Config, c *resource.Cluster) { c.Limits.Requests = 1 },
		backend(t, func(c *net.TCPConn) { _, _ = io.Copy(c, c); _ = c.Close() }))
	first, waitFirst := c.carry(t, "hello")
	_, _ = io.ReadFull(first, make([]byte, 5))
	second, waitSecond := c.carry(t, "hello")
	if _, err := second.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v", err)
	}
	waitSecond()
	_ = first.CloseWrite()
	waitFirst()
	if n, fine := c.ended(t, stats.ErrConnectionLimitReached), c.ended(t, stats.ErrNone); n != 1 || fine != 1 {
		t.Errorf("%d beyond the limit, %d fine", n, fine)
	}
}

// Beyond the sidecar's own bound nothing is tried.
func TestBoundOfConnections(t *testing.T) {
	c := newCarrier(t, func(cfg *Config, _ *resource.Cluster) { cfg.MaxTCP = 0 }, "127.0.0.1:1")
	near, wait := c.carry(t, "")
	if _, err := near.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v", err)
	}
	wait()
	s := c.stats.Snapshot()
	if s.Refused["connection_limit_reached"] != 1 || c.cluster.Endpoints()[0].Requests.Load() != 0 {
		t.Errorf("%v refused, %d attempts", s.Refused, c.cluster.Endpoints()[0].Requests.Load())
	}
}

package health

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/meshd/meshd/xds/resource"
)

func listen(t *testing.T) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// counted counts the connections taken.
type counted struct {
	net.Listener
	n atomic.Int32
}

func (c *counted) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.n.Add(1)
	}
	return conn, err
}

// web is a server of both kinds of HTTP.
func web(t *testing.T, h http.HandlerFunc) *counted {
	l := &counted{Listener: listen(t)}
	srv := &http.Server{Handler: h, Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return l
}

func probing(t *testing.T, check resource.HealthCheck, l net.Listener) probe {
	p := newProbe(Config{Dial: new(net.Dialer).DialContext}, "shop/cart:8080", &check, l.Addr().String())
	t.Cleanup(p.close)
	return p
}

// says checks once and compares; "" is well.
func says(t *testing.T, what string, p probe, want string) {
	t.Helper()
	err := p.check(t.Context())
	if got := ""; err != nil {
		got = err.Error()
		if want == "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	} else if want != "" {
		t.Errorf("%s: well, want %q", what, want)
	}
}

func TestHTTP(t *testing.T) {
	for _, two := range []bool{false, true} {
		var status atomic.Int32
		status.Store(200)
		var seen atomic.Pointer[http.Request]
		l := web(t, func(w http.ResponseWriter, r *http.Request) {
			seen.Store(r)
			switch s := int(status.Load()); s {
			case 1: // a sidecar with too much to do
				w.Header().Set("Proxy-Status", `meshd; error=connection_limit_reached; details="shed: wait"`)
				w.WriteHeader(503)
			case 2: // and one that has nobody
				w.Header().Set("Proxy-Status", `meshd; error=connection_refused`)
				w.WriteHeader(503)
			default:
				w.WriteHeader(s)
				_, _ = w.Write(make([]byte, 1000))
			}
		})
		p := probing(t, resource.HealthCheck{Kind: resource.HealthCheckHTTP, Path: "/ready?deep=1", HTTP2: two}, l)
		for range 5 {
			says(t, "200", p, "")
		}
		r := seen.Load()
		if r.ProtoMajor == 2 != two || r.Host != "cart.shop:8080" || r.URL.String() != "/ready?deep=1" || r.UserAgent() != userAgent ||
			r.Header.Get("meshd-priority") != "critical-plus" {
			t.Errorf("request: %v %v %v %v", r.Proto, r.Host, r.URL, r.Header)
		}
		if n := l.n.Load(); n != 1 {
			t.Errorf("%d connections for 5 checks", n)
		}
		status.Store(404)
		says(t, "404", p, "status 404")
		status.Store(302)
		says(t, "302", p, "status 302")
		status.Store(1)
		says(t, "shed", p, "")
		status.Store(2)
		says(t, "nobody", p, "status 503")
		if n := l.n.Load(); n > 4 {
			t.Errorf("%d connections", n)
		}
		status.Store(204)
		p = probing(t, resource.HealthCheck{
			Kind: resource.HealthCheckHTTP, HTTP2: two, Host: "who.example", Expect: [][2]int{{200, 300}, {404, 405}},
		}, l)
		says(t, "204", p, "")
		status.Store(404)
		says(t, "404", p, "")
		status.Store(300)
		says(t, "300", p, "status 300")
		if r := seen.Load(); r.Host != "who.example" || r.URL.Path != "/" {
			t.Errorf("request: %v %v", r.Host, r.URL)
		}
	}
}

// A server that hangs costs a timeout, and its connection: the next check is
// made on another.
func TestHanging(t *testing.T) {
	for _, check := range []resource.HealthCheck{
		{Kind: resource.HealthCheckHTTP},
		{Kind: resource.HealthCheckHTTP, HTTP2: true},
		{Kind: resource.HealthCheckGRPC},
	} {
		release := make(chan struct{})
		l := web(t, func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		})
		t.Cleanup(func() { close(release) })
		p := probing(t, check, l)
		for i := range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			if err := p.check(ctx); err == nil {
				t.Error("well")
			}
			cancel()
			if n := int(l.n.Load()); n != i+1 {
				t.Errorf("%+v: %d connections after %d checks", check, n, i+1)
			}
		}
	}
}

func TestTCP(t *testing.T) {
	l := listen(t)
	p := probing(t, resource.HealthCheck{Kind: resource.HealthCheckTCP}, l)
	says(t, "listening", p, "")
	_ = l.Close()
	says(t, "closed", p, "connection refused")
}

func TestGRPC(t *testing.T) {
	l := &counted{Listener: listen(t)}
	srv, h := grpc.NewServer(), health.NewServer()
	grpc_health_v1.RegisterHealthServer(srv, h)
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Stop(); <-done })

	whole := probing(t, resource.HealthCheck{Kind: resource.HealthCheckGRPC}, l)
	cart := probing(t, resource.HealthCheck{Kind: resource.HealthCheckGRPC, Service: "shop.Cart"}, l)
	says(t, "the server", whole, "")
	says(t, "a service that is not there", cart, "gRPC status NOT_FOUND")
	h.SetServingStatus("shop.Cart", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	says(t, "not serving", cart, "it says NOT_SERVING")
	h.SetServingStatus("shop.Cart", grpc_health_v1.HealthCheckResponse_SERVING)
	n := l.n.Load()
	for range 5 {
		says(t, "serving", cart, "")
	}
	if l.n.Load() > n+1 {
		t.Error("connections are not used again")
	}

	bare := &counted{Listener: listen(t)}
	other, end := grpc.NewServer(), make(chan struct{})
	go func() { defer close(end); _ = other.Serve(bare) }()
	t.Cleanup(func() { other.Stop(); <-end })
	says(t, "no health service", probing(t, resource.HealthCheck{Kind: resource.HealthCheckGRPC}, bare), "gRPC status UNIMPLEMENTED")

	plain := web(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	says(t, "503", probing(t, resource.HealthCheck{Kind: resource.HealthCheckGRPC}, plain), "status 503")
	shed := web(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Proxy-Status", `meshd; error=connection_limit_reached; details="shed: cutoff"`)
		w.Header().Set("Grpc-Status", "14")
	})
	says(t, "shed", probing(t, resource.HealthCheck{Kind: resource.HealthCheckGRPC}, shed), "")
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"\x00\x00\x00\x00\x02\x08\x01", ""},
		{"\x00\x00\x00\x00\x05\x12\x01x\x08\x01", ""},
		{"\x00\x00\x00\x00\x00", "UNKNOWN"},
		{"\x00\x00\x00\x00\x02\x08\x03", "SERVICE_UNKNOWN"},
		{"\x00\x00\x00\x00\x02\x08\x09", "9"},
		{"\x01\x00\x00\x00\x02\x08\x01", "compressed"},
		{"\x00\x00\x00\x00\x03\x08\x01", "of which 2 came"},
		{"\x00\x00\x00", "no message"},
		{"\x00\x00\x00\x00\x01\x08", "EOF"},
	} {
		resp := &http.Response{StatusCode: 200, Trailer: http.Header{"Grpc-Status": {"0"}}}
		err := answer(resp, []byte(c.in))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%q: %v", c.in, err)
		}
	}
	if err := answer(&http.Response{StatusCode: 200}, nil); err == nil || err.Error() != "no grpc-status" {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x02\x08\x01"))
	f.Add([]byte("\x00\x00\x00\x00\x05\x12\x01x\x08\x01"))
	f.Add(request("shop.Cart"))
	f.Add([]byte("\x00\xff\xff\xff\xff\x08\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := parse(b); err == nil && len(b) < 5 {
			t.Error("read a status from nothing")
		}
	})
}

func TestHostOf(t *testing.T) {
	for _, c := range [][3]string{
		{"", "default/checkout:8080", "checkout.default:8080"}, {"", "shop/cart", "cart.shop"},
		{"", "outside", "outside"}, {"a.example", "default/checkout:8080", "a.example"},
	} {
		if got := hostOf(c[0], c[1]); got != c[2] {
			t.Errorf("%v: %s", c, got)
		}
	}
}

package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshd/meshd/internal/testkit/process"
)

// Redirected connections, with the sidecar told by its user and by its mark:
// calls to the mesh, past the mesh, in from outside.
func TestInterception(t *testing.T) {
	for name, byUID := range map[string]bool{"by uid": true, "by mark": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, byUID)
			out := w.outside()
			front := w.pod("front", "front-0", false)
			c0 := w.pod("checkout", "checkout-0", false)
			c1 := w.pod("checkout", "checkout-1", true)

			t.Run("to the mesh", func(t *testing.T) { toTheMesh(t, front, c0, c1) })
			t.Run("to itself", func(t *testing.T) { toItself(t, c0, c1) })
			t.Run("past the mesh", func(t *testing.T) { pastTheMesh(t, front, out) })
			t.Run("opaque", func(t *testing.T) { opaque(t, front, out) })
			t.Run("inbound", func(t *testing.T) { inbound(t, w, c1) })
			t.Run("other ports", func(t *testing.T) { otherPorts(t, w, c0) })
			t.Run("removed", func(t *testing.T) { removed(t, front, c0) })
		})
	}
}

// outside is what the mesh does not know: HTTP on 80, TLS on 443, a server
// that echoes on 7000 and one that speaks first on 7001.
type outside struct{ tls *tls.Config }

func (w *world) outside() *outside {
	t := w.t
	serve(t, w.router, "[::]:80", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		_, _ = io.WriteString(rw, "outside host="+r.Host+" from="+host)
	}))
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, "secure")
	}))
	_ = secure.Listener.Close()
	secure.Listener = listen(t, w.router, "[::]:443")
	secure.StartTLS()
	t.Cleanup(secure.Close)
	stream(t, w.router, "[::]:7000", func(c net.Conn) { _, _ = io.Copy(c, c) })
	stream(t, w.router, "[::]:7001", func(c net.Conn) {
		_, _ = io.WriteString(c, "220 ready\r\n")
		line, _ := bufio.NewReader(c).ReadString('\n')
		_, _ = io.WriteString(c, "250 "+line)
	})
	return &outside{tls: secure.Client().Transport.(*http.Transport).TLSClientConfig}
}

func toTheMesh(t *testing.T, front, c0, c1 *pod) {
	const calls = 40
	for _, addr := range []string{virtual4, virtual6} {
		before := [2]int64{c0.calls.Load(), c1.calls.Load()}
		client := front.app(addr)
		for range calls {
			text, err := fetch(client, "http://checkout:8080/")
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(text, "checkout-") || !strings.HasSuffix(text, "host=checkout:8080") {
				t.Fatalf("by %s: %q", addr, text)
			}
		}
		got := [2]int64{c0.calls.Load() - before[0], c1.calls.Load() - before[1]}
		if got[0] == 0 || got[1] == 0 || got[0]+got[1] != calls {
			t.Errorf("by %s: the instances got %v of %d calls", addr, got, calls)
		}
	}
	// Each call went once through each sidecar, which counts it when its answer
	// has gone out.
	const label = `meshd_service="default/checkout:8080"`
	process.Await(t, patience, func() error {
		n := front.sidecar.counted(t, "http_client_request_duration_seconds_count", label)
		served := 0
		for _, p := range []*pod{c0, c1} {
			served += p.sidecar.counted(t, "http_server_request_duration_seconds_count", label)
		}
		if n != 2*calls || served != 2*calls {
			return fmt.Errorf("of %d calls the caller's sidecar counts %d, the instances' %d", 2*calls, n, served)
		}
		return nil
	})
	if n := front.sidecar.counted(t, "http_server_request_duration_seconds_count", ""); n != 0 {
		t.Errorf("the caller's sidecar has served %d calls", n)
	}
}

// toItself is an instance that calls its own service.
func toItself(t *testing.T, c0, c1 *pod) {
	before := [2]int64{c0.calls.Load(), c1.calls.Load()}
	client := c0.app(virtual4)
	for range 20 {
		if _, err := fetch(client, "http://checkout:8080/"); err != nil {
			t.Fatal(err)
		}
	}
	got := [2]int64{c0.calls.Load() - before[0], c1.calls.Load() - before[1]}
	if got[0] == 0 || got[1] == 0 || got[0]+got[1] != 20 {
		t.Errorf("the instances got %v of 20 calls", got)
	}
}

func pastTheMesh(t *testing.T, front *pod, out *outside) {
	for _, addr := range []string{outside4, outside6} {
		before := front.sidecar.counted(t, "meshd_passthrough_total", "")
		client := newClient(t, front.NS, appUID, map[string]string{"example.org": addr})
		text, err := fetch(client, "http://example.org/")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(text, "outside host=example.org ") {
			t.Errorf("by %s: %q", addr, text)
		}
		if n := front.sidecar.counted(t, "meshd_passthrough_total", ""); n == before {
			t.Errorf("by %s: the call did not go through the sidecar", addr)
		}
		// An address in Host is no name of the mesh.
		if text, err = fetch(client, "http://"+net.JoinHostPort(addr, "80")+"/"); err != nil || !strings.HasPrefix(text, "outside host=") {
			t.Errorf("by %s: %q, %v", addr, text, err)
		}
	}
}

// opaque is what is not HTTP: it goes where it was going, both ways, and half
// closes travel.
func opaque(t *testing.T, front *pod, out *outside) {
	for _, host := range []string{outside4, outside6} {
		before := front.sidecar.counted(t, "meshd_passthrough_total", "")
		hello := "\x00\x01binary, and not HTTP at all"
		c := front.dial(net.JoinHostPort(host, "7000"))
		say(t, c, hello)
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got := hear(t, c); got != hello {
			t.Errorf("client speaks first: %q", got)
		}

		c = front.dial(net.JoinHostPort(host, "7001"))
		r := bufio.NewReader(c)
		if line := hearLine(t, c, r); line != "220 ready\r\n" {
			t.Errorf("server speaks first: %q", line)
		}
		say(t, c, "EHLO me\n")
		if line := hearLine(t, c, r); line != "250 EHLO me\n" {
			t.Errorf("server speaks first, then: %q", line)
		}

		secure := front.dial(net.JoinHostPort(host, "443"))
		cfg := out.tls.Clone()
		cfg.ServerName = "example.com" // of httptest's certificate
		client := &http.Client{Transport: &http.Transport{
			DisableKeepAlives: true, TLSClientConfig: cfg, DialContext: func(context.Context, string, string) (net.Conn, error) { return secure, nil },
		}}
		if text, err := fetch(client, "https://example.com/"); err != nil || text != "secure" {
			t.Errorf("TLS: %q, %v", text, err)
		}
		if n := front.sidecar.counted(t, "meshd_passthrough_total", "") - before; n != 3 {
			t.Errorf("%d of 3 connections went through the sidecar", n)
		}
	}
}

// inbound is a call from outside of the mesh to the application's own port.
func inbound(t *testing.T, w *world, p *pod) {
	const label = `meshd_service="default/checkout:8080"`
	for _, addr := range []string{p.addr4, p.addr6} {
		calls, before := p.calls.Load(), p.sidecar.counted(t, "http_server_request_duration_seconds_count", label)
		client := newClient(t, w.router, appUID, nil)
		text, err := fetch(client, "http://"+net.JoinHostPort(addr, "8080")+"/")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(text, "checkout-1 ") {
			t.Errorf("by %s: %q", addr, text)
		}
		if n := p.calls.Load() - calls; n != 1 {
			t.Errorf("by %s: the application got %d calls", addr, n)
		}
		// A call is counted when its answer has gone out.
		process.Await(t, patience, func() error {
			if n := p.sidecar.counted(t, "http_server_request_duration_seconds_count", label) - before; n != 1 {
				return fmt.Errorf("by %s: the sidecar counts %d calls", addr, n)
			}
			return nil
		})
		// What is not HTTP gets to the application too, which makes of it what it may.
		c, err := dial(t.Context(), w.router, appUID, nil, net.JoinHostPort(addr, "8080"))
		if err != nil {
			t.Fatal(err)
		}
		say(t, c, "\x00\x01\n\n")
		if got := hear(t, c); !strings.HasPrefix(got, "HTTP/1.1 400 ") || strings.Contains(got, "Proxy-Status") {
			t.Errorf("by %s: opaque bytes got %q", addr, got)
		}
		_ = c.Close()
	}
}

// otherPorts are what a pod listens on beside its application: calls to those
// go where they were going, past the application.
func otherPorts(t *testing.T, w *world, p *pod) {
	serve(t, p.NS, "[::]:9090", http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(rw, "metrics")
	}))
	stream(t, p.NS, "[::]:9091", func(c net.Conn) { _, _ = io.WriteString(c, "hello\n") })
	client := newClient(t, w.router, appUID, nil)
	calls := p.calls.Load()
	for _, addr := range []string{p.addr4, p.addr6} {
		if text, err := fetch(client, "http://"+net.JoinHostPort(addr, "9090")+"/"); err != nil || text != "metrics" {
			t.Errorf("HTTP by %s: %q, %v", addr, text, err)
		}
		c, err := dial(t.Context(), w.router, appUID, nil, net.JoinHostPort(addr, "9091"))
		if err != nil {
			t.Fatal(err)
		}
		if got := hear(t, c); got != "hello\n" {
			t.Errorf("opaque by %s: %q", addr, got)
		}
		_ = c.Close()
		// What listens on loopback only is not laid open.
		for _, port := range []string{"15000", "9099"} {
			if text, err := fetch(client, "http://"+net.JoinHostPort(addr, port)+"/ready"); err == nil || !strings.Contains(err.Error(), "503 Service Unavailable") {
				t.Errorf("%s by %s, where nobody listens: %q, %v", port, addr, text, err)
			}
		}
	}
	if n := p.calls.Load() - calls; n != 0 {
		t.Errorf("the application got %d calls that were for others", n)
	}
}

// removed is the end: calls go as if there had never been a sidecar.
func removed(t *testing.T, front, c0 *pod) {
	front.redirect("remove")
	front.redirect("remove") // nothing to remove is no error
	before := front.sidecar.counted(t, "meshd_passthrough_total", "")
	client := newClient(t, front.NS, appUID, map[string]string{"example.org": outside4})
	text, err := fetch(client, "http://example.org/")
	if err != nil || !strings.HasSuffix(text, "from="+front.addr4) {
		t.Errorf("%q, %v", text, err)
	}
	if n := front.sidecar.counted(t, "meshd_passthrough_total", ""); n != before {
		t.Error("the call went through the sidecar")
	}
	c0.redirect("remove")
	served := c0.sidecar.counted(t, "http_server_request_duration_seconds_count", "")
	if text, err := fetch(client, "http://"+c0.addr4+":8080/"); err != nil || !strings.HasPrefix(text, "checkout-0 ") {
		t.Errorf("%q, %v", text, err)
	}
	if n := c0.sidecar.counted(t, "http_server_request_duration_seconds_count", ""); n != served {
		t.Error("the call went through the sidecar of the called")
	}
}

// What is not known is refused where the policy says so: HTTP with 403 and its
// reason, all else with a reset. What is known is called as ever.
func TestDeny(t *testing.T) {
	for name, byUID := range map[string]bool{"by uid": true, "by mark": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, byUID, "--outbound-policy", "deny")
			w.outside()
			front := w.pod("front", "front-0", false)
			checkout := w.pod("checkout", "checkout-0", false)
			client := newClient(t, front.NS, appUID, map[string]string{"example.org": outside4, "checkout": virtual6})

			if text, err := fetch(client, "http://checkout:8080/"); err != nil || checkout.calls.Load() != 1 {
				t.Errorf("the mesh: %q, %v", text, err)
			}
			res, err := client.Get("http://example.org/")
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			b, _ := io.ReadAll(res.Body)
			if res.StatusCode != 403 || !strings.Contains(res.Header.Get("Proxy-Status"), "error=http_request_denied") ||
				!strings.Contains(string(b), "example.org is not in the mesh") {
				t.Errorf("%s, Proxy-Status %q, %q", res.Status, res.Header.Get("Proxy-Status"), b)
			}
			for _, addr := range []string{outside4 + ":7000", "[" + outside6 + "]:7000", outside4 + ":7001"} {
				c := front.dial(addr)
				if !strings.HasSuffix(addr, "7001") {
					say(t, c, "\x16\x03\x01\x00\x05\x01hello")
				}
				_ = c.SetReadDeadline(time.Now().Add(patience))
				if n, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("%s: read %d bytes, %v; want a reset", addr, n, err)
				}
			}
			// The sidecar's own telemetry is not what it denies.
			process.Await(t, patience, func() error { return w.mesh.reported("checkout", 0) })
		})
	}
}

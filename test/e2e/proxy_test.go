package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/meshd/meshd/internal/testkit/netns"
	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/test/rig"
)

// A town is a mesh on loopback: checkout behind its sidecar, and a sidecar for
// a client that is no service's instance.
type town struct {
	*mesh
	front    *sidecar
	checkout *sidecar
}

func newTown(t *testing.T, flags ...string) *town {
	m := newMesh(t, nil, "", "")
	app := serve(t, nil, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "checkout host=%s path=%s", r.Host, r.RequestURI)
	}))
	return &town{
		mesh:     m,
		checkout: m.instance("checkout", "checkout-0", app),
		front:    m.sidecar(rig.Spec{Service: "front", Instance: "front-0", Flags: flags}),
	}
}

// instance is a sidecar of an instance, ready.
func (m *mesh) instance(service, name, app string, env ...string) *sidecar {
	m.t.Helper()
	s := m.sidecar(rig.Spec{Service: service, Instance: name, App: app, Env: env})
	m.AwaitReady(name)
	return s
}

// proxied is a client that has http_proxy set to a sidecar.
func (s *sidecar) proxied(t *testing.T) (*http.Client, *http.Transport) {
	tr := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: s.Outbound})}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}, tr
}

func TestHTTPProxy(t *testing.T) {
	town := newTown(t)
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "outside host="+r.Host+" path="+r.RequestURI)
	}))
	defer plain.Close()
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "secure")
	}))
	defer secure.Close()
	client, tr := town.front.proxied(t)
	tr.TLSClientConfig = secure.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	tr.TLSClientConfig.ServerName = "example.com" // of httptest's certificate

	_, plainPort, _ := net.SplitHostPort(plain.Listener.Addr().String())
	_, securePort, _ := net.SplitHostPort(secure.Listener.Addr().String())
	for name, tc := range map[string]struct{ url, want string }{
		"a service":        {"http://checkout:8080/a?b=c", "checkout host=checkout:8080 path=/a?b=c"},
		"no path":          {"http://checkout:8080", "checkout host=checkout:8080 path=/"},
		"another host":     {"http://localhost:" + plainPort + "/x", "outside host=localhost:" + plainPort + " path=/x"},
		"an address":       {plain.URL + "/y", "outside host=" + plain.Listener.Addr().String() + " path=/y"},
		"a tunnel":         {"https://localhost:" + securePort + "/", "secure"},
		"an address's one": {secure.URL, "secure"},
	} {
		t.Run(name, func(t *testing.T) {
			if text, err := fetch(client, tc.url); err != nil || text != tc.want {
				t.Errorf("%q, %v; want %q", text, err, tc.want)
			}
		})
	}
}

// A tunnel to a service is one to an instance of it.
func TestConnectToService(t *testing.T) {
	town := newTown(t)
	c, err := net.Dial("tcp", town.front.Outbound)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	say(t, c, "CONNECT checkout:8080 HTTP/1.1\r\nHost: checkout:8080\r\n\r\n")
	r := bufio.NewReader(c)
	if line := hearLine(t, c, r); line != "HTTP/1.1 200 OK\r\n" {
		t.Fatalf("%q", line)
	}
	if line := hearLine(t, c, r); line != "\r\n" {
		t.Fatalf("%q", line)
	}
	say(t, c, "GET /in HTTP/1.1\r\nHost: inside\r\nConnection: close\r\n\r\n")
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err != nil || string(b) != "checkout host=inside path=/in" {
		t.Errorf("%q, %v", b, err)
	}
}

// A name may be written as people write it.
func TestNames(t *testing.T) {
	town := newTown(t)
	for _, name := range []string{
		"checkout", "checkout:8080", "checkout.default", "checkout.default:8080",
		"checkout.default.svc", "checkout.default.svc:8080",
		"checkout.default.svc.cluster.local", "checkout.default.svc.cluster.local:8080",
		"CHECKOUT", "Checkout.Default.SVC.cluster.local:8080",
	} {
		for range 2 { // asked for, and known
			res := town.front.call(t, name)
			if res.status != 200 || !strings.HasPrefix(res.body, "checkout host="+name+" ") {
				t.Errorf("%s: %+v", name, res)
			}
		}
	}
	const label = `meshd_service="default/checkout:8080"`
	process.Await(t, patience, func() error {
		if n := town.front.counted(t, "http_client_request_duration_seconds_count", label); n != 20 {
			return fmt.Errorf("%d of 20 calls are counted for the one service", n)
		}
		return nil
	})
}

// An answer is what a call got.
type answer struct {
	status      int
	proxyStatus string
	body        string
}

// call is a plain call to a sidecar's port with the name in Host.
func (s *sidecar) call(t *testing.T, host string, fields ...string) answer {
	t.Helper()
	return s.callPath(t, host, "/", fields...)
}

// callPath is call of a path.
func (s *sidecar) callPath(t *testing.T, host, path string, fields ...string) answer {
	t.Helper()
	client := newClient(t, nil, 0, nil)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Outbound+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	for i := 0; i+1 < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	client.CloseIdleConnections()
	return answer{res.StatusCode, res.Header.Get("Proxy-Status"), string(b)}
}

// What cannot be served says why, to programs and to people.
func TestRefusals(t *testing.T) {
	open, closed := newTown(t), newTown(t, "--outbound-policy", "deny")
	_, port, _ := net.SplitHostPort(open.front.Outbound)
	_, adminPort, _ := net.SplitHostPort(open.front.Admin)
	gone := listen(t, nil, "127.0.0.1:0")
	nobody := gone.Addr().String()
	_ = gone.Close()
	tooLong := strings.Repeat("a", 64) + ".example" // no resolver is asked for such a label
	for name, tc := range map[string]struct {
		by        *sidecar
		host      string
		status    int
		errorType string
		line      string
	}{
		"unknown name":       {open.front, tooLong, 503, "destination_not_found", tooLong + " is not in the mesh"},
		"name without DNS":   {open.front, "checkout.onion", 503, "destination_not_found", "checkout.onion is not in the mesh"},
		"nobody listens":     {open.front, nobody, 503, "connection_refused", nobody},
		"loop by name":       {open.front, "localhost:" + port, 508, "proxy_loop_detected", "localhost:" + port + " leads back to this sidecar"},
		"loop by address":    {open.front, open.front.Outbound, 508, "proxy_loop_detected", open.front.Outbound},
		"loop by v6":         {open.front, "[::1]:" + port, 508, "proxy_loop_detected", "[::1]:" + port},
		"the admin port":     {open.front, "127.0.0.1:" + adminPort, 508, "proxy_loop_detected", "127.0.0.1:" + adminPort},
		"denied":             {closed.front, "example.org", 403, "http_request_denied", "example.org is not in the mesh, and the outbound policy is deny"},
		"denied, an address": {closed.front, nobody, 403, "http_request_denied", nobody + " is not in the mesh"},
	} {
		t.Run(name, func(t *testing.T) {
			got := tc.by.call(t, tc.host)
			if got.status != tc.status || !strings.HasPrefix(got.proxyStatus, "meshd; error="+tc.errorType+"; details=") {
				t.Errorf("%+v", got)
			}
			if !strings.HasPrefix(got.body, "meshd: ") || !strings.Contains(got.body, tc.line) || strings.Count(got.body, "\n") != 1 {
				t.Errorf("the line: %q", got.body)
			}
		})
	}
}

// A sidecar that listens on every address is reached by each of them, and
// none is a way past it.
func TestLoopOnEveryAddress(t *testing.T) {
	ns := netns.New(t)
	ns.Addr(t, "lo", "10.9.0.9/32")
	ns.Addr(t, "lo", "fd09::9/128")
	m := newMesh(t, ns, "127.0.0.1", "")
	s := m.sidecar(rig.Spec{Service: "front", Instance: "front-0", NS: ns, Flags: []string{"--outbound", "[::]:15001"}})
	client := newClient(t, ns, 0, nil)
	for _, host := range []string{"10.9.0.9", "fd09::9", "127.0.0.1", "127.0.0.2", "::1", "0.0.0.0", "::"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:15001/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = net.JoinHostPort(host, "15001")
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != 508 {
			t.Errorf("%s: %s, %s", host, res.Status, res.Header.Get("Proxy-Status"))
		}
	}
	if n := s.counted(t, "meshd_connections", "downstream"); n > 1 {
		t.Errorf("%d connections of one client", n)
	}
}

// A tunnel is refused as a call is.
func TestConnectIsRefused(t *testing.T) {
	town := newTown(t, "--outbound-policy", "deny")
	open := town.sidecar(rig.Spec{Service: "front", Instance: "front-1"})
	for name, tc := range map[string]struct {
		by     *sidecar
		target string
		want   string
	}{
		"loop":           {open, open.Outbound, "HTTP/1.1 508 "},
		"denied":         {town.front, "example.org:443", "HTTP/1.1 403 "},
		"nobody listens": {open, "127.0.0.1:1", "HTTP/1.1 503 "},
		"no port":        {open, "checkout", "HTTP/1.1 400 "},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", tc.by.Outbound)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			say(t, c, "CONNECT "+tc.target+" HTTP/1.1\r\nHost: "+tc.target+"\r\n\r\n")
			if line := hearLine(t, c, bufio.NewReader(c)); !strings.HasPrefix(line, tc.want) {
				t.Errorf("%q, want %q", line, tc.want)
			}
		})
	}
}

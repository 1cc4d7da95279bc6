package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/internal/testkit/netns"
	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/supervise"
)

// A mesh is meshd, and what a test runs beside it.
type mesh struct {
	t         *testing.T
	xds, http string
	client    *http.Client
	meshd     *process.Process
}

// newMesh starts meshd; in a namespace on the given address of it, with the
// default ports, else on free ports of loopback. objects may be empty.
func newMesh(t *testing.T, ns *netns.NS, host, objects string) *mesh {
	t.Helper()
	ports := []int{15010, 15020}
	if ns == nil {
		host, ports = "127.0.0.1", freePorts(t, 2)
	}
	m := &mesh{
		t: t, client: newClient(t, ns, 0, nil),
		xds:  net.JoinHostPort(host, strconv.Itoa(ports[0])),
		http: net.JoinHostPort(host, strconv.Itoa(ports[1])),
	}
	m.meshd = start(t, program{name: "meshd", ns: ns, path: process.Binary(t, "meshd"), args: []string{
		"--xds-addr", m.xds, "--http-addr", m.http, "--data-dir", t.TempDir()}})
	process.Await(t, patience, func() error { _, err := fetch(m.client, "http://"+m.http+"/readyz"); return err })
	if objects != "" {
		m.apply(objects)
	}
	return m
}

// apply is meshctl apply.
func (m *mesh) apply(objects string) {
	m.t.Helper()
	res, err := m.client.Post("http://"+m.http+"/api/v1/objects", "application/yaml", strings.NewReader(objects))
	if err != nil {
		m.t.Fatal(err)
	}
	defer res.Body.Close()
	if b, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK {
		m.t.Fatalf("apply: %s\n%s", res.Status, b)
	}
}

// awaitReady waits until meshd gives these instances to callers.
func (m *mesh) awaitReady(ids ...string) {
	m.t.Helper()
	process.Await(m.t, patience, func() error {
		var s api.Status
		if err := fetchJSON(m.client, "http://"+m.http+"/api/v1/status", &s); err != nil {
			return err
		}
		ready := map[string]bool{}
		for _, svc := range s.Services {
			for _, i := range svc.Instances {
				ready[i.ID] = i.Ready
			}
		}
		for _, id := range ids {
			if !ready[id] {
				return fmt.Errorf("%s is not ready: %+v", id, s.Services)
			}
		}
		return nil
	})
}

// A sidecar is one that runs, and where.
type sidecar struct {
	*process.Process
	outbound, inbound, admin string
	client                   *http.Client // reaches admin
}

// spec says what a sidecar is beside.
type spec struct {
	service, instance string
	app               string // empty: a client only
	ns                *netns.NS
	advertise         string // in a namespace: the pod's address
	uid               int
	flags, env        []string
}

// sidecar starts one, and waits until it serves.
func (m *mesh) sidecar(s spec) *sidecar {
	m.t.Helper()
	out := &sidecar{
		outbound: "127.0.0.1:15001", inbound: "[::]:15006", admin: "127.0.0.1:15000",
		client: newClient(m.t, s.ns, 0, nil),
	}
	if s.ns == nil {
		for i, p := range freePorts(m.t, 3) {
			*[]*string{&out.outbound, &out.inbound, &out.admin}[i] = net.JoinHostPort("127.0.0.1", strconv.Itoa(p))
		}
	}
	if s.app == "" {
		out.inbound = ""
	}
	args := []string{
		"--service", s.service, "--instance", s.instance, "--meshd", m.xds, "--service-port", "8080",
		"--outbound", out.outbound, "--inbound", out.inbound, "--admin", out.admin,
		"--app", s.app, "--advertise", s.advertise,
	}
	out.Process = start(m.t, program{
		name: "sidecar " + s.instance, ns: s.ns, uid: s.uid, env: s.env,
		path: process.Binary(m.t, "sidecar"), args: append(args, s.flags...),
	})
	process.Await(m.t, patience, func() error { _, err := out.get("/ready"); return err })
	return out
}

func (s *sidecar) get(path string) (string, error) { return fetch(s.client, "http://"+s.admin+path) }

// counted is a sum of the sidecar's Prometheus samples of one name whose
// labels contain the given text.
func (s *sidecar) counted(t *testing.T, name, labels string) int {
	t.Helper()
	text, err := s.get("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for line := range strings.Lines(text) {
		sample, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if of, rest, _ := strings.Cut(sample, "{"); !ok || of != name || !strings.Contains(rest, labels) {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		sum += v
	}
	return int(sum)
}

// newClient is an HTTP client that calls from a namespace as a user; nil: from
// the test's own. names are the addresses of hosts, as DNS would have them.
func newClient(t *testing.T, ns *netns.NS, uid int, names map[string]string) *http.Client {
	tr := &http.Transport{DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
		return dial(ctx, ns, uid, names, addr)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

func dial(ctx context.Context, ns *netns.NS, uid int, names map[string]string, addr string) (c net.Conn, err error) {
	if host, port, err := net.SplitHostPort(addr); err == nil && names[host] != "" {
		addr = net.JoinHostPort(names[host], port)
	}
	d := net.Dialer{Timeout: 5 * time.Second}
	if ns == nil {
		return d.DialContext(ctx, "tcp", addr)
	}
	// Looked up here, a name would be looked up outside of the namespace.
	if _, err := netip.ParseAddrPort(addr); err != nil {
		return nil, err
	}
	err = ns.DoAs(uid, func() error { c, err = d.DialContext(ctx, "tcp", addr); return err })
	return c, err
}

// listen is net.Listen in a namespace.
func listen(t *testing.T, ns *netns.NS, addr string) (l net.Listener) {
	t.Helper()
	open := func() (err error) { l, err = net.Listen("tcp", addr); return err }
	run := open
	if ns != nil {
		run = func() error { return ns.Do(open) }
	}
	if err := run(); err != nil {
		t.Fatal(err)
	}
	return l
}

// serve is an application: HTTP on addr until the test ends. It returns the
// bound address.
func serve(t *testing.T, ns *netns.NS, addr string, h http.Handler) string {
	t.Helper()
	l := listen(t, ns, addr)
	srv := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return l.Addr().String()
}

// fetch is a GET whose answer is to be 200.
func fetch(c *http.Client, url string) (string, error) {
	res, err := c.Get(url)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("GET %s: %s: %s", url, res.Status, b)
	}
	return string(b), nil
}

func fetchJSON(c *http.Client, url string, v any) error {
	text, err := fetch(c, url)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), v)
}

func freePorts(t *testing.T, n int) []int {
	t.Helper()
	ports, err := supervise.FreePorts(n, nil)
	if err != nil {
		t.Fatal(err)
	}
	return ports
}

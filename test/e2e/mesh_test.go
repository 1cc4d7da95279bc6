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

	"github.com/meshd/meshd/internal/testkit/netns"
	"github.com/meshd/meshd/test/rig"
)

// A mesh is meshd, and what a test runs beside it.
type mesh struct {
	*rig.Mesh
	t      *testing.T
	client *http.Client // reaches meshd
}

// newMesh starts meshd; in a namespace on the given address of it, with the
// default ports, else on free ports of loopback. objects may be empty.
func newMesh(t *testing.T, ns *netns.NS, host, objects string) *mesh {
	t.Helper()
	m := &mesh{t: t, client: newClient(t, ns, 0, nil)}
	if ns != nil {
		m.Mesh = rig.NewIn(t, ns, host)
	} else {
		m.Mesh = rig.New(t)
	}
	if objects != "" {
		m.Apply(objects)
	}
	return m
}

// A sidecar is one that runs, and where.
type sidecar struct {
	*rig.Sidecar
	client *http.Client // from where it runs
}

// sidecar starts one, and waits until it serves.
func (m *mesh) sidecar(s rig.Spec) *sidecar {
	m.t.Helper()
	return &sidecar{m.Sidecar(m.t, s), newClient(m.t, s.NS, 0, nil)}
}

func (s *sidecar) get(path string) (text string, err error) {
	err = s.Get(path, &text)
	return text, err
}

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

// Package rig is a mesh of real processes on loopback, for whole-system tests:
// meshd, and sidecars beside applications that the test itself runs.
package rig

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/internal/testkit/netns"
	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/supervise"
)

// Patience is for what is only waited for, not measured.
const Patience = 15 * time.Second

// A Mesh is meshd, and what a test runs beside it.
type Mesh struct {
	XDS, HTTP string // where meshd listens
	Meshd     *process.Process

	t      testing.TB
	client *http.Client
}

// New starts meshd and waits until it serves. The test's end ends it, as it
// does all that is started here.
func New(t testing.TB) *Mesh {
	t.Helper()
	a := Addrs(t, 2)
	return start(t, nil, a[0], a[1])
}

// NewIn is New in a namespace, with the default ports of an address there.
func NewIn(t testing.TB, ns *netns.NS, host string) *Mesh {
	t.Helper()
	return start(t, ns, net.JoinHostPort(host, "15010"), net.JoinHostPort(host, "15020"))
}

func start(t testing.TB, ns *netns.NS, xds, http string) *Mesh {
	t.Helper()
	m := &Mesh{XDS: xds, HTTP: http, t: t, client: newClient(t, ns)}
	m.Meshd = process.Run(t, process.Spec{NS: ns, Path: process.Binary(t, "meshd"), Args: []string{
		"--xds-addr", m.XDS, "--http-addr", m.HTTP, "--data-dir", t.TempDir()}})
	process.Await(t, Patience, func() error { return get(m.client, "http://"+m.HTTP+"/readyz", nil) })
	return m
}

// newClient opens a connection a call, so that none outlives the test.
func newClient(t testing.TB, ns *netns.NS) *http.Client {
	tr := &http.Transport{DisableKeepAlives: true}
	if ns != nil {
		tr.DialContext = func(ctx context.Context, network, addr string) (c net.Conn, err error) {
			err = ns.Do(func() error { c, err = (&net.Dialer{}).DialContext(ctx, network, addr); return err })
			return c, err
		}
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: Patience}
}

// Apply gives meshd objects, as YAML; all must be valid.
func (m *Mesh) Apply(objects string) {
	m.t.Helper()
	res, err := m.client.Post("http://"+m.HTTP+"/api/v1/objects", "application/yaml", strings.NewReader(objects))
	if err != nil {
		m.t.Fatal(err)
	}
	defer res.Body.Close()
	if b, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK {
		m.t.Fatalf("apply: %s\n%s", res.Status, b)
	}
}

// AwaitReady waits until meshd gives these instances to callers, and no other
// of their services.
func (m *Mesh) AwaitReady(ids ...string) {
	m.t.Helper()
	process.Await(m.t, Patience, func() error {
		var s api.Status
		if err := get(m.client, "http://"+m.HTTP+"/api/v1/status", &s); err != nil {
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

// A Spec says what a sidecar is beside.
type Spec struct {
	Service  string
	Instance string // the service's name if empty
	App      string // where the application listens; empty: a client only
	Port     string // that callers name; 8080 if empty
	Outbound string // where the application calls; a free port if empty
	Flags    []string
	Env      []string  // beside the test's own
	NS       *netns.NS // where it runs, on the default ports; nil: as the test does, on free ones
	UID      int       // its user; 0: the test's own

	Advertise string // the address that callers get; empty: as the sidecar has it
}

// A Sidecar is one that runs, and where it listens.
type Sidecar struct {
	*process.Process
	Outbound, Inbound, Admin string

	client *http.Client
}

// Sidecar starts one, and waits until it serves.
func (m *Mesh) Sidecar(t testing.TB, s Spec) *Sidecar {
	t.Helper()
	a := []string{"127.0.0.1:15001", "[::]:15006", "127.0.0.1:15000"}
	if s.NS == nil {
		a = Addrs(t, 3)
	}
	out := &Sidecar{Outbound: a[0], Inbound: a[1], Admin: a[2], client: newClient(t, s.NS)}
	if s.Outbound != "" {
		out.Outbound = s.Outbound
	}
	if s.App == "" {
		out.Inbound = ""
	}
	if s.Port == "" {
		s.Port = "8080"
	}
	if s.Instance == "" {
		s.Instance = s.Service
	}
	args := []string{
		"--service", s.Service, "--instance", s.Instance, "--service-port", s.Port, "--meshd", m.XDS,
		"--outbound", out.Outbound, "--inbound", out.Inbound, "--admin", out.Admin, "--app", s.App,
		"--advertise", s.Advertise,
	}
	out.Process = process.Run(t, process.Spec{
		Name: "sidecar " + s.Instance, Path: process.Binary(t, "sidecar"), Args: append(args, s.Flags...),
		Env: append(os.Environ(), s.Env...), NS: s.NS, UID: s.UID,
	})
	process.Await(t, Patience, func() error { return out.Get("/ready", nil) })
	return out
}

// Get reads the admin port; JSON goes into v, text if that is a *string, and
// nothing if it is nil.
func (s *Sidecar) Get(path string, v any) error { return get(s.client, "http://"+s.Admin+path, v) }

func get(c *http.Client, url string, v any) error {
	res, err := c.Get(url)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	switch v := v.(type) {
	case nil:
	case *string:
		*v = string(b)
	default:
		if err == nil && res.StatusCode == http.StatusOK {
			err = json.Unmarshal(b, v)
		}
	}
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s: %s", url, res.Status, b)
	}
	return err
}

// Addrs are n free addresses of loopback, outside of the range from which
// outgoing connections take theirs.
func Addrs(t testing.TB, n int) []string {
	t.Helper()
	ports, err := supervise.FreePorts(n, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range ports {
		out = append(out, net.JoinHostPort("127.0.0.1", strconv.Itoa(p)))
	}
	return out
}

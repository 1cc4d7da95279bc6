package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/internal/testkit/process"
	testrig "github.com/meshd/meshd/test/rig"
)

const (
	// service is the one that is called, servicePort what its callers name.
	service     = "checkout"
	servicePort = 8080
	authority   = "checkout:8080"
)

// patience is for what is only waited for, not measured.
const patience = 15 * time.Second

// A rig is a mesh of its own: meshd, and what a test runs beside it.
type rig struct {
	t          *testing.T
	dir        string
	xds, http  string
	meshd      *process.Process
	api        *api.Client
	transport  *http.Transport
	meshdFlags []string
}

// start runs a program with env added to the test's own.
func start(t *testing.T, name string, env []string, path string, args ...string) *process.Process {
	t.Helper()
	return process.Run(t, process.Spec{Name: name, Env: append(os.Environ(), env...), Path: path, Args: args})
}

func newRig(t *testing.T, meshdFlags ...string) *rig {
	t.Helper()
	a := testrig.Addrs(t, 2)
	r := &rig{t: t, dir: t.TempDir(), xds: a[0], http: a[1], transport: &http.Transport{DisableKeepAlives: true}, meshdFlags: meshdFlags}
	if err := os.Mkdir(r.apps(), 0o700); err != nil {
		t.Fatal(err)
	}
	client, err := api.NewClient("http://" + r.http)
	if err != nil {
		t.Fatal(err)
	}
	r.api = client
	t.Cleanup(client.Close)
	r.startMeshd()
	return r
}

func (r *rig) apps() string { return filepath.Join(r.dir, "apps") }

func (r *rig) data() string { return filepath.Join(r.dir, "meshd") }

// startMeshd starts meshd on the same addresses and the same data each time.
func (r *rig) startMeshd() {
	r.t.Helper()
	args := append([]string{"--xds-addr", r.xds, "--http-addr", r.http, "--data-dir", r.data()}, r.meshdFlags...)
	r.meshd = start(r.t, "meshd", nil, process.Binary(r.t, "meshd"), args...)
	process.Await(r.t, patience, func() error { return r.get("http://"+r.http+"/readyz", nil) })
}

// get decodes JSON into v, if it is not nil.
func (r *rig) get(url string, v any) error {
	resp, err := (&http.Client{Transport: r.transport, Timeout: 2 * time.Second}).Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	if v == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(v)
}

// run is meshctl run of the service.
func (r *rig) run(replicas int, flags ...string) *process.Process {
	r.t.Helper()
	args := []string{
		"--meshd", "http://" + r.http, "run", "--name", service, "--port", strconv.Itoa(servicePort),
		"--replicas", strconv.Itoa(replicas), "--meshd-xds", r.xds, "--sidecar", process.Binary(r.t, "sidecar"),
		"--state-dir", filepath.Join(r.dir, "state"),
		"--env", roleEnv + "=app", "--env", appDirEnv + "=" + r.apps(),
	}
	args = append(append(args, flags...), "--", os.Args[0])
	return start(r.t, "meshctl run", nil, process.Binary(r.t, "meshctl"), args...)
}

// meshctl runs a command to its end and returns what it printed.
func (r *rig) meshctl(args ...string) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	args = append([]string{"--meshd", "http://" + r.http}, args...)
	out, err := exec.CommandContext(ctx, process.Binary(r.t, "meshctl"), args...).CombinedOutput()
	if err != nil {
		r.t.Fatalf("meshctl %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// apply gives the service a TrafficPolicy; spec is what stands beside its
// targetRefs.
func (r *rig) apply(spec string) {
	r.t.Helper()
	file := filepath.Join(r.dir, "policy.yaml")
	text := fmt.Sprintf("apiVersion: meshd.io/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: chaos}\n"+
		"spec:\n  targetRefs: [{kind: Service, name: %s}]\n  %s\n", service, spec)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.meshctl("apply", "-f", file)
}

// instances are the service's, as meshd knows them.
func (r *rig) instances() ([]api.Instance, error) {
	s, err := r.api.Status(r.t.Context())
	if err != nil {
		return nil, err
	}
	for _, svc := range s.Services {
		if svc.Name == service && svc.Port == servicePort {
			return svc.Instances, nil
		}
	}
	return nil, nil
}

// awaitReady waits until exactly n instances are registered and all are ready.
func (r *rig) awaitReady(n int) []api.Instance {
	r.t.Helper()
	var all []api.Instance
	process.Await(r.t, patience, func() (err error) {
		if all, err = r.instances(); err != nil {
			return err
		}
		ready := 0
		for _, i := range all {
			if i.Ready && !i.Draining {
				ready++
			}
		}
		if ready != n || len(all) != n {
			return fmt.Errorf("%d instances registered, %d ready, want %d", len(all), ready, n)
		}
		return nil
	})
	return all
}

// app is the process of an instance's application.
func (r *rig) app(instance string) appInfo {
	r.t.Helper()
	var info appInfo
	b, err := os.ReadFile(filepath.Join(r.apps(), instance))
	if err == nil {
		err = json.Unmarshal(b, &info)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return info
}

// mode tells an application how to behave.
func (r *rig) mode(instance, mode string) {
	r.t.Helper()
	if err := r.get("http://"+r.app(instance).Addr+"/-/mode?set="+mode, nil); err != nil {
		r.t.Fatal(err)
	}
}

// A client is a sidecar without an instance, through which a test calls.
type client struct {
	*process.Process
	rig             *rig
	outbound, admin string
	flags           []string
}

// client starts one, which knows the service when it returns.
func (r *rig) client(flags ...string) *client {
	r.t.Helper()
	a := testrig.Addrs(r.t, 2)
	c := &client{rig: r, outbound: a[0], admin: a[1], flags: flags}
	c.start()
	return c
}

// start starts the sidecar, with the same addresses each time, and makes one
// call.
func (c *client) start() {
	t := c.rig.t
	t.Helper()
	args := append([]string{
		"--service", "caller", "--meshd", c.rig.xds, "--inbound", "", "--outbound", c.outbound, "--admin", c.admin,
	}, c.flags...)
	c.Process = start(t, "the client's sidecar", nil, process.Binary(t, "sidecar"), args...)
	process.Await(t, patience, func() error {
		r := load{addr: c.outbound, host: authority}
		_, err := r.once()
		return err
	})
}

// once makes one call on a connection of its own.
func (l load) once() (instance string, err error) {
	var c caller
	defer c.close()
	l.method = http.MethodGet
	return c.call(&running{load: l, request: []byte("GET / HTTP/1.1\r\nHost: " + l.host + "\r\n\r\n")})
}

// load is calls of the service through the client.
func (c *client) load(rate float64) load {
	return load{addr: c.outbound, host: authority, rate: rate}
}

// An endpoint is one in a sidecar's /config_dump.
type endpoint struct {
	Address, ID, Breaker string
	InFlight             int64
	Open, Idle           int
}

// endpoints of the service, as the client knows them.
func (c *client) endpoints() ([]endpoint, error) {
	var dump struct {
		Clusters []struct {
			Name      string
			Endpoints []endpoint
		}
	}
	if err := c.rig.get("http://"+c.admin+"/config_dump", &dump); err != nil {
		return nil, err
	}
	for _, cl := range dump.Clusters {
		if cl.Name == "default/"+authority {
			return cl.Endpoints, nil
		}
	}
	return nil, nil
}

// awaitEndpoints waits until the client knows exactly n.
func (c *client) awaitEndpoints(n int) time.Duration {
	c.rig.t.Helper()
	return process.Await(c.rig.t, patience, func() error {
		eps, err := c.endpoints()
		if err == nil && len(eps) != n {
			err = fmt.Errorf("%d endpoints, want %d", len(eps), n)
		}
		return err
	})
}

// watch looks at the number of the client's endpoints until it is called: it
// returns the distinct numbers that it saw, in their order of size.
func (c *client) watch() (seen func() []int) {
	end := make(chan struct{})
	var wg sync.WaitGroup
	var numbers []int
	wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			if eps, err := c.endpoints(); err == nil && !slices.Contains(numbers, len(eps)) {
				numbers = append(numbers, len(eps))
			}
			select {
			case <-tick.C:
			case <-end:
				return
			}
		}
	})
	stop := sync.OnceFunc(func() { close(end); wg.Wait(); slices.Sort(numbers) })
	c.rig.t.Cleanup(stop)
	return func() []int { stop(); return numbers }
}

package translate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/mesh"
	"github.com/meshd/meshd/xds/cache"
	"github.com/meshd/meshd/xds/resource"
	"github.com/meshd/meshd/xds/server"
)

// TestEnvoy: Envoy takes the clusters and routes of each protocol from meshd's
// own server, and speaks to the endpoints what they are said to.
func TestEnvoy(t *testing.T) {
	binary := findEnvoy(t)
	backend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }))
	backend.Config.Protocols = protocols(true, true)
	backend.Start()
	t.Cleanup(backend.Close)

	var names, objects []string
	for _, s := range spoken {
		names = append(names, s.name)
		objects = append(objects, fmt.Sprintf("{apiVersion: v1, kind: Service, metadata: {name: %s}, spec: {ports: [{port: 80, appProtocol: %q}]}}", s.name, s.appProtocol))
	}
	for name, b := range balanced {
		objects = append(objects, fmt.Sprintf("{apiVersion: meshd.io/v1alpha1, kind: TrafficPolicy, metadata: {name: %s}, spec: {targetRefs: [{kind: Service, name: %[1]s}], %s}}", name, b.spec))
	}
	state := meshOf(t, strings.Join(objects, "\n---\n"), names, netip.MustParseAddrPort(backend.Listener.Addr().String()))
	srv := server.New(server.Config{Cache: stateCache(state)})
	xds := serve(t, func(g *grpc.Server) { srv.Register(g) })
	t.Cleanup(srv.Wait)

	dir := t.TempDir()
	config, admin := filepath.Join(dir, "envoy.yaml"), filepath.Join(dir, "admin")
	if err := os.WriteFile(config, []byte(bootstrap(xds)), 0o644); err != nil {
		t.Fatal(err)
	}
	envoy := process.Run(t, process.Spec{Path: binary, Args: []string{"-c", config, "--concurrency", "1", "--use-dynamic-base-id",
		"--admin-address-path", admin, "--log-level", "warning"}})
	listeners := listenersOf(t, admin, envoy)
	for _, s := range spoken {
		for version, want := range map[string]string{"HTTP/1.1": s.overHTTP1, "HTTP/2.0": s.overHTTP2} {
			process.Await(t, 10*time.Second, func() error {
				got, err := get(t, listeners[s.name], version)
				if err == nil && got != want {
					err = fmt.Errorf("the endpoint was spoken to in %q, want %q", got, want)
				}
				if err != nil {
					return fmt.Errorf("%s, called in %s: %w\n%s", s.name, version, err, &envoy.Out)
				}
				return nil
			})
		}
	}
	dump, err := get(t, readAdmin(t, admin)+"/config_dump", "HTTP/1.1")
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range balanced {
		if b.envoy != "" && !strings.Contains(dump, fmt.Sprintf("%q: %q", "lb_policy", b.envoy)) {
			t.Errorf("%s: Envoy has no cluster of %s", name, b.envoy)
		}
	}
	checkTreated(t, listeners["treated"])
	for _, c := range srv.Clients() {
		if c.Nacked > 0 {
			t.Errorf("%s refused: %s", c.ID, c.LastNack)
		}
	}
}

// checkTreated: Envoy does to calls what the policy of "treated" says.
func checkTreated(t *testing.T, addr string) {
	t.Helper()
	if _, err := get(t, addr, "HTTP/1.1", "X-Fault", "yes"); err == nil || !strings.HasPrefix(err.Error(), "418 ") {
		t.Errorf("a call with a fault gives %v, want 418", err)
	}
	for range 31 {
		if _, err := get(t, addr, "HTTP/1.1"); err != nil {
			if !strings.HasPrefix(err.Error(), "429 ") {
				t.Errorf("a call too many gives %v, want 429", err)
			}
			return
		}
	}
	t.Error("31 calls were let through, want 30 at most")
}

// spoken is what an endpoint sees of calls over either HTTP. The one of TCP
// is behind a TCP proxy.
var spoken = []struct{ name, appProtocol, overHTTP1, overHTTP2 string }{
	{"auto", "", "HTTP/1.1", "HTTP/2.0"},
	{"http1", "http", "HTTP/1.1", "HTTP/1.1"},
	{"grpc", "grpc", "HTTP/2.0", "HTTP/2.0"},
	{"tcp", "tcp", "HTTP/1.1", "HTTP/2.0"},
	{"ring", "", "HTTP/1.1", "HTTP/2.0"},
	{"maglev", "", "HTTP/1.1", "HTTP/2.0"},
	{"random", "", "HTTP/1.1", "HTTP/2.0"},
	{"weighted", "", "HTTP/1.1", "HTTP/2.0"},
	{"plain", "", "HTTP/1.1", "HTTP/2.0"},
	{"watched", "", "HTTP/1.1", "HTTP/2.0"},
	{"asked", "grpc", "HTTP/2.0", "HTTP/2.0"},
	{"treated", "", "HTTP/1.1", "HTTP/2.0"},
}

// balanced are the policies of some of them, and the policy that Envoy then says it has.
var balanced = map[string]struct{ spec, envoy string }{
	"ring": {`balancer: ring_hash, hash: {by: [{header: x-user, terminal: true}, {cookie: {name: s, ttl: 1h, path: /}}, {query: q}, {sourceAddress: true}, {path: true}],
		loadFactor: 1.5, ringSize: {min: 100, max: 2000}}`, "RING_HASH"},
	"maglev":   {"balancer: maglev, hash: {by: [{path: true}], tableSize: 251}, locality: {zoneAware: false}", "MAGLEV"},
	"random":   {"balancer: random, panicThreshold: 0", "RANDOM"},
	"weighted": {"balancer: weighted_round_robin, slowStart: {window: 1m, aggression: 2, minWeight: 0.07}, subset: 3", ""},
	"plain":    {"balancer: least_request, slowStart: {window: 0s}", "LEAST_REQUEST"},
	"watched": {`outlierDetection: {jitter: 1s, latencyFactor: 2, successRate: {stdevFactor: 0}},
		healthCheck: {http: {path: /ready, host: h, http2: true, expectedStatuses: [200-299]}, unhealthyInterval: 1s}`, ""},
	"asked": {"outlierDetection: {consecutiveFailures: 0, failurePercentage: {threshold: 0}}, healthCheck: {grpc: {service: s}, noTrafficInterval: 1h}, panicThreshold: 1", ""},
	"treated": {`session: {cookie: s}, priority: sheddable, limits: {sharedRequests: 9}, admission: {max: 5}, healthCheck: {tcp: {}},
		rateLimit: {requests: 2, per: 1h, burst: 30, scope: mesh}, mirror: [{service: plain, port: 80, percent: 1}, {service: nobody, port: 80}],
		fault: {delay: {duration: 1ms, percent: 50}, abort: {httpStatus: 418, percent: 100}, headers: [{name: x-fault, regex: "y.s"}]}`, ""},
}

func findEnvoy(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"../../.cache/envoy/bin/envoy", "envoy"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("envoy is not here to ask")
	return ""
}

func protocols(http1, http2 bool) *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(http1)
	p.SetUnencryptedHTTP2(http2)
	return p
}

// meshOf has one instance of each service, all at addr.
func meshOf(t *testing.T, objects string, services []string, addr netip.AddrPort) *mesh.State {
	t.Helper()
	parsed, errs := mesh.Parse("", []byte(objects))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	var instances []mesh.Instance
	for _, s := range services {
		instances = append(instances, mesh.Instance{
			ID: s + "-0", Namespace: "default", Service: s, ServicePort: 80, Address: addr.Addr(), Port: addr.Port(), Weight: 1, Ready: true,
		})
	}
	return mesh.Build(nil, time.Now(), parsed, instances)
}

// stateCache holds what a client without API listeners asks for.
func stateCache(s *mesh.State) *cache.Cache {
	made := map[string]func(mesh.Backend) *anypb.Any{resource.ClusterType: Cluster, resource.EndpointsType: Endpoints, resource.RouteType: Route}
	c := cache.New()
	c.Set(cache.View{
		Resource: func(k cache.Key) *anypb.Any {
			key, _ := mesh.ParseServiceKey(k.Name)
			b, ok := s.Service(key)
			if !ok || made[k.Type] == nil {
				return nil
			}
			return made[k.Type](b)
		},
		Names: func(typ string) []string {
			var names []string
			for _, k := range s.Keys() {
				names = append(names, k.String())
			}
			slices.Sort(names)
			return names
		},
	})
	return c
}

// bootstrap has a listener for each service, on a port that Envoy chooses.
func bootstrap(xds netip.AddrPort) string {
	var b strings.Builder
	fmt.Fprintf(&b, `
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
node: {id: envoy, cluster: test}
dynamic_resources:
  ads_config: {api_type: GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: meshd}}]}
  cds_config: {ads: {}, resource_api_version: V3}
static_resources:
  clusters:
  - name: meshd
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: meshd
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %d}}}}]}]
  listeners:
`, xds.Addr(), xds.Port())
	for _, s := range spoken {
		filter := fmt.Sprintf(`
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: %s
          rds: {route_config_name: "default/%[1]s:80", config_source: {ads: {}, resource_api_version: V3}}
          http_filters:
          - name: envoy.filters.http.fault
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault}
          - name: envoy.filters.http.local_ratelimit
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit, stat_prefix: limit}
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
`, s.name)
		if s.appProtocol == "tcp" {
			filter = fmt.Sprintf(`
      - name: tcp
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: %s
          cluster: "default/%[1]s:80"
`, s.name)
		}
		fmt.Fprintf(&b, "  - name: %s\n    address: {socket_address: {address: 127.0.0.1, port_value: 0}}\n    filter_chains:\n    - filters:%s", s.name, filter)
	}
	return b.String()
}

func readAdmin(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// listenersOf asks Envoy where its listeners are.
func listenersOf(t *testing.T, adminFile string, envoy *process.Process) map[string]string {
	t.Helper()
	at := map[string]string{}
	process.Await(t, 20*time.Second, func() error {
		admin, err := os.ReadFile(adminFile)
		if err != nil {
			return fmt.Errorf("%w\n%s", err, &envoy.Out)
		}
		body, err := get(t, string(admin)+"/listeners", "HTTP/1.1")
		for line := range strings.Lines(body) {
			if name, addr, ok := strings.Cut(strings.TrimSpace(line), "::"); ok {
				at[name] = addr
			}
		}
		if err == nil && len(at) < len(spoken) {
			err = errors.New("not all listeners are there:\n" + body)
		}
		return err
	})
	return at
}

// get is the body of the answer to one call, in that version of HTTP, with
// these headers.
func get(t *testing.T, addr, version string, headers ...string) (string, error) {
	tr := &http.Transport{Protocols: protocols(version == "HTTP/1.1", version == "HTTP/2.0"), DialContext: (&net.Dialer{Timeout: time.Second}).DialContext}
	defer tr.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr, nil)
	if err != nil {
		return "", err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return string(body), err
}

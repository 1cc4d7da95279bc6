package translate

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	grpcmetadata "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/xds"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/mesh"
	"github.com/meshd/meshd/xds/cache"
	"github.com/meshd/meshd/xds/resource"
	"github.com/meshd/meshd/xds/server"
)

func routeGoldens(t *testing.T) []golden {
	t.Helper()
	paths, err := filepath.Glob("testdata/routes/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	var out []golden
	for _, p := range paths {
		a, err := txtar.ParseFile(p)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, golden{p, a})
	}
	return out
}

// TestRouteGolden: what routes become, which Envoy's own rules are content with.
func TestRouteGolden(t *testing.T) {
	for _, g := range routeGoldens(t) {
		a := Route(g.backend(t))
		got := readable(t, a)
		if *update {
			g.put("route.json", got)
			if err := os.WriteFile(g.path, txtar.Format(g.archive), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if want := g.file("route.json"); !bytes.Equal(got, want) {
			t.Errorf("%s is\n%s\nwant\n%s\n(go test -update writes it)", g.path, got, want)
		}
		m, err := a.UnmarshalNew()
		if err != nil {
			t.Fatal(err)
		}
		if err := m.(validator).ValidateAll(); err != nil {
			t.Errorf("%s: %v", g.path, err)
		}
		if again := Route(g.backend(t)); !bytes.Equal(again.Value, a.Value) {
			t.Errorf("%s differs the second time", g.path)
		}
	}
}

// TestSidecarReadsRoutes: every route reads back as what the objects say.
func TestSidecarReadsRoutes(t *testing.T) {
	for _, g := range routeGoldens(t) {
		b := g.backend(t)
		rc, err := resource.DecodeRouteConfig(Route(b))
		if err != nil {
			t.Fatalf("%s: %v", g.path, err)
		}
		got := rc.VirtualHosts[0].Routes
		for i := range b.Routes {
			for _, want := range readAs(t, &b, &b.Routes[i]) {
				if len(got) == 0 {
					t.Fatalf("%s: there is no %+v", g.path, want)
				}
				r := resource.Route{
					Name: got[0].Name, Service: got[0].Service, Path: got[0].Path, Prefix: got[0].Prefix, Headers: got[0].Headers, Query: got[0].Query,
					Clusters: got[0].Clusters, Mirrors: got[0].Mirrors, Unknown: got[0].Unknown, Timeout: got[0].Timeout,
				}
				if !reflect.DeepEqual(r, want) {
					t.Errorf("%s: route is\n%+v, want\n%+v", g.path, r, want)
				}
				got = got[1:]
			}
		}
		if len(got) > 0 {
			t.Errorf("%s: there is %+v", g.path, got)
		}
	}
}

// readAs is what a sidecar is to read of a route, beside what follows from its policy.
func readAs(t *testing.T, b *mesh.Backend, r *mesh.Route) []resource.Route {
	t.Helper()
	out := resource.Route{Name: r.Name, Service: b.Key.String(), Unknown: 500, Timeout: r.Policy.Timeout.Request}
	if m := r.Match.Method; m != "" {
		out.Headers = append(out.Headers, resource.HeaderMatch{Name: ":method", Exact: m})
	}
	regex := func(m mesh.ValueMatch) (string, *resource.Regex) {
		if !m.Regex {
			return m.Value, nil
		}
		re, err := resource.NewRegex(m.Value)
		if err != nil {
			t.Fatal(err)
		}
		return "", re
	}
	for _, m := range r.Match.Headers {
		exact, re := regex(m)
		out.Headers = append(out.Headers, resource.HeaderMatch{Name: m.Name, Exact: exact, Regex: re})
	}
	for _, m := range r.Match.Query {
		exact, re := regex(m)
		out.Query = append(out.Query, resource.QueryMatch{Name: m.Name, Exact: exact, Regex: re})
	}
	for _, w := range r.Backends {
		out.Clusters = append(out.Clusters, resource.WeightedCluster{Name: w.Service.String(), Weight: w.Weight})
	}
	for _, m := range r.Mirrors {
		out.Mirrors = append(out.Mirrors, resource.Mirror{Cluster: m.Service.String(), Share: m.Share})
	}
	switch len(out.Clusters) {
	case 0:
		out.Mirrors, out.Timeout = nil, 0
	case 1:
		out.Clusters[0].Weight = 1
	}
	switch p := r.Match.Path; {
	case !r.Match.Prefix:
		out.Path = p
	case p == "/":
		out.Prefix = p
	default:
		below := out
		out.Path, below.Prefix = p, p+"/"
		return []resource.Route{out, below}
	}
	return []resource.Route{out}
}

// routed are the routes that Envoy and gRPC are asked to follow.
const routed = `
{apiVersion: v1, kind: Service, metadata: {name: shop}, spec: {ports: [{port: 80}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: shop}]
  rules:
  - matches: [{path: {value: /canary}}, {headers: [{name: x-canary, value: always}]}, {queryParams: [{name: v, value: "2"}]}, {method: PUT}]
    backendRefs: [{name: canary, port: 80}]
  - matches: [{path: {value: /split}}]
    backendRefs: [{name: shop, port: 80, weight: 3}, {name: canary, port: 80, weight: 1}]
  - matches: [{path: {value: /own}}]
    filters: [{type: RequestMirror, requestMirror: {backendRef: {name: audit, port: 80}}}]
  - matches: [{path: {value: /gone}}]
    backendRefs: [{name: gone, port: 80}]
  - matches: [{path: {value: /none}}]
    backendRefs: [{name: shop, port: 80, weight: 0}]
`

// routedMesh runs meshd's server with instances of each service of routed.
func routedMesh(t *testing.T, objects string, at map[string]netip.AddrPort) (*server.Server, netip.AddrPort) {
	t.Helper()
	parsed, errs := mesh.Parse("", []byte(objects))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	var instances []mesh.Instance
	for s, addr := range at {
		instances = append(instances, mesh.Instance{
			ID: s + "-0", Namespace: "default", Service: s, ServicePort: 80, Address: addr.Addr(), Port: addr.Port(), Weight: 1, Ready: true,
		})
	}
	state := mesh.Build(nil, time.Now(), parsed, instances)
	made := map[string]func(mesh.Backend) *anypb.Any{resource.ClusterType: Cluster, resource.EndpointsType: Endpoints, resource.RouteType: Route}
	c := cache.New()
	c.Set(cache.View{
		Resource: func(k cache.Key) *anypb.Any {
			if k.Type == resource.ListenerType {
				key, _ := state.Resolve(k.Name, k.Namespace)
				b, ok := state.Service(key)
				if !ok {
					return nil
				}
				return Listener(k.Name, b)
			}
			key, _ := mesh.ParseServiceKey(k.Name)
			if b, ok := state.Service(key); ok {
				return made[k.Type](b)
			}
			return nil
		},
		Names: func(string) []string {
			var names []string
			for _, k := range state.Keys() {
				names = append(names, k.String())
			}
			return names
		},
	})
	srv := server.New(server.Config{Cache: c})
	addr := serve(t, func(g *grpc.Server) { srv.Register(g) })
	t.Cleanup(srv.Wait)
	return srv, addr
}

// TestEnvoyRoutes: Envoy follows routes as Gateway API means them.
func TestEnvoyRoutes(t *testing.T) {
	binary := findEnvoy(t)
	at := map[string]netip.AddrPort{}
	var mirrored atomic.Int64
	for _, name := range []string{"shop", "canary", "audit"} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if name == "audit" {
				mirrored.Add(1)
			}
			_, _ = io.WriteString(w, name)
		}))
		t.Cleanup(s.Close)
		at[name] = netip.MustParseAddrPort(s.Listener.Addr().String())
	}
	srv, xdsAddr := routedMesh(t, routed, at)
	dir := t.TempDir()
	config, admin := filepath.Join(dir, "envoy.yaml"), filepath.Join(dir, "admin")
	static, _, _ := strings.Cut(bootstrap(xdsAddr), "  listeners:\n")
	err := os.WriteFile(config, []byte(static+`  listeners:
  - name: shop
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: shop
          rds: {route_config_name: "default/shop:80", config_source: {ads: {}, resource_api_version: V3}}
          http_filters:
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
`), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	envoy := process.Run(t, process.Spec{Path: binary, Args: []string{"-c", config, "--concurrency", "1", "--use-dynamic-base-id",
		"--admin-address-path", admin, "--log-level", "warning"}})
	var addr string
	process.Await(t, 20*time.Second, func() error {
		b, err := os.ReadFile(admin)
		if err != nil {
			return fmt.Errorf("%w\n%s", err, &envoy.Out)
		}
		body, err := get(t, string(b)+"/listeners", "HTTP/1.1")
		_, addr, _ = strings.Cut(strings.TrimSpace(body), "::")
		if err == nil && addr == "" {
			err = fmt.Errorf("no listener yet: %s", body)
		}
		return err
	})
	tr := new(http.Transport)
	defer tr.CloseIdleConnections()
	ask := func(method, target, header string) string {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		if header != "" {
			req.Header.Set("X-Canary", header)
		}
		res, err := tr.RoundTrip(req)
		if err != nil {
			return err.Error()
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		if res.StatusCode != 200 {
			return res.Status
		}
		return string(body)
	}
	process.Await(t, 10*time.Second, func() error {
		if got := ask("GET", "/own", ""); got != "shop" {
			return fmt.Errorf("%s\n%s", got, &envoy.Out)
		}
		return nil
	})
	for _, c := range []struct{ method, target, header, want string }{
		{"GET", "/canary", "", "canary"}, {"GET", "/canary/x", "", "canary"}, {"GET", "/canary?x", "", "canary"}, {"GET", "/canaryx", "", "404 Not Found"},
		{"GET", "/x", "always", "canary"}, {"GET", "/x", "never", "404 Not Found"}, {"GET", "/x?a=b&v=2", "", "canary"}, {"GET", "/x?v=22", "", "404 Not Found"},
		{"PUT", "/x", "", "canary"}, {"PUT", "/own", "", "shop"}, // a longer path comes before a method
		{"GET", "/gone", "", "500 Internal Server Error"}, {"GET", "/none", "", "500 Internal Server Error"},
	} {
		if got := ask(c.method, c.target, c.header); got != c.want {
			t.Errorf("%s %s (%s): %s, want %s", c.method, c.target, c.header, got, c.want)
		}
	}
	counts := map[string]int{}
	for range 400 {
		counts[ask("GET", "/split", "")]++
	}
	if c := counts["canary"]; c < 60 || c > 140 || c+counts["shop"] != 400 {
		t.Errorf("a split of 3:1 is %v", counts)
	}
	process.Await(t, 5*time.Second, func() error {
		if n := mirrored.Load(); n < 2 {
			return fmt.Errorf("%d calls were mirrored", n)
		}
		return nil
	})
	for _, c := range srv.Clients() {
		if c.Nacked > 0 {
			t.Errorf("%s refused: %s", c.ID, c.LastNack)
		}
	}
}

// TestGRPCRoutes: so does gRPC's own client, as far as it knows of them.
func TestGRPCRoutes(t *testing.T) {
	at := map[string]netip.AddrPort{}
	serving := grpc_health_v1.HealthCheckResponse_SERVING
	for name, s := range map[string]grpc_health_v1.HealthCheckResponse_ServingStatus{"shop": serving, "canary": grpc_health_v1.HealthCheckResponse_NOT_SERVING} {
		h := health.NewServer()
		h.SetServingStatus("", s)
		at[name] = serve(t, func(g *grpc.Server) { grpc_health_v1.RegisterHealthServer(g, h) })
	}
	srv, addr := routedMesh(t, `
{apiVersion: v1, kind: Service, metadata: {name: shop}, spec: {ports: [{port: 80, appProtocol: grpc}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: canary}, spec: {ports: [{port: 80, appProtocol: grpc}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: shop}]
  rules:
  - matches: [{method: {service: grpc.health.v1.Health, method: Check}, headers: [{name: x-canary, value: always}]}]
    backendRefs: [{name: canary, port: 80}]
  - matches: [{method: {service: grpc.health.v1.Health}, headers: [{name: x-split, value: .+, type: RegularExpression}]}]
    backendRefs: [{name: canary, port: 80}, {name: shop, port: 80}]
    filters: [{type: RequestMirror, requestMirror: {backendRef: {name: canary, port: 80}, percent: 50}}]
  - matches: [{method: {service: grpc.health.v1.Health, method: Check}, headers: [{name: x-none, value: always}]}]
    backendRefs: [{name: shop, port: 80, weight: 0}]
  - matches: [{method: {service: grpc.health.v1.Health}}]
`, at)
	resolver, err := xds.NewXDSResolverWithConfigForTesting(fmt.Appendf(nil,
		`{"xds_servers": [{"server_uri": %q, "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}], "node": {"id": "test"}}`, addr))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("xds:///shop:80", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithResolvers(resolver))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := grpc_health_v1.NewHealthClient(conn)
	ask := func(header string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if header != "" {
			ctx = grpcmetadata.AppendToOutgoingContext(ctx, header, "always")
		}
		res, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(header != "x-none"))
		return map[bool]string{true: "shop", false: "canary"}[res.GetStatus() == serving], err
	}
	for header, want := range map[string]string{"": "shop", "x-canary": "canary", "x-other": "shop"} {
		if got, err := ask(header); err != nil || got != want {
			t.Errorf("with %q: %s, %v; want %s", header, got, err, want)
		}
	}
	counts := map[string]int{}
	for range 200 {
		got, err := ask("x-split")
		if err != nil {
			t.Fatal(err)
		}
		counts[got]++
	}
	if c := counts["canary"]; c < 60 || c > 140 {
		t.Errorf("a split of 1:1 is %v", counts)
	}
	if _, err := ask("x-none"); status.Code(err) == codes.OK {
		t.Error("a call that has nowhere to go is answered")
	}
	for _, c := range srv.Clients() {
		if c.Nacked > 0 {
			t.Errorf("%s refused: %s", c.ID, c.LastNack)
		}
	}
}

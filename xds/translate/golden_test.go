package translate

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/meshd/meshd/mesh"
	"github.com/meshd/meshd/xds/resource"
)

var update = flag.Bool("update", false, "write the goldens")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// outputs are the files of a golden, in order.
var outputs = []string{"listener.json", "route.json", "cluster.json", "endpoints.json"}

// A golden is a txtar file: what is asked for, the objects and instances that
// there are, and what is answered.
type golden struct {
	path    string
	archive *txtar.Archive
}

func goldens(t *testing.T) []golden {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txtar")
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

func (g golden) file(name string) []byte {
	for _, f := range g.archive.Files {
		if f.Name == name {
			return f.Data
		}
	}
	return nil
}

func (g golden) backend(t *testing.T) mesh.Backend {
	t.Helper()
	objects, errs := mesh.Parse("input.yaml", g.file("input.yaml"))
	for _, err := range errs {
		t.Fatal(err)
	}
	var instances []mesh.Instance
	if data := g.file("instances.json"); data != nil {
		if err := json.Unmarshal(data, &instances); err != nil {
			t.Fatal(err)
		}
	}
	key, ok := mesh.ParseServiceKey(strings.TrimSpace(string(g.file("ask"))))
	if !ok {
		t.Fatal("no service is asked for")
	}
	b, ok := mesh.Build(nil, time.Unix(0, 0), objects, instances).Service(key)
	if !ok {
		t.Fatalf("no service %v", key)
	}
	b.SessionKey = "key of " + key.String()
	return b
}

// translate makes all resources of a backend, by the names in outputs.
func translate(b mesh.Backend) map[string]*anypb.Any {
	return map[string]*anypb.Any{
		"listener.json":  Listener("checkout.shop:80", b),
		"route.json":     Route(b),
		"cluster.json":   Cluster(b),
		"endpoints.json": Endpoints(b),
	}
}

func TestGolden(t *testing.T) {
	for _, g := range goldens(t) {
		t.Run(filepath.Base(g.path), func(t *testing.T) {
			resources := translate(g.backend(t))
			for _, name := range outputs {
				got := readable(t, resources[name])
				if *update {
					g.put(name, got)
				} else if want := g.file(name); !bytes.Equal(got, want) {
					t.Errorf("%s is\n%s\nwant\n%s\n(go test -update writes it)", name, got, want)
				}
			}
			if *update {
				if err := os.WriteFile(g.path, txtar.Format(g.archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func (g golden) put(name string, data []byte) {
	for i := range g.archive.Files {
		if g.archive.Files[i].Name == name {
			g.archive.Files[i].Data = data
			return
		}
	}
	g.archive.Files = append(g.archive.Files, txtar.File{Name: name, Data: data})
}

// readable writes a resource as JSON that is the same in every build, which
// protojson's is not.
func readable(t *testing.T, a *anypb.Any) []byte {
	t.Helper()
	b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	b, err = json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

// Equal services give equal bytes, however often they are asked for.
func TestDeterministic(t *testing.T) {
	for _, g := range goldens(t) {
		b := g.backend(t)
		first := translate(b)
		for range 20 {
			for name, a := range translate(b) {
				if !proto.Equal(a, first[name]) || !bytes.Equal(a.Value, first[name].Value) {
					t.Fatalf("%s %s differs", g.path, name)
				}
			}
		}
	}
}

// validator is what the generated messages have: Envoy's own checks.
type validator interface{ ValidateAll() error }

func TestEnvoyRules(t *testing.T) {
	for _, g := range goldens(t) {
		for name, a := range translate(g.backend(t)) {
			m, err := a.UnmarshalNew()
			if err != nil {
				t.Fatal(err)
			}
			if err := m.(validator).ValidateAll(); err != nil {
				t.Errorf("%s %s: %v", g.path, name, err)
			}
		}
	}
}

// What the sidecar reads is what the policy says.
func TestSidecarReads(t *testing.T) {
	for _, g := range goldens(t) {
		b := g.backend(t)
		resources := translate(b)
		l, err := resource.DecodeListener(resources["listener.json"])
		if err != nil {
			t.Fatalf("%s: %v", g.path, err)
		}
		if l.RouteName != b.Key.String() {
			t.Errorf("%s: route name %q", g.path, l.RouteName)
		}
		rc, err := resource.DecodeRouteConfig(resources["route.json"])
		if err != nil {
			t.Fatalf("%s: %v", g.path, err)
		}
		checkRoute(t, g.path, &b, &rc.VirtualHosts[0].Routes[0])
		c, err := resource.DecodeCluster(resources["cluster.json"])
		if err != nil {
			t.Fatalf("%s: %v", g.path, err)
		}
		checkCluster(t, g.path, &b, c)
		e, err := resource.DecodeEndpoints(resources["endpoints.json"])
		if err != nil {
			t.Fatalf("%s: %v", g.path, err)
		}
		checkEndpoints(t, g.path, &b, e)
	}
}

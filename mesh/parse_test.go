package mesh

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// full has every field that an object may have.
const full = `# comment
apiVersion: v1
kind: Service
metadata:
  name: checkout
  namespace: shop
  labels: {team: pay}
  annotations: {note: "\x7f 😀 on 2020-01-01"}
  uid: 1-2-3
  creationTimestamp: 2024-01-01T00:00:00Z
  managedFields: [{manager: kubectl}]
spec:
  selector: {app: checkout}
  clusterIP: 10.0.0.1
  clusterIPs: [10.0.0.1, "fd00::1"]
  type: NodePort
  sessionAffinity: None
  ports:
  - {name: http, port: 80, targetPort: 8080, protocol: TCP, appProtocol: http, nodePort: 30080}
  - {name: dns, port: 53, targetPort: dns, protocol: UDP}
status: {loadBalancer: {}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: checkout-abc
  namespace: shop
  labels: {kubernetes.io/service-name: checkout}
  annotations: {meshd.io/weight: "3"}
addressType: IPv4
endpoints:
- addresses: [10.1.0.1]
  conditions: {ready: true, serving: true, terminating: false}
  hostname: a
  zone: eu-1a
  nodeName: node-1
  targetRef: {kind: Pod, namespace: shop, name: checkout-1, uid: x}
- addresses: [10.1.0.2]
  conditions: {ready: null}
ports:
- {name: http, port: 8080, protocol: TCP}
---
{"apiVersion": "meshd.io/v1alpha1", "kind": "TrafficPolicy", "metadata": {"name": "checkout", "namespace": "shop"},
	"spec": {"targetRefs": [{"group": "", "kind": "Service", "name": "checkout", "port": 80}], "balancer": "ring_hash",
	"hash": {"by": [{"header": "X-User", "terminal": true}, {"cookie": {"name": "s", "ttl": "0s", "path": "/"}}, {"query": "q"}, {"sourceAddress": true}, {"path": true}],
		"loadFactor": 1.5, "ringSize": {"min": 10, "max": 20}, "tableSize": 7},
	"slowStart": {"window": "1m", "aggression": 2, "minWeight": 0.2}, "locality": {"zoneAware": false, "minEndpoints": 1},
	"reports": {"blackout": "0s", "expiration": "1m", "update": "2s", "errorPenalty": 2}, "panicThreshold": 0, "subset": 9,
	"timeout": {"request": "3s", "attempt": "1s", "connect": "100ms", "idle": "1m"},
	"retry": {"attempts": 1, "when": [503, "reset"], "backoff": {"base": "1s"}, "budget": {"ratio": 0.5, "minPerSecond": 1}, "bufferBytes": 0},
	"breaker": {"disabled": false, "consecutiveFailures": 0, "errorRatio": 1, "minRequests": 1, "window": "1s", "openFor": "1s", "halfOpenRequests": 1},
	"limits": {"connections": 1, "pending": 0, "requests": 3},
	"headers": {"via": true, "forwarded": "rfc7239"}, "tracing": {"ratio": 1}}}
`

func TestParseFull(t *testing.T) {
	objects := mustParse(t, full)
	if len(objects) != 3 {
		t.Fatalf("%d objects, want 3", len(objects))
	}
	for i, want := range []int{2, 23, 43} {
		if got := objects[i].Head().Line; got != want {
			t.Errorf("%s: line %d, want %d", objects[i].Head().Key, got, want)
		}
	}
	p := objects[2].(*TrafficPolicy)
	if got, want := p.Policy.Retry.When, []string{"503", "reset"}; !reflect.DeepEqual(got, want) {
		t.Errorf("retry.when %v, want %v", got, want)
	}
	if b := p.Policy.Retry; b.BackoffMax != b.BackoffBase {
		t.Errorf("backoff.max %v should be raised to base %v", b.BackoffMax, b.BackoffBase)
	}
	wantBalancing := Balancing{
		Hash: Hash{
			By: []HashSource{{Header: "x-user", Terminal: true}, {Cookie: "s", Generate: true, CookiePath: "/"},
				{Query: "q"}, {SourceAddress: true}, {Path: true}},
			LoadFactor: 1.5, RingMin: 10, RingMax: 20, TableSize: 7,
		},
		SlowStart: SlowStart{time.Minute, 2, 0.2}, Locality: Locality{false, 1},
		Reports: Reports{0, time.Minute, 2 * time.Second, 2}, Subset: 9,
	}
	if !reflect.DeepEqual(p.Policy.Balancing, wantBalancing) {
		t.Errorf("balancing is\n%+v, want\n%+v", p.Policy.Balancing, wantBalancing)
	}
	s := objects[1].(*EndpointSlice)
	if s.Weight != 3 || s.Endpoints[0].ID != "checkout-1" || s.Endpoints[1].Health != Healthy {
		t.Errorf("slice is %+v", s)
	}
	reparse(t, objects)
}

// reparse checks that the JSON of objects reads back to the same.
func reparse(t *testing.T, objects []Object) {
	t.Helper()
	for _, o := range objects {
		again, errs := Parse(o.Head().File, o.Head().JSON)
		if len(errs) > 0 || len(again) != 1 {
			t.Fatalf("%s reads back as %d objects, errors %v", o.Head().JSON, len(again), errs)
		}
		again[0].Head().Line = o.Head().Line
		if !reflect.DeepEqual(again[0], o) {
			t.Errorf("%s reads back as\n%+v, was\n%+v", o.Head().JSON, again[0], o)
		}
		if !json.Valid(o.Head().JSON) {
			t.Errorf("not JSON: %s", o.Head().JSON)
		}
	}
}

func TestParsePolicyDefaults(t *testing.T) {
	objects := mustParse(t, "{apiVersion: meshd.io/v1alpha1, kind: TrafficPolicy, metadata: {name: a}, spec: {targetRefs: [{kind: Service, name: b}]}}")
	if got := objects[0].(*TrafficPolicy); !reflect.DeepEqual(got.Policy, DefaultPolicy()) || got.Namespace != "default" {
		t.Errorf("got %+v", got)
	}
}

func TestParseList(t *testing.T) {
	objects, errs := Parse("l.yaml", []byte(`apiVersion: v1
kind: List
metadata: {resourceVersion: ""}
items:
- {apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80}]}}
- {apiVersion: v1, kind: Service, metadata: {name: b}, spec: {ports: [{port: 0}]}}
- {apiVersion: v1, kind: Service, metadata: {name: c}, spec: {ports: [{port: 80}]}}
`))
	if len(objects) != 2 || objects[1].Head().Line != 7 {
		t.Errorf("got %d objects", len(objects))
	}
	want := `l.yaml:6: Service default/b: spec.ports[0].port: value "0": accepted is a whole number from 1 to 65535`
	if len(errs) != 1 || errs[0].Error() != want {
		t.Errorf("got %v\nwant %s", errs, want)
	}
}

// A document that cannot be read takes no other with it.
func TestParseSyntaxError(t *testing.T) {
	objects, errs := Parse("f.yaml", []byte(`%YAML 1.1
---
# nothing
---
{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80}]}}
--- # broken
a: [
--- {apiVersion: v1, kind: Service, metadata: {name: b}, spec: {ports: [{port: 80}]}}
...
---
null
`))
	if len(objects) != 2 || objects[1].Head().Line != 8 {
		t.Errorf("got %d objects", len(objects))
	}
	if len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), "f.yaml:7: not YAML: ") {
		t.Errorf("got %v", errs)
	}
}

func TestParseBounds(t *testing.T) {
	bomb := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat("*"+string(c-1)+", ", 10), ", "))
	}
	for name, tt := range map[string]struct{ in, want string }{
		"bytes":    {strings.Repeat("#", MaxBytes+1), "f: 16777217 bytes; accepted are 16777216 in one file: divide it"},
		"aliases":  {bomb, "f:1: its aliases repeat too much; accepted are 100000 values"},
		"cycle":    {"a: &a [*a]", "f:1: nested too deep; accepted are 64 levels"},
		"depth":    {strings.Repeat("[", 100) + strings.Repeat("]", 100), "f:1: nested too deep; accepted are 64 levels"},
		"binary":   {"\x00\x01", "f:1: not YAML: control characters are not allowed"},
		"encoding": {"a: \xff\xff", "f:1: not YAML: invalid leading UTF-8 octet"},
	} {
		objects, errs := Parse("f", []byte(tt.in))
		if len(objects) != 0 || len(errs) != 1 || errs[0].Error() != tt.want {
			t.Errorf("%s: got %v, want %s", name, errs, tt.want)
		}
	}
	const one = "---\n{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80}]}}\n"
	objects, errs := Parse("f", []byte(strings.Repeat(one, MaxObjects+2)))
	if len(objects) != MaxObjects || len(errs) != 1 {
		t.Errorf("%d objects, %v", len(objects), errs)
	}
}

// An anchor may be used twice where the bounds allow it.
func TestParseAlias(t *testing.T) {
	objects := mustParse(t, `
apiVersion: v1
kind: Service
metadata: {name: &n a, labels: {app: *n}}
spec: {selector: &s {app: *n}, ports: [{port: 80}]}
`)
	if s := objects[0].(*Service); s.Labels["app"] != "a" || s.Selector["app"] != "a" {
		t.Errorf("got %+v", s)
	}
	reparse(t, objects)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte("kind: List\nitems: [{kind: Service}, *a, &a null]"))
	f.Add([]byte("a: &a {<<: *a}\n--- !!binary x\n...\n%\n"))
	for _, tt := range refused {
		f.Add([]byte(tt.in))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		objects, errs := Parse("f", data)
		for _, err := range errs {
			if e := err.(*Error); e.Problem == "" || e.Object != (Key{}) && e.Object.Name == "" {
				t.Errorf("poor error %#v", e)
			}
		}
		reparse(t, objects)
		s := Build(nil, zeroTime, objects, nil)
		for _, k := range s.Keys() {
			if again, ok := ParseServiceKey(k.String()); !ok || again != k {
				t.Errorf("key %v reads back as %v", k, again)
			}
			if _, ok := s.Service(k); !ok {
				t.Errorf("no service %v", k)
			}
		}
	})
}

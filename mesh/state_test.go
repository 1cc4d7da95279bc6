package mesh

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

var zeroTime = time.Unix(0, 0)

const shop = `
{apiVersion: v1, kind: Service, metadata: {name: checkout, namespace: shop},
 spec: {ports: [{name: admin, port: 9000}, {name: http, port: 80, targetPort: 8080}, {name: dns, port: 53, protocol: UDP}],
  clusterIP: 10.96.0.5, clusterIPs: [10.96.0.5, "fd00:96::5"]}}
---
{apiVersion: v1, kind: Service, metadata: {name: cart, namespace: shop}, spec: {ports: [{port: 8080}]}}
`

func TestResolve(t *testing.T) {
	s := Build(nil, zeroTime, mustParse(t, shop), []Instance{instance("pay-0", 7000), instance("pay-1", 6000)})
	for _, tt := range []struct{ authority, namespace, want string }{
		{"checkout", "shop", "shop/checkout:80"},
		{"CheckOut.Shop", "", "shop/checkout:80"},
		{"checkout.", "shop", "shop/checkout:80"},
		{"checkout:9000", "shop", "shop/checkout:9000"},
		{"checkout.shop:80", "x", "shop/checkout:80"},
		{"checkout.shop.svc", "x", "shop/checkout:80"},
		{"checkout.shop.svc.cluster.local", "x", "shop/checkout:80"},
		{"checkout.shop.svc.cluster.local.:80", "x", "shop/checkout:80"},
		{"cart", "shop", "shop/cart:8080"},
		{"pay", "", "default/pay:6000"}, // no Service object: the lowest port
		{"pay:7000", "default", "default/pay:7000"},

		{"10.96.0.5:9000", "x", "shop/checkout:9000"},
		{"10.96.0.5", "", "shop/checkout:80"},
		{"[fd00:96::5]:80", "", "shop/checkout:80"},
		{"[FD00:96:0::5]", "", "shop/checkout:80"},

		{"checkout", "", ""},
		{"10.96.0.5:53", "", ""},
		{"10.96.0.5:0", "", ""},
		{"10.96.0.5.:80", "", ""},
		{"10.96.0.6:80", "", ""},
		{"[10.96.0.5]:80", "", ""},
		{"fd00:96::5", "", ""},
		{"[fd00:96::5%eth0]:80", "", ""},
		{"[fd00:96::5:80", "", ""},
		{"[fd00:96::5]80", "", ""},
		{"[", "", ""},
		{"checkout:53", "shop", ""},
		{"checkout:81", "shop", ""},
		{"checkout:", "shop", ""},
		{"checkout:+80", "shop", ""},
		{"checkout:080000", "shop", ""},
		{"checkout:80:80", "shop", ""},
		{"checkout..", "shop", ""},
		{"checkout..svc", "shop", ""},
		{".checkout", "shop", ""},
		{"checkout.shop.svc.cluster", "", ""},
		{"checkout.shop.example.com", "", ""},
		{"user@checkout", "shop", ""},
		{"[::1]:80", "shop", ""},
		{"10.0.0.1:80", "shop", ""},
		{"", "shop", ""},
		{strings.Repeat("a", 1000), "shop", ""},
	} {
		got, ok := s.Resolve(tt.authority, tt.namespace)
		if ok != (tt.want != "") || ok && got.String() != tt.want {
			t.Errorf("%q in %q is %v %v, want %q", tt.authority, tt.namespace, got, ok, tt.want)
		}
	}
}

func FuzzResolve(f *testing.F) {
	f.Add("checkout.shop.svc.cluster.local.:80", "shop")
	f.Add("[::1]:80", "")
	f.Add("checkout..:0", "a")
	f.Add("10.96.0.5:9000", "")
	f.Add("[fd00:96::5]", "")
	objects, _ := Parse("", []byte(shop))
	s := Build(nil, zeroTime, objects, nil)
	f.Fuzz(func(t *testing.T, authority, namespace string) {
		if k, ok := s.Resolve(authority, namespace); ok && !s.Has(k) {
			t.Errorf("%q is %v, which is not there", authority, k)
		}
		if k, ok := ParseServiceKey(authority); ok {
			if again, ok := ParseServiceKey(k.String()); !ok || again != k {
				t.Errorf("%q is %v, then %v", authority, k, again)
			}
		}
	})
}

func instance(id string, port uint16) Instance {
	name, _, _ := strings.Cut(id, "-")
	return Instance{
		ID: id, Namespace: "default", Service: name, ServicePort: port, Weight: 1, Ready: true,
		Address: netip.MustParseAddr("127.0.0.1"), Port: 31000 + uint16(id[len(id)-1]-'0'),
	}
}

func describe(b Backend) string {
	var out []string
	for _, e := range b.Endpoints {
		s := fmt.Sprintf("%s=%s*%d", e.ID, e.Addr, e.Weight)
		if e.Zone != "" {
			s += "@" + e.Zone
		}
		out = append(out, s+[]string{"", " draining", " unready"}[e.Health])
	}
	return strings.Join(out, ", ")
}

const slicesYAML = `
{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [%s]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: a-1, labels: {kubernetes.io/service-name: a}, annotations: {meshd.io/weight: "2"}}
addressType: IPv4
ports: [%s]
endpoints:
- {addresses: [10.0.0.5, 10.0.0.50], zone: z2, hostname: h}
- {addresses: [10.0.0.4], zone: z2, targetRef: {name: four}}
- {addresses: [10.0.0.3], conditions: {ready: false}}
- {addresses: [10.0.0.2], conditions: {ready: false, serving: true, terminating: true}}
- {addresses: [10.0.0.1], conditions: {ready: false, serving: false, terminating: true}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a-2, labels: {kubernetes.io/service-name: a}},
 addressType: IPv6, ports: [%[2]s], endpoints: [{addresses: ["fd00::1"]}]}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a-3, labels: {kubernetes.io/service-name: a}},
 addressType: IPv4, ports: [%[2]s], endpoints: [{addresses: ["10.0.0.2"]}]}
`

func TestEndpointsOfSlices(t *testing.T) {
	at := func(port string) string {
		return strings.ReplaceAll("=10.0.0.2:P*1, =[fd00::1]:P*1, four=10.0.0.4:P*2@z2, h=10.0.0.5:P*2@z2", "P", port)
	}
	for _, tt := range []struct{ servicePort, slicePort, want string }{
		{"{port: 80}", "{port: 8080}", at("8080")}, // both without a name
		{"{port: 80, name: http}", "{port: 8080, name: http}", at("8080")},
		{"{port: 80, name: http, targetPort: 8080}", "{port: 8080}", at("8080")},
		{"{port: 80, name: http, targetPort: web}", "{port: 8080, name: web}", at("8080")},
		{"{port: 80, name: http, targetPort: 8080}", "{port: 9, name: x}, {port: 8080, name: http}", at("8080")},
		{"{port: 80, targetPort: 8080}", "{}", at("8080")}, // all ports
		{"{port: 80, name: http}", "{port: 8080, name: web}", ""},
		{"{port: 80, name: http}", "{port: 8080, name: http, protocol: UDP}", ""},
	} {
		s := Build(nil, zeroTime, mustParse(t, fmt.Sprintf(slicesYAML, tt.servicePort, tt.slicePort)), nil)
		b, ok := s.Service(ServiceKey{"default", "a", 80})
		if got := describe(b); !ok || got != tt.want {
			t.Errorf("Service port %s, slice port %s\n got %s\nwant %s", tt.servicePort, tt.slicePort, got, tt.want)
		}
	}
}

func TestEndpointsOfInstances(t *testing.T) {
	a0, a1, a2, a3 := instance("a-0", 80), instance("a-1", 80), instance("a-2", 80), instance("a-3", 81)
	a0.Weight, a0.Zone = 5, "z"
	a1.Ready = false
	a2.Draining = true
	s := Build(nil, zeroTime, nil, []Instance{a3, a2, a1, a0})
	for port, want := range map[uint16]string{80: "a-0=127.0.0.1:31000*5@z", 81: "a-3=127.0.0.1:31003*1"} {
		if b, ok := s.Service(ServiceKey{"default", "a", port}); !ok || describe(b) != want {
			t.Errorf("port %d: %s, want %s", port, describe(b), want)
		}
	}
	if _, ok := s.Service(ServiceKey{"default", "a", 82}); ok {
		t.Error("port 82 is there")
	}
}

// Where an address is both registered and in a slice, it is there once, as
// the instance says.
func TestEndpointsOfBoth(t *testing.T) {
	objects := mustParse(t, `
{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a, labels: {kubernetes.io/service-name: a}}, addressType: IPv4,
 ports: [{port: 31000}], endpoints: [{addresses: [127.0.0.1]}, {addresses: [127.0.0.2]}]}
`)
	a := instance("a-0", 80)
	for ready, want := range map[bool]string{true: "a-0=127.0.0.1:31000*1, =127.0.0.2:31000*1", false: "=127.0.0.2:31000*1"} {
		a.Ready = ready
		b, _ := Build(nil, zeroTime, objects, []Instance{a}).Service(a.Key())
		if got := describe(b); got != want {
			t.Errorf("ready %v: %s, want %s", ready, got, want)
		}
	}
}

func TestPolicies(t *testing.T) {
	policy := func(name, target, balancer string) string {
		return fmt.Sprintf("---\n{apiVersion: meshd.io/v1alpha1, kind: TrafficPolicy, metadata: {name: %s}, spec: {balancer: %s, targetRefs: [{kind: Service, %s}]}}\n", name, balancer, target)
	}
	objects := mustParse(t, policy("z", "name: a", "least_request")+policy("b", "name: a, port: 80", "round_robin")+
		policy("c", "name: a, port: 80", "least_request")+policy("z", "name: a", "round_robin"))
	s := Build(nil, zeroTime, objects, []Instance{instance("a-0", 80), instance("a-1", 81), instance("b-0", 80)})
	for key, want := range map[ServiceKey]string{
		{"default", "a", 80}: "round_robin", {"default", "a", 81}: "least_request", {"default", "b", 80}: "peak_ewma",
	} {
		if b, _ := s.Service(key); b.Policy.Balancer != want {
			t.Errorf("%v has %s, want %s", key, b.Policy.Balancer, want)
		}
	}
	want := []string{
		"test.yaml:8: TrafficPolicy default/z: is in test.yaml:2 too, which counts: accepted is each object once",
		"test.yaml:6: TrafficPolicy default/c: spec.targetRefs[0]: Service a port 80 has a policy, TrafficPolicy b, whose name is first in lexical order: accepted is one policy for a target",
	}
	var got []string
	for _, err := range s.Problems() {
		got = append(got, err.Error())
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("problems\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(s.Objects()) != 3 {
		t.Errorf("%d objects count, want 3", len(s.Objects()))
	}
}

func TestGoneServicesStayForAWhile(t *testing.T) {
	a := []Instance{instance("a-0", 80)}
	key := a[0].Key()
	s := Build(nil, zeroTime, nil, a)
	if _, ok := s.Expires(); ok {
		t.Error("something expires")
	}
	now := zeroTime.Add(time.Hour)
	s = Build(s, now, nil, nil)
	now = now.Add(KeepFor - 1)
	s = Build(s, now, nil, nil)
	b, ok := s.Service(key)
	if !ok || len(b.Endpoints) != 0 {
		t.Errorf("got %v %v", b, ok)
	}
	at, ok := s.Expires()
	if want := now.Add(1); !ok || !at.Equal(want) {
		t.Errorf("expires at %v, want %v", at, want)
	}
	if back := Build(s, at, nil, a); !back.Has(key) || len(back.gone) != 0 {
		t.Error("it should be back")
	}
	if s = Build(s, at, nil, nil); s.Has(key) || len(s.Keys()) != 0 {
		t.Error("it should be forgotten")
	}
}

func TestInstanceValidate(t *testing.T) {
	good := instance("a-0", 80)
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for field, change := range map[string]func(*Instance){
		"id":          func(i *Instance) { i.ID = "" },
		"namespace":   func(i *Instance) { i.Namespace = "A" },
		"service":     func(i *Instance) { i.Service = "a.b" },
		"servicePort": func(i *Instance) { i.ServicePort = 0 },
		"address":     func(i *Instance) { i.Address = netip.IPv4Unspecified() },
		"port":        func(i *Instance) { i.Port = 0 },
		"zone":        func(i *Instance) { i.Zone = "\xff" },
		"weight":      func(i *Instance) { i.Weight = 0 },
	} {
		bad := good
		change(&bad)
		if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), ": "+field+": value ") {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// large is 1,000 services with 100 instances each.
func large() []Instance {
	var instances []Instance
	for s := range 1000 {
		for i := range 100 {
			instances = append(instances, Instance{
				ID: fmt.Sprintf("s%d-%d", s, i), Namespace: "default", Service: fmt.Sprintf("s%d", s), ServicePort: 80,
				Address: netip.AddrFrom4([4]byte{10, byte(s >> 8), byte(s), byte(i)}), Port: 8080, Weight: 1, Ready: true,
			})
		}
	}
	return instances
}

func BenchmarkBuild(b *testing.B) {
	instances := large()
	prev := Build(nil, zeroTime, nil, instances)
	b.ReportAllocs()
	for b.Loop() {
		prev = Build(prev, zeroTime, nil, instances)
	}
}

func BenchmarkService(b *testing.B) {
	s := Build(nil, zeroTime, nil, large())
	b.ReportAllocs()
	for b.Loop() {
		s.Service(ServiceKey{"default", "s7", 80})
	}
}

func BenchmarkResolve(b *testing.B) {
	s := Build(nil, zeroTime, nil, large())
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := s.Resolve("s7.default.svc.cluster.local:80", ""); !ok {
			b.Fatal("not there")
		}
	}
}

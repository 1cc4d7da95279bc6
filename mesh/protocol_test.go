package mesh

import (
	"fmt"
	"strings"
	"testing"
)

// protocolOf is what the port 80 of service a speaks.
func protocolOf(t *testing.T, objects string, instances ...Instance) Protocol {
	t.Helper()
	b, ok := Build(nil, zeroTime, mustParse(t, objects), instances).Service(ServiceKey{"default", "a", 80})
	if !ok {
		t.Fatalf("no service in %s", objects)
	}
	return b.Policy.Protocol
}

func TestProtocolOfService(t *testing.T) {
	for _, tt := range []struct {
		port string
		want Protocol
	}{
		{"", ProtocolAuto},
		{"appProtocol: \"\"", ProtocolAuto},
		{"appProtocol: http", ProtocolHTTP1},
		{"appProtocol: HTTP", ProtocolHTTP1},
		{"appProtocol: kubernetes.io/ws", ProtocolHTTP1},
		{"appProtocol: kubernetes.io/h2c", ProtocolHTTP2},
		{"appProtocol: h2c", ProtocolHTTP2},
		{"appProtocol: http2", ProtocolHTTP2},
		{"appProtocol: grpc", ProtocolHTTP2},
		{"appProtocol: tcp", ProtocolTCP},
		{"appProtocol: https", ProtocolTCP},
		{"appProtocol: tls", ProtocolTCP},
		{"appProtocol: kubernetes.io/wss", ProtocolTCP},
		{"appProtocol: postgres", ProtocolTCP},
		{"appProtocol: x11", ProtocolTCP},      // IANA's
		{"appProtocol: grpc-foo", ProtocolTCP}, // no word, and appProtocol has no suffixes
		{"appProtocol: kubernetes.io/h9", ProtocolAuto},
		{"appProtocol: example.com/grpc", ProtocolAuto},
		{"name: http", ProtocolHTTP1},
		{"name: http-admin", ProtocolHTTP1},
		{"name: http2-api", ProtocolHTTP2},
		{"name: grpc", ProtocolHTTP2},
		{"name: grpc-web", ProtocolHTTP2},
		{"name: tcp-x", ProtocolTCP},
		{"name: redis", ProtocolTCP},
		{"name: https", ProtocolTCP},
		{"name: web", ProtocolAuto},
		{"name: httpx", ProtocolAuto},
		{"name: x-http", ProtocolAuto},
		{"name: http, appProtocol: grpc", ProtocolHTTP2},
		{"name: grpc, appProtocol: example.com/x", ProtocolAuto},
	} {
		comma := ", "
		if tt.port == "" {
			comma = ""
		}
		in := fmt.Sprintf("{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80%s%s}]}}", comma, tt.port)
		if got := protocolOf(t, in); got != tt.want {
			t.Errorf("{%s} speaks %v, want %v", tt.port, got, tt.want)
		}
	}
}

// A slice speaks where the Service does not, for the port that is its own.
func TestProtocolOfSlice(t *testing.T) {
	const svc = "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80, %s}]}}"
	slice := func(ports string) string {
		return "\n---\n{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: s, labels: {kubernetes.io/service-name: a}},\n" +
			" addressType: IPv4, ports: [" + ports + "]}"
	}
	a := instance("a-0", 80)
	for _, tt := range []struct {
		objects string
		want    Protocol
	}{
		{fmt.Sprintf(svc, "targetPort: 8080") + slice("{port: 8080, appProtocol: grpc}"), ProtocolHTTP2},
		{fmt.Sprintf(svc, "targetPort: 8080") + slice("{port: 8081, name: x, appProtocol: grpc}"), ProtocolAuto},
		{fmt.Sprintf(svc, "targetPort: 8080, name: http") + slice("{port: 8080, name: http, appProtocol: grpc}"), ProtocolHTTP2},
		{fmt.Sprintf(svc, "targetPort: 8080, appProtocol: http") + slice("{port: 8080, appProtocol: grpc}"), ProtocolHTTP1},
		{slice("{port: 80, appProtocol: grpc}"), ProtocolHTTP2},
		{slice("{port: 80, name: grpc-api}"), ProtocolHTTP2},
		{slice("{port: 81, name: x, appProtocol: grpc}, {port: 80, name: tcp}"), ProtocolTCP},
		{slice("{port: 80, appProtocol: grpc, protocol: UDP}"), ProtocolAuto},
	} {
		if got := protocolOf(t, tt.objects, a); got != tt.want {
			t.Errorf("%s\nspeaks %v, want %v", tt.objects, got, tt.want)
		}
	}
}

// The table's words may be written in an object, and say in any case what it
// has them say.
func TestProtocolWords(t *testing.T) {
	for word, want := range protocolWords {
		if !isAppProtocol(word) || word != strings.ToLower(word) {
			t.Errorf("%q cannot be written", word)
		}
		if p, said := appProtocol(strings.ToUpper(word)); !said || p != want {
			t.Errorf("%q says %v", word, p)
		}
	}
}

// Of two services with the same virtual address the first has it.
func TestClusterIPTwice(t *testing.T) {
	const svc = "---\n{apiVersion: v1, kind: Service, metadata: {name: %s}, spec: {clusterIP: 10.96.0.5, ports: [{port: 80}]}}\n"
	s := Build(nil, zeroTime, mustParse(t, fmt.Sprintf(svc, "b")+fmt.Sprintf(svc, "a")), nil)
	if k, ok := s.Resolve("10.96.0.5:80", ""); !ok || k.Name != "b" {
		t.Errorf("it is %v", k)
	}
	want := `test.yaml:4: Service default/a: spec.clusterIPs: value "10.96.0.5": Service default/b has it, which counts: accepted is an address of its own`
	if p := s.Problems(); len(p) != 1 || p[0].Error() != want {
		t.Errorf("problems %v, want %s", p, want)
	}
	// An address goes with its object, though the service stays for a while.
	if s = Build(s, zeroTime, nil, nil); !s.Has(ServiceKey{"default", "b", 80}) {
		t.Error("b is gone")
	}
	if k, ok := s.Resolve("10.96.0.5:80", ""); ok {
		t.Errorf("it is still %v", k)
	}
}

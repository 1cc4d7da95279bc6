package mesh

import "testing"

// A check that a port cannot answer is reported, for that port alone.
func TestUncheckable(t *testing.T) {
	objects := mustParse(t, `
{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80, name: http}, {port: 81, name: grpc}, {port: 82, name: x}, {port: 83, name: tcp}]}}
---
{apiVersion: meshd.io/v1alpha1, kind: TrafficPolicy, metadata: {name: p}, spec: {targetRefs: [{kind: Service, name: a}, {kind: Service, name: later}], healthCheck: {grpc: {}}}}
`)
	problems := Build(nil, zeroTime, objects, nil).Problems()
	if len(problems) != 2 {
		t.Fatalf("got %v", problems)
	}
	const want = ":4: TrafficPolicy default/p: spec.healthCheck.grpc: has no effect on Service a port 80, which does not speak HTTP/2: accepted is http, tcp, or an appProtocol such as grpc"
	if got := problems[0].Error(); len(got) < len(want) || got[len(got)-len(want):] != want {
		t.Errorf("got %s, want …%s", got, want)
	}
}

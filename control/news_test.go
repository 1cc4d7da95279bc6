package control

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/meshd/meshd/mesh"
	"github.com/meshd/meshd/registry"
	"github.com/meshd/meshd/telemetry"
	"github.com/meshd/meshd/xds/server"
)

func TestNews(t *testing.T) {
	in := func(id, version string, ready, draining bool) registry.Instance {
		return registry.Instance{Instance: mesh.Instance{ID: id, Namespace: "default", Service: "checkout", Address: netip.MustParseAddr("10.0.0.1"), Port: 80,
			Ready: ready, Draining: draining, Version: version}}
	}
	pid := func(n int, i registry.Instance) registry.Instance { i.PID = n; return i }
	all := func(ins ...registry.Instance) *picture { return &picture{instances: ins} }
	wanted := func(n int) *picture { return &picture{scales: map[service]int{{"default", "checkout"}: n}} }
	for _, tc := range []struct {
		name     string
		old, now *picture
		want     []string
	}{
		{"nothing", all(in("a", "v1", true, false)), all(in("a", "v1", true, false)), nil},
		{"wanted", &picture{}, wanted(3), []string{"scaled: 3 instances are wanted"}},
		{"scaled", wanted(3), wanted(5), []string{"scaled: 5 instances are wanted; 3 were"}},
		{"as before", wanted(3), wanted(3), nil},
		{"joined", all(), all(in("a", "v1", true, false)), []string{"instance-joined: a takes calls at 10.0.0.1:80"}},
		{"not ready yet", all(), all(in("a", "v1", false, false)), nil},
		{"ready", all(in("a", "v1", false, false)), all(in("a", "v1", true, false)), []string{"instance-joined: a takes calls at 10.0.0.1:80"}},
		{"draining", all(in("a", "v1", true, false)), all(in("a", "v1", true, true)), []string{"instance-left: a takes no new calls: it is draining"}},
		{"drained", all(in("a", "v1", true, true)), all(), nil},
		{"gone", all(in("a", "v1", true, false)), all(), []string{"instance-left: a is gone"}},
		{"killed and restarted", all(pid(7, in("a", "v1", true, false))), all(pid(8, in("a", "v1", true, false))),
			[]string{"instance-left: a has ended; another process takes its place", "instance-joined: a takes calls at 10.0.0.1:80"}},
		{"killed and restarting", all(pid(7, in("a", "v1", true, false))), all(pid(8, in("a", "v1", false, false))),
			[]string{"instance-left: a has ended; another process takes its place"}},
		{"restarted while not ready", all(pid(7, in("a", "v1", false, false))), all(pid(8, in("a", "v1", false, false))), nil},
		{"another version", all(in("a", "v1", true, false)), all(in("a", "v1", true, false), in("b", "v2", false, false), in("c", "v2", false, false)),
			[]string{"deployed: b is the first with a sidecar of version v2; there was v1"}},
	} {
		var got []string
		for _, e := range news(tc.old, tc.now) {
			if e.Service != (telemetry.Service{Namespace: "default", Name: "checkout"}) {
				t.Errorf("%s: of %v", tc.name, e.Service)
			}
			got = append(got, fmt.Sprintf("%s: %s", e.Kind, e.Text))
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestRejected(t *testing.T) {
	at := time.Unix(1_000_000, 0)
	client := func(nacked uint64, connected time.Time) []server.Client {
		return []server.Client{{ID: "front.default/front-0", Service: "front", Namespace: "default", Connected: connected, Nacked: nacked, LastNack: "no\n  way"}}
	}
	last := map[string]server.Client{}
	for i, step := range []struct {
		clients []server.Client
		want    int
	}{
		{client(0, at), 0}, {client(2, at), 1}, {client(2, at), 0}, {client(3, at), 1}, {nil, 0}, {client(1, at.Add(time.Minute)), 1},
	} {
		var got []telemetry.Event
		got, last = rejected(last, step.clients)
		if len(got) != step.want {
			t.Errorf("step %d: %+v", i, got)
		}
		for _, e := range got {
			if e.Instance != "front-0" || e.Kind != telemetry.EventRejected || e.Text != "front.default/front-0 refused its configuration: no way" {
				t.Errorf("%+v", e)
			}
		}
	}
}

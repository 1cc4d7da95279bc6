package translate

import (
	"cmp"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/meshd/meshd/mesh"
	"github.com/meshd/meshd/xds/resource"
)

var retryBits = map[string]resource.RetryOn{
	"connect-failure": resource.RetryConnectFailure, "reset": resource.RetryReset,
	"502": resource.Retry502, "503": resource.Retry503, "504": resource.Retry504,
	"refused-stream": resource.RetryRefused, "cancelled": resource.RetryCancelled,
	"deadline-exceeded": resource.RetryDeadlineExceeded, "internal": resource.RetryInternal,
	"resource-exhausted": resource.RetryResourceExhausted, "unavailable": resource.RetryUnavailable,
}

var forwardedNames = map[string]resource.Forwarded{
	"none": resource.ForwardedNone, "x-forwarded": resource.ForwardedX, "rfc7239": resource.ForwardedRFC7239,
}

func checkRoute(t *testing.T, path string, b *mesh.Backend, got *resource.Route) {
	t.Helper()
	p, name := &b.Policy, b.Key.String()
	want := resource.Route{
		Name: name, Prefix: "/", Service: name,
		Clusters: []resource.WeightedCluster{{Name: name, Weight: 1}},
		Timeout:  p.Timeout.Request, AttemptTimeout: p.Timeout.Attempt,
		Retry: resource.Retry{
			Attempts: p.Retry.Attempts, BufferBytes: p.Retry.BufferBytes,
			BackoffBase: p.Retry.BackoffBase, BackoffMax: p.Retry.BackoffMax,
		},
		Via: p.Headers.Via, Forwarded: forwardedNames[p.Headers.Forwarded], TraceRatio: p.TraceRatio,
	}
	for _, w := range p.Retry.When {
		want.Retry.On |= retryBits[w]
	}
	if p.Retry.Attempts == 0 {
		want.Retry = resource.Retry{BufferBytes: p.Retry.BufferBytes}
		if a := want.AttemptTimeout; a > 0 {
			want.Timeout, want.AttemptTimeout = min(a, cmp.Or(want.Timeout, time.Duration(math.MaxInt64))), 0
		}
	}
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("%s: route is\n%+v, want\n%+v", path, *got, want)
	}
}

func checkCluster(t *testing.T, path string, b *mesh.Backend, got *resource.Cluster) {
	t.Helper()
	p, name := &b.Policy, b.Key.String()
	none := func(n uint32) uint32 { return cmp.Or(n, math.MaxUint32) }
	want := resource.Cluster{
		Name: name, EDSName: name, ConnectTimeout: p.Timeout.Connect, Protocol: resource.Protocol(p.Protocol), Balancer: p.Balancer,
		Limits:      resource.Limits{Connections: none(p.Limits.Connections), Pending: none(p.Limits.Pending), Requests: none(p.Limits.Requests)},
		Breaker:     resource.Breaker(p.Breaker),
		Budget:      resource.Budget(p.Retry.Budget),
		IdleTimeout: p.Timeout.Idle,
	}
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("%s: cluster is\n%+v, want\n%+v", path, *got, want)
	}
}

func checkEndpoints(t *testing.T, path string, b *mesh.Backend, got *resource.Endpoints) {
	t.Helper()
	want := resource.Endpoints{Cluster: b.Key.String()}
	for _, e := range b.Endpoints {
		want.Endpoints = append(want.Endpoints, resource.Endpoint{
			Addr: e.Addr, ID: e.ID, Weight: e.Weight, Region: e.Region, Zone: e.Zone, Health: resource.Health(e.Health),
		})
	}
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("%s: endpoints are\n%+v, want\n%+v", path, *got, want)
	}
}

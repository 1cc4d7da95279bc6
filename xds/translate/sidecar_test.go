package translate

import (
	"cmp"
	"fmt"
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
	if mesh.Hashes(p.Balancer) {
		for _, h := range p.Balancing.Hash.By {
			got := resource.HashPolicy{
				Header: h.Header, Cookie: h.Cookie, Query: h.Query, SourceAddress: h.SourceAddress,
				Generate: h.Generate, CookieTTL: h.TTL, CookiePath: h.CookiePath, Terminal: h.Terminal,
			}
			if h.Path {
				got.Header = ":path"
			}
			want.Hash = append(want.Hash, got)
		}
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
	trafficOf(t, b, &want)
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("%s: route is\n%+v, want\n%+v", path, *got, want)
	}
}

func checkCluster(t *testing.T, path string, b *mesh.Backend, got *resource.Cluster) {
	t.Helper()
	p, name := &b.Policy, b.Key.String()
	none := func(n uint32) uint32 { return cmp.Or(n, math.MaxUint32) }
	want := resource.Cluster{
		Name: name, EDSName: name, ConnectTimeout: p.Timeout.Connect, Protocol: resource.Protocol(p.Protocol), Balancer: p.Balancer, Balancing: balancingOf(p),
		Limits:      resource.Limits{Connections: none(p.Limits.Connections), Pending: none(p.Limits.Pending), Requests: none(p.Limits.Requests)},
		Breaker:     resource.Breaker(p.Breaker),
		Budget:      resource.Budget(p.Retry.Budget),
		IdleTimeout: p.Timeout.Idle,
	}
	healthOf(p, &want)
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("%s: cluster is\n%+v, want\n%+v", path, *got, want)
	}
}

// balancingOf is what a policy says, and the defaults for what it does not use.
func balancingOf(p *mesh.Policy) resource.Balancing {
	b, want := &p.Balancing, resource.DefaultBalancing()
	want.PanicThreshold, want.Subset = b.PanicThreshold, b.Subset
	want.Zone = resource.ZoneAware{Disabled: !b.Locality.ZoneAware, MinEndpoints: b.Locality.MinEndpoints}
	switch p.Balancer {
	case "ring_hash":
		want.Ring, want.LoadFactor = resource.RingSize{Min: b.Hash.RingMin, Max: b.Hash.RingMax}, b.Hash.LoadFactor
	case "maglev":
		want.TableSize, want.LoadFactor = b.Hash.TableSize, b.Hash.LoadFactor
	case "random":
	case "weighted_round_robin":
		want.Reports = resource.Reports(b.Reports)
		fallthrough
	default:
		if b.SlowStart.Window > 0 {
			want.SlowStart = resource.SlowStart(b.SlowStart)
		}
	}
	return want
}

func checkEndpoints(t *testing.T, path string, b *mesh.Backend, got *resource.Endpoints) {
	t.Helper()
	want := resource.Endpoints{Cluster: b.Key.String()}
	weights, order, ranks := map[[3]string]uint32{}, uint32(0), map[uint32]uint32{}
	for _, e := range b.Endpoints {
		if _, ok := ranks[e.Priority]; !ok {
			ranks[e.Priority] = order
			order++
		}
		if at := [3]string{fmt.Sprint(e.Priority), e.Region, e.Zone}; e.Health == mesh.Healthy {
			weights[at] += e.Weight
		}
	}
	for _, e := range b.Endpoints {
		want.Endpoints = append(want.Endpoints, resource.Endpoint{
			Addr: e.Addr, ID: e.ID, Weight: e.Weight, Region: e.Region, Zone: e.Zone, Health: resource.Health(e.Health),
			Priority: ranks[e.Priority], LocalityWeight: max(weights[[3]string{fmt.Sprint(e.Priority), e.Region, e.Zone}], 1), Started: e.Started,
		})
	}
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("%s: endpoints are\n%+v, want\n%+v", path, *got, want)
	}
}

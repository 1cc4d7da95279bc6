package client

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meshd/meshd/xds/resource"
)

func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}}
}

func pack(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		panic(err)
	}
	return a
}

func aListener(name string, inline *routev3.RouteConfiguration, rds string) *listenerv3.Listener {
	hcm := &hcmv3.HttpConnectionManager{HttpFilters: []*hcmv3.HttpFilter{{
		Name: "router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&routerv3.Router{})},
	}}}
	if inline != nil {
		hcm.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: inline}
	} else {
		hcm.RouteSpecifier = &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{ConfigSource: ads(), RouteConfigName: rds}}
	}
	return &listenerv3.Listener{Name: name, ApiListener: &listenerv3.ApiListener{ApiListener: pack(hcm)}}
}

func aRoute(name string, clusters ...string) *routev3.RouteConfiguration {
	w := &routev3.WeightedCluster{}
	for _, c := range clusters {
		w.Clusters = append(w.Clusters, &routev3.WeightedCluster_ClusterWeight{Name: c, Weight: wrapperspb.UInt32(1)})
	}
	return &routev3.RouteConfiguration{Name: name, VirtualHosts: []*routev3.VirtualHost{{
		Domains: []string{"*"},
		Routes: []*routev3.Route{{
			Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_WeightedClusters{WeightedClusters: w}}},
		}},
	}}}
}

func aCluster(name, eds string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name: name, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads(), ServiceName: eds},
	}
}

func someEndpoints(name string, ports ...uint32) *endpointv3.ClusterLoadAssignment {
	l := &endpointv3.LocalityLbEndpoints{}
	for _, p := range ports {
		l.LbEndpoints = append(l.LbEndpoints, &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
			Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
				Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: p},
			}}},
		}}})
	}
	return &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{l}}
}

// service gives the fake all four resources of one service.
func (f *fake) service(t *testing.T, authority, name string, ports ...uint32) {
	f.set(t, resource.EndpointsType, name, someEndpoints(name, ports...))
	f.set(t, resource.ClusterType, name, aCluster(name, ""))
	f.set(t, resource.RouteType, name, aRoute(name, name))
	f.set(t, resource.ListenerType, authority, aListener(authority, nil, name))
}

// A run is a client with its events as lines of text.
type run struct {
	*Client
	t      *testing.T
	events chan string
	stop   func()
}

func start(t *testing.T, cfg Config) *run {
	t.Helper()
	r := &run{t: t, events: make(chan string, 1000)}
	say := func(format string, args ...any) { r.events <- fmt.Sprintf(format, args...) }
	cfg.Events = Events{
		Route: func(a string, rc *resource.RouteConfig) {
			if rc == nil {
				say("route %s nil", a)
				return
			}
			var names []string
			eachCluster(rc, func(n string) { names = append(names, n) })
			say("route %s %s", a, strings.Join(names, ","))
		},
		Cluster: func(name string, c *resource.Cluster) {
			if c == nil {
				say("cluster %s nil", name)
				return
			}
			say("cluster %s", name)
		},
		Endpoints: func(name string, e *resource.Endpoints) {
			if e == nil {
				say("endpoints %s nil", name)
				return
			}
			say("endpoints %s %d", name, len(e.Endpoints))
		},
		Shares:    func(s *resource.Shares) { say("shares %v %v", s.Requests, s.Rates) },
		Connected: func(up bool) { say("connected %v", up) },
	}
	if cfg.Logger == nil {
		cfg.Logger = quiet()
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Client = c
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(r.stop)
	return r
}

// expect waits for exactly these events, in this order.
func (r *run) expect(want ...string) {
	r.t.Helper()
	for _, w := range want {
		if got := next(r.t, r.events); got != w {
			r.t.Fatalf("event %q, want %q", got, w)
		}
	}
}

func next[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came within 10 s")
		panic("not reached")
	}
}

// none checks that nothing has happened that is still to be told: it asks for
// a name that does not exist and expects only its answer.
func (r *run) none(authority string) {
	r.t.Helper()
	if err := r.Watch(authority); err != nil {
		r.t.Fatal(err)
	}
	r.expect("route " + authority + " nil")
	r.Unwatch(authority)
}

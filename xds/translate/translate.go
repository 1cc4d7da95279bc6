// Package translate turns services of the mesh into the xDS resources that
// docs/reference/wire.md promises. It is pure: the same Backend gives the same
// bytes. Standard fields carry whatever xDS has a field for; the rest is
// metadata under resource.MetadataKey.
//
// What it makes is taken by our sidecar (xds/resource), by grpc-go's xDS
// client and by Envoy, except that Envoy knows API listeners from its
// bootstrap only.
package translate

import (
	"fmt"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meshd/meshd/mesh"
	"github.com/meshd/meshd/xds/resource"
)

// Listener is the API listener (gRFC A27) of that name, the authority that a
// client asked for, whose routes are those of the service that it resolves to.
func Listener(name string, b mesh.Backend) *anypb.Any {
	key := b.Key
	return serialise(&listenerv3.Listener{
		Name: name,
		ApiListener: &listenerv3.ApiListener{ApiListener: serialise(&hcmv3.HttpConnectionManager{
			StatPrefix: key.String(),
			RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
				ConfigSource:    ads(),
				RouteConfigName: key.String(),
			}},
			HttpFilters: append(filterChain(&b.Policy, key.String()), &hcmv3.HttpFilter{
				Name:       "envoy.filters.http.router",
				ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: serialise(&routerv3.Router{})},
			}),
		})},
	})
}

// ads is the stream that the resource itself came by.
func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}

// serialise makes the same bytes of equal messages, so that a change is seen
// by comparing them.
func serialise(m proto.Message) *anypb.Any {
	a := new(anypb.Any)
	if err := anypb.MarshalFrom(a, m, proto.MarshalOptions{Deterministic: true}); err != nil {
		// Only text that is not UTF-8 fails, and mesh accepts none.
		panic(fmt.Sprintf("translate: %v", err))
	}
	return a
}

// metadata is our struct of fields: strings, bools, float64s and maps of them.
func metadata(fields map[string]any) *corev3.Metadata {
	s, err := structpb.NewStruct(fields)
	if err != nil {
		panic(fmt.Sprintf("translate: %v", err)) // a type that is not one of these
	}
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{resource.MetadataKey: s}}
}

// optional is nil for no bound.
func optional(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

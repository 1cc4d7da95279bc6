package translate

import (
	"slices"
	"strconv"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meshd/meshd/mesh"
)

// Route is the RouteConfiguration of a service: everything goes to its
// cluster.
func Route(b mesh.Backend) *anypb.Any {
	name := b.Key.String()
	p := &b.Policy
	fields := map[string]any{
		"service":          name,
		"retryBufferBytes": p.Retry.BufferBytes,
		"via":              p.Headers.Via,
		"forwarded":        p.Headers.Forwarded,
	}
	if p.TraceRatio >= 0 {
		fields["traceRatio"] = p.TraceRatio
	}
	return serialise(&routev3.RouteConfiguration{
		Name: name,
		VirtualHosts: []*routev3.VirtualHost{{
			Name:    name,
			Domains: []string{"*"},
			Routes: []*routev3.Route{{
				Name:  name,
				Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
				Action: &routev3.Route_Route{Route: &routev3.RouteAction{
					ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: name},
					Timeout:          durationpb.New(timeout(p)), // absent would be 15 s, 0 is none
					RetryPolicy:      retryPolicy(p),
					HashPolicy:       hashPolicies(p),
				}},
				Metadata: metadata(fields),
			}},
		}},
	})
}

// timeout bounds the whole call. Without retries the call is its one attempt.
func timeout(p *mesh.Policy) time.Duration {
	t := p.Timeout.Request
	if a := p.Timeout.Attempt; p.Retry.Attempts == 0 && a > 0 && (t == 0 || a < t) {
		return a
	}
	return t
}

// retryPolicy is nil where retries are off: gRPC refuses num_retries of 0
// (gRFC A44).
func retryPolicy(p *mesh.Policy) *routev3.RetryPolicy {
	if p.Retry.Attempts == 0 {
		return nil
	}
	var words []string
	var codes []uint32
	for _, w := range p.Retry.When {
		if code, err := strconv.ParseUint(w, 10, 32); err == nil {
			codes = append(codes, uint32(code))
		} else {
			words = append(words, w)
		}
	}
	slices.Sort(codes)
	if len(codes) > 0 {
		words = append(words, "retriable-status-codes")
	}
	return &routev3.RetryPolicy{
		RetryOn:              strings.Join(words, ","),
		NumRetries:           wrapperspb.UInt32(uint32(p.Retry.Attempts)),
		PerTryTimeout:        optional(p.Timeout.Attempt),
		RetriableStatusCodes: codes,
		RetryBackOff: &routev3.RetryPolicy_RetryBackOff{
			BaseInterval: durationpb.New(p.Retry.BackoffBase),
			MaxInterval:  durationpb.New(p.Retry.BackoffMax),
		},
	}
}

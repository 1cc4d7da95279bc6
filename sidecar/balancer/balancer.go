// Package balancer chooses the endpoint of each attempt.
//
// A Picker is made for one endpoint.Set and never changes; what moves under it
// is read from the endpoints' own atomics: load and breaker. An endpoint may
// be chosen if its breaker is Ready. Of the priorities, the lowest number with
// such an endpoint is used. Endpoints that are draining or unhealthy take no
// part, unless none is healthy: then health is taken to be wrong about all of
// them (Envoy's panic mode) and only breakers count.
package balancer

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/meshd/meshd/sidecar/endpoint"
)

// A Picker may be used by any number of goroutines. Pick never blocks, never
// dials and does not allocate. It returns nil when no endpoint is ready. It
// avoids the endpoints in tried, which this call has already been to, as long
// as any other is ready, be it of a less preferred priority. The breaker of the chosen
// endpoint may still refuse: its Allow has the last word, and Pick may be
// called again with the endpoint added to tried.
type Picker interface {
	Pick(tried []*endpoint.Endpoint) *endpoint.Endpoint
}

// Default is the policy of clusters that name none.
const Default = "peak_ewma"

// A builder makes a Picker over groups that are not empty.
type builder func(groups []group, now func() int64) Picker

func builders() map[string]builder {
	return map[string]builder{
		"least_request": newLeastRequest,
		"peak_ewma":     newPeakEWMA,
		"round_robin":   newRoundRobin,
	}
}

// New makes the Picker of a policy: round_robin, least_request or peak_ewma;
// empty is Default. now is the clock that the endpoints' Loads are told, in
// nanoseconds.
func New(policy string, set *endpoint.Set, now func() int64) (Picker, error) {
	if policy == "" {
		policy = Default
	}
	all := builders()
	build, ok := all[policy]
	if !ok {
		return nil, fmt.Errorf("balancer: policy %q is not known; known are %s",
			policy, strings.Join(slices.Sorted(maps.Keys(all)), ", "))
	}
	return build(groupsOf(set), now), nil
}

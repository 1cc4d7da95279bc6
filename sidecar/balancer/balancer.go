// Package balancer chooses the endpoint of each attempt.
//
// A Picker is made for one endpoint.Set and never changes; what moves under it
// is read from the endpoints' own atomics: load, reports, breaker and standing.
// It chooses in three steps, each of which is passed over where there is
// nothing to choose: the priority (priority.go), the zone (zone.go), and the
// endpoint, which is the policy's to choose, one file each.
// docs/design/005-balancing.md says why.
package balancer

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/xds/resource"
)

// Info is what a Picker is told of an attempt. It is passed by value.
type Info struct {
	// Tried are the endpoints that the call has already been to. They are
	// avoided as long as any other is fit, be it of a less preferred priority.
	Tried []*endpoint.Endpoint
	Now   int64 // ns on the clock that the endpoints' Loads are told
	// Active is how many calls the cluster has in flight; the bound of a hash's
	// load goes by it.
	Active int64
	// Hash decides where ring_hash and maglev go, if Hashed.
	Hash   uint64
	Hashed bool
}

// A Picker may be used by any number of goroutines. Pick never blocks, never
// dials and does not allocate. It returns nil when there is nothing to choose.
// The breaker of the chosen endpoint may still refuse: its Allow has the last
// word, and Pick may be called again; but where forced is true, so much of the
// cluster is unfit that nothing of this counts, and the attempt is made whatever
// Allow says.
type Picker interface {
	Pick(Info) (e *endpoint.Endpoint, forced bool)
	// Weights is the part of new calls that each endpoint is to get now, 0 to 1:
	// of weights, slow start, breakers, checks, ejections, zones and priorities,
	// and of what the policy has measured: latency and failures for peak_ewma,
	// reports for weighted_round_robin. Calls in flight, which even out from one
	// moment to the next, are taken to be as many everywhere, and so are hcl's
	// answers; of ring_hash and maglev it is what calls of many keys would get. An
	// endpoint that gets none is left out; together they are 1, or there is none.
	// It allocates, and is for who looks now and then.
	Weights(now int64) map[*endpoint.State]float64
}

// Default is the policy of clusters that name none.
const Default = "peak_ewma"

// A Client is whose calls are balanced.
type Client struct {
	ID           string // of the instance; its subset follows from it
	Region, Zone string
}

// Config is what a Picker is made of, beside endpoints.
type Config struct {
	Policy string // Default if empty
	resource.Balancing
	Overprovisioning float64 // 0 is resource.DefaultOverprovisioning
	Client           Client
	// Now and Time are the same moment, on the engine's clock and everybody's.
	Now  int64
	Time time.Time
	// Probe asks an endpoint for its load; hcl cannot do without.
	Probe Prober
}

// A chooser is a policy over the members of one group, which has some.
type chooser interface {
	// choose returns a member that is not tried and ready, or nil; with forced,
	// it need not be ready.
	choose(i Info, forced bool) *member
	// look lets the policy take a look at all its members. It is called every
	// few milliseconds while there are calls, by one goroutine at a time.
	look(now int64)
	// aim is what each member is to get relative to the others; 0 of one that is
	// not ready, unless forced. See Picker.Weights.
	aim(now int64, forced bool) (group, []float64)
}

// A builder makes a chooser of a group that is not empty.
type builder func(cfg *Config, g group) chooser

func builders() map[string]builder {
	return map[string]builder{
		"hcl":                  newHCL,
		"least_request":        newLeastRequest,
		"maglev":               newMaglev,
		"peak_ewma":            newPeakEWMA,
		"random":               newRandom,
		"ring_hash":            newRingHash,
		"round_robin":          newRoundRobin,
		"weighted_round_robin": newWeightedRoundRobin,
	}
}

// New makes the Picker of a policy over a set. The error names a policy that
// is not known, or what it lacks.
func New(cfg Config, set *endpoint.Set) (Picker, error) {
	if cfg.Policy == "" {
		cfg.Policy = Default
	}
	all := builders()
	build, ok := all[cfg.Policy]
	if !ok {
		return nil, fmt.Errorf("balancer: policy %q is not known; known are %s",
			cfg.Policy, strings.Join(slices.Sorted(maps.Keys(all)), ", "))
	}
	if cfg.Policy == "hcl" && cfg.Probe == nil {
		return nil, fmt.Errorf("balancer: policy %q wants endpoints that can be asked for their load, and these cannot", cfg.Policy)
	}
	return newPriorities(&cfg, set, build), nil
}

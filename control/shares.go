package control

import (
	"context"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/meshd/meshd/internal/wait"
	"github.com/meshd/meshd/mesh/share"
	"github.com/meshd/meshd/telemetry"
	"github.com/meshd/meshd/xds/cache"
	"github.com/meshd/meshd/xds/resource"
)

// shareEvery is how often limits are divided anew. What a client wants is
// known each second, and it is not told more often.
const shareEvery = time.Second

// returnTime is how long a meshd that takes the place of one that ended does
// not divide: the clients come back over this time (xds/client waits 5 s
// between attempts at most), and those that come first would get what is the
// others'. Until then they keep what they had.
const returnTime = 6 * time.Second

// A sharedLimit is one that all callers of a service keep together. 0 is no limit.
type sharedLimit struct {
	service  string // NAMESPACE/NAME:PORT
	requests uint32 // in flight
	rate     float64
}

// shares divides limits over the clients that call what is limited, and keeps
// what each was told as a resource of its own. Who is a client of a service
// the cache knows: whoever has asked for its Cluster or RouteConfiguration by
// name, and for its Shares, is about to call.
type shares struct {
	cache   *cache.Cache
	limits  func() []sharedLimit
	follow  func(services []string)
	demands func(service string) map[string]telemetry.Demand // by node.id; those that are known
	// others are what the other meshds said of their clients, tell is what this
	// one says of its own; both may be nil, where there is one.
	others func() [][]byte
	notice func([]byte) error
	log    *slog.Logger

	mu   sync.Mutex // guards the rest
	told map[string]*anypb.Any
}

// run divides until ctx ends, for the first time after a while.
func (s *shares) run(ctx context.Context, first time.Duration) {
	if wait.For(ctx, first) != nil {
		return
	}
	ticker := time.NewTicker(shareEvery)
	defer ticker.Stop()
	for ctx.Err() == nil {
		s.divide()
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// over is v with what each client was told.
func (s *shares) over(v cache.View) cache.View {
	below := v.Resource
	v.Resource = func(k cache.Key) *anypb.Any {
		if k.Type == resource.SharesType {
			return s.resource(k)
		}
		return below(k)
	}
	return v
}

// resource is what the client that k.Namespace names was told last; another's
// name means nothing to it.
func (s *shares) resource(k cache.Key) *anypb.Any {
	if k != shareKey(k.Namespace) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.told[k.Namespace]
}

func shareKey(client string) cache.Key {
	return cache.Key{Type: resource.SharesType, Namespace: client, Name: resource.SharesName(client)}
}

// divide gives each client its parts of all limits.
func (s *shares) divide() {
	limits := s.limits()
	names := make([]string, len(limits))
	for i, l := range limits {
		names[i] = l.service
	}
	s.follow(names)
	mine, theirs := wants{}, s.elsewhere()
	parts := map[string]*resource.Shares{}
	for _, l := range limits {
		var known map[string]telemetry.Demand
		if l.requests > 0 || l.rate > 0 {
			known = s.demands(l.service)
		}
		if l.requests > 0 {
			wanted := s.wanted(resource.ClusterType, l.service, known, func(d telemetry.Demand) float64 { return d.InFlight })
			mine.add("requests", l.service, wanted)
			for id, n := range share.Whole(int(l.requests), share.Divide(float64(l.requests), theirs.with("requests", l.service, wanted))) {
				if _, ours := wanted[id]; ours {
					of(parts, id).Requests[l.service] = float64(n)
				}
			}
		}
		if l.rate > 0 {
			wanted := s.wanted(resource.RouteType, l.service, known, func(d telemetry.Demand) float64 { return d.Rate })
			mine.add("rates", l.service, wanted)
			for id, n := range share.Divide(l.rate, theirs.with("rates", l.service, wanted)) {
				if _, ours := wanted[id]; ours {
					of(parts, id).Rates[l.service] = digits(n)
				}
			}
		}
	}
	s.say(mine)
	s.cache.Refresh(s.tell(parts)...)
}

func of(parts map[string]*resource.Shares, id string) *resource.Shares {
	p := parts[id]
	if p == nil {
		p = &resource.Shares{Requests: map[string]float64{}, Rates: map[string]float64{}}
		parts[id] = p
	}
	return p
}

// wanted is what the clients that have a service's resource of a type want of
// it; -1 where that is not known.
func (s *shares) wanted(typ, service string, known map[string]telemetry.Demand, what func(telemetry.Demand) float64) map[string]float64 {
	wanted := map[string]float64{}
	for _, id := range s.cache.Owners(cache.Key{Type: typ, Name: service}) {
		if !s.asked(id) {
			continue // it keeps no shared limits: gRPC's own clients, Envoy
		}
		wanted[id] = -1
		if d, ok := known[id]; ok {
			wanted[id] = coarse(what(d))
		}
	}
	return wanted
}

// asked says whether a client wants to hear of its shares.
func (s *shares) asked(id string) bool { return len(s.cache.Owners(shareKey(id))) > 0 }

// tell keeps parts as what there is to say, and returns the keys of those to
// whom it is new. A client that has no part any more is told so while it asks.
func (s *shares) tell(parts map[string]*resource.Shares) (changed []cache.Key) {
	s.mu.Lock()
	old := s.told
	s.mu.Unlock()
	for id := range old {
		if parts[id] == nil && s.asked(id) {
			of(parts, id)
		}
	}
	told := make(map[string]*anypb.Any, len(parts))
	for _, id := range slices.Sorted(maps.Keys(parts)) {
		key := shareKey(id)
		body, err := parts[id].Encode(key.Name)
		if err != nil {
			s.log.Error("shares not told", "error", err, "next", "nothing: it is tried again in a second; each caller keeps its last part")
			continue
		}
		if was := old[id]; was != nil && string(was.Value) == string(body.Value) {
			body = was
		} else {
			changed = append(changed, key)
		}
		told[id] = body
	}
	s.mu.Lock()
	s.told = told
	s.mu.Unlock()
	return changed
}

// step is the ratio of a demand to the next one that counts as another. What
// is measured of steady traffic moves by less, most of the time, and then
// nobody has to be told anything.
const step = 1.1

// coarse is d rounded up to a power of step; nearly nothing is nothing.
func coarse(d float64) float64 {
	if !(d >= 0.01) {
		return 0
	}
	return math.Pow(step, math.Ceil(math.Log(d)/math.Log(step)))
}

// digits is n without what nobody needs, so that it reads well; never more.
func digits(n float64) float64 {
	if !(n > 1e-9) {
		return 0
	}
	scale := math.Pow(10, 4-math.Floor(math.Log10(n)))
	return math.Floor(n*scale) / scale
}

package balancer

import (
	"cmp"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/meshd/meshd/xds/resource"
)

// subset is the n members that a client uses, so that the connections of a
// large service do not grow with the product of callers and instances (gRFC
// A68). They follow from the client's id and theirs alone, by rendezvous
// hashing with weights (Schindelhauer and Schomaker, Weighted distributed hash
// tables, 2005): an endpoint that comes or goes changes at most one member of
// any client's subset, and all endpoints are in about equally many. Endpoints
// that are draining are as good as gone; the health of the others is not looked
// at, or its changes would move clients about.
func subset(g group, client string, n int) group {
	if client == "" || len(g) <= n {
		return g
	}
	type scored struct {
		member
		score float64
	}
	all := make([]scored, 0, len(g))
	for _, m := range g {
		if m.endpoint.Health == resource.Draining {
			continue
		}
		// Uniform in (0, 1); the score is that of the first arrival of a Poisson
		// process whose rate is the weight.
		u := (float64(keyHash(m.name(), client)>>11) + 0.5) / (1 << 53)
		all = append(all, scored{m, -math.Log(u) * m.inverse})
	}
	slices.SortStableFunc(all, func(a, b scored) int { return cmp.Compare(a.score, b.score) })
	out := make(group, 0, n)
	for _, s := range all[:min(n, len(all))] {
		out = append(out, s.member)
	}
	return out
}

// name is what an endpoint's place follows from: its instance's, which stays
// when that comes back at another address, or else the address.
func (m *member) name() string {
	if m.endpoint.ID != "" {
		return m.endpoint.ID
	}
	return m.endpoint.Address
}

// keyHash mixes a name with a salt.
func keyHash(name, salt string) uint64 {
	var d xxhash.Digest
	d.ResetWithSeed(0)
	_, _ = d.WriteString(salt)
	_, _ = d.Write([]byte{0})
	_, _ = d.WriteString(name)
	return d.Sum64()
}

package balancer

import "math/rand/v2"

// A table finds the member of a hash, by index.
type table interface{ find(hash uint64) uint32 }

// consistent gives calls of one hash to one member, and to the same one as
// long as it is there and fit. With a bound, a member that has load times its
// share of the cluster's calls in flight passes further calls on (Mirrokni,
// Thorup and Zadimoghaddam, Consistent hashing with bounded loads, 2018), so
// that one busy key does not drown one endpoint. A member that is tried or not
// fit passes them on too: to the member of the hash of the hash, so that what
// it gives up goes to all the others alike. A call without a hash goes
// anywhere.
type consistent[T table] struct {
	group
	table T
	load  float64 // the bound; 0 is none
	total float64 // of weights
}

func newConsistent[T table](cfg *Config, g group, t T) *consistent[T] {
	c := &consistent[T]{group: g, table: t, load: cfg.LoadFactor}
	for i := range g {
		c.total += g[i].weight
	}
	return c
}

// steps is how often a call is passed on before it goes to the first that was
// full, or else to anybody.
const steps = 64

func (c *consistent[T]) look(int64) {}

func (c *consistent[T]) choose(i Info, forced bool) *member {
	hash := i.Hash
	if !i.Hashed {
		hash = rand.Uint64()
	}
	var full *member
	for range steps {
		m := &c.group[c.table.find(hash)]
		hash = mixed(hash)
		if !m.fit(&i, forced) {
			continue
		}
		if c.room(m, i.Active) {
			return m
		}
		if full == nil {
			full = m
		}
	}
	if full != nil {
		return full
	}
	m, _ := c.scan(&i, forced)
	return m
}

// mixed is the next of a sequence of hashes (Steele et al., SplitMix64, 2014).
func mixed(h uint64) uint64 {
	h += 0x9e3779b97f4a7c15
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// room tells whether one more call leaves m within the bound. The bound is
// rounded up, or few calls would find no room anywhere.
func (c *consistent[T]) room(m *member, active int64) bool {
	if c.load == 0 {
		return true
	}
	most := c.load * float64(active+1) * m.weight / c.total
	return float64(m.state.Load.InFlight()) < most
}

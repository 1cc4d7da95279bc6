package call

import "math/rand/v2"

// A Mirrored is a copy of a request, for a cluster whose answer nobody sees
// (resource.Mirror).
type Mirrored struct {
	Cluster                   *Cluster
	Method, Authority, Target string
	Header                    []MirroredField // as the next hop gets them
	Body                      []byte
}

// A MirroredField is one header field.
type MirroredField struct{ Name, Value string }

// MirrorTo draws the clusters that a call is copied to: nil, for nearly all.
// Protocols ask once, when the request is at hand as a whole, and give a copy to
// Route.Mirror for each; one that does not fit into the route's buffer for
// replay is not copied.
func (c *Call) MirrorTo() (to []*Cluster) {
	for i, m := range c.Route.Mirrors {
		if rand.Float64() < m.Share {
			to = append(to, c.Route.MirrorClusters[i])
		}
	}
	return to
}

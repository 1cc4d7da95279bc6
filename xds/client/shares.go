package client

import (
	"slices"

	"github.com/meshd/meshd/xds/resource"
)

// This client's Shares are a resource with as many users as there are others
// whose limits are shared.

// share asks for the Shares if e, the entry of that kind and name, has a limit
// that is shared, and gives them up if it has none, or is nil.
func (g *graph) share(k kind, name string, e *entry) {
	user := k.String() + " " + name
	if e != nil && e.limited() {
		g.acquire(shares, g.own, user)
	} else if k != shares {
		g.release(shares, g.own, user)
	}
}

// limited says whether a limit that is meant for all clients together is in e.
func (e *entry) limited() bool {
	switch {
	case e.cluster != nil:
		return e.cluster.SharedRequests > 0
	case e.routes != nil:
		return rateShared(e.routes)
	case e.listener != nil:
		return rateShared(e.listener.Routes)
	}
	return false
}

func rateShared(rc *resource.RouteConfig) bool {
	return rc != nil && slices.ContainsFunc(rc.VirtualHosts, func(vh resource.VirtualHost) bool {
		return slices.ContainsFunc(vh.Routes, func(r resource.Route) bool { return r.RateLimit.Shared })
	})
}

package server

import (
	"cmp"
	"slices"

	"github.com/meshd/meshd/xds/cache"
	"github.com/meshd/meshd/xds/resource"
)

// order is the order to tell changes of several types in: a client learns of a
// cluster and its endpoints before a route leads there. Unknown types come last.
var order = map[string]int{
	resource.ClusterType:   1,
	resource.EndpointsType: 2,
	resource.ListenerType:  3,
	resource.RouteType:     4,
}

// whole are the types whose state-of-the-world responses hold every resource
// that the client subscribed to, absence meaning that there is none.
var whole = map[string]bool{
	resource.ClusterType:  true,
	resource.ListenerType: true,
}

// sortTypes puts type URLs in the order to be told.
func sortTypes(types []string) {
	rank := func(t string) int { return cmp.Or(order[t], len(order)+1) }
	slices.SortFunc(types, func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
	})
}

// byType sorts changes by type and, within one, by name.
func byType(changes []cache.Change) map[string][]cache.Change {
	out := map[string][]cache.Change{}
	for _, ch := range changes {
		out[ch.Key.Type] = append(out[ch.Key.Type], ch)
	}
	for _, cs := range out {
		slices.SortFunc(cs, func(a, b cache.Change) int { return cmp.Compare(a.Key.Name, b.Key.Name) })
	}
	return out
}

// replace returns changes with those of the same keys as newer replaced by them.
func replace(changes, newer []cache.Change) []cache.Change {
	keys := make(map[cache.Key]bool, len(newer))
	for _, ch := range newer {
		keys[ch.Key] = true
	}
	changes = slices.DeleteFunc(changes, func(ch cache.Change) bool { return keys[ch.Key] })
	return append(changes, newer...)
}

// version is a resource's, "" for none.
func version(r *cache.Resource) string {
	if r == nil {
		return ""
	}
	return r.Version
}

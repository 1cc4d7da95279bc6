package client

import "github.com/meshd/meshd/xds/resource"

// New routes come into force when all that they need is known, so that no call
// meets a cluster without endpoints only because its news is under way.

// setRoutes lets rc take the place of w's routes as soon as its clusters are
// known; at once if it is nil.
func (g *graph) setRoutes(w *watch, rc *resource.RouteConfig) {
	if rc == nil {
		w.next = nil
		delete(g.waiting, w)
		if !w.told || w.current != nil {
			g.tell(w, nil)
		}
		g.releaseClusters(w)
		return
	}
	w.next = rc
	g.waiting[w] = struct{}{}
	eachCluster(rc, func(name string) {
		if !w.clusters.has(name) {
			w.clusters.add(name)
			g.acquire(cluster, name, w.authority)
		}
	})
	g.releaseClusters(w) // of a next that has never come into force
}

// settle puts into force what waits for nothing any more. It is called after
// every batch of news.
func (g *graph) settle() {
	for w := range g.waiting {
		ready := true
		eachCluster(w.next, func(name string) { ready = ready && g.ready(name) })
		if !ready {
			continue
		}
		delete(g.waiting, w)
		rc := w.next
		w.next = nil
		g.tell(w, rc)
		g.releaseClusters(w)
	}
}

// ready says whether there was an answer for a cluster and its endpoints.
func (g *graph) ready(name string) bool {
	e := g.entries[cluster][name]
	if !e.known || e.cluster == nil {
		return e.known
	}
	return g.entries[endpoints][e.cluster.EDSName].known
}

func (g *graph) tell(w *watch, rc *resource.RouteConfig) {
	w.told, w.current, g.changed = true, rc, true
	g.events.Route(w.authority, rc)
}

// releaseClusters gives up what neither current nor next names.
func (g *graph) releaseClusters(w *watch) {
	used := set{}
	eachCluster(w.current, used.add)
	eachCluster(w.next, used.add)
	for name := range w.clusters {
		if !used.has(name) {
			delete(w.clusters, name)
			g.release(cluster, name, w.authority)
		}
	}
}

// eachCluster calls f with every cluster that routes lead to or mirror calls to.
func eachCluster(rc *resource.RouteConfig, f func(name string)) {
	if rc == nil {
		return
	}
	for _, vh := range rc.VirtualHosts {
		for _, r := range vh.Routes {
			for _, c := range r.Clusters {
				f(c.Name)
			}
			for _, m := range r.Mirrors {
				f(m.Cluster)
			}
		}
	}
}

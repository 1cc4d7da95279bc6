package ctl

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/ctl/show"
)

// The share and the number of calls from which an application counts as one
// that does not hand traceparent on: it may have others to make of its own accord.
const (
	strangersShare = 0.05
	strangersLeast = 10
)

// A sidecarAnswer is what a sidecar says of itself.
type sidecarAnswer struct {
	ready error
	stats api.SidecarStats
}

// versions compares those of meshctl, meshd and the sidecars.
func (c *checkup) versions(own string, status api.Status) {
	if released(own) && released(status.Version) && status.Version != own {
		c.add(note, "meshctl", "use the meshctl that came with meshd", "is %s and meshd %s", own, status.Version)
	}
	others := map[string][]string{}
	add := func(version, id string) {
		if released(version) && released(status.Version) && version != status.Version {
			others[version] = append(others[version], id)
		}
	}
	for _, s := range status.Services {
		for _, i := range s.Instances {
			add(i.Version, i.ID)
		}
	}
	for _, x := range status.Clients {
		_, id, _ := strings.Cut(x.ID, "/")
		add(x.Version, id)
	}
	for _, v := range sorted(others) {
		ids := others[v]
		slices.Sort(ids)
		ids = slices.Compact(ids)
		c.add(note, listed(ids), "restart these instances with the new sidecar when the upgrade goes on",
			"sidecar %s, while meshd is %s", v, status.Version)
	}
}

// released reports whether a version says which it is: what was built from a
// work tree does not.
func released(v string) bool { return v != "" && v != "dev" && v != "(devel)" }

// nacks are configurations that a client refuses.
func (c *checkup) nacks(clients []api.XDSClient) {
	for _, x := range clients {
		for _, h := range x.Has {
			if h.Rejected != "" {
				c.add(problem, x.ID, "it keeps what it had: correct the object that this comes from (meshctl get …), or upgrade the client",
					"refuses what it was sent of type %s: %s", h.Type, strings.Join(strings.Fields(h.Rejected), " "))
			}
		}
	}
}

// instances finds services that nobody serves.
func (c *checkup) instances(services []api.Service) {
	for _, s := range services {
		name := fmt.Sprintf("%s:%d", show.Name(s.Namespace, s.Name), s.Port)
		ready := 0
		for _, i := range s.Instances {
			if i.Ready && !i.Draining {
				ready++
			}
		}
		switch {
		case len(s.Instances) == 0:
			do := fmt.Sprintf("run some: meshctl run --name %s --namespace %s --port %d -- COMMAND", s.Name, s.Namespace, s.Port)
			if strings.HasPrefix(s.Source, "file:") || s.Source == "api" {
				do += "; or delete the Service"
			}
			c.add(problem, name, do, "has no instance: its calls wait, and then fail")
		case ready == 0:
			c.add(problem, name, "see why they are not: what the application prints, and meshctl status",
				"has %s, and none is ready", plural(len(s.Instances), "instance"))
		case ready < len(s.Instances):
			c.add(note, name, "they may be starting or ending: see meshctl status",
				"%d of its %d instances are ready", ready, len(s.Instances))
		}
	}
}

// connections finds instances that are known of a sidecar that has no stream.
func (c *checkup) connections(status api.Status) {
	connected := map[string]bool{}
	for _, x := range status.Clients {
		connected[x.ID] = true
	}
	var without []string
	for _, s := range status.Services {
		for _, i := range s.Instances {
			if id := fmt.Sprintf("%s.%s/%s", s.Name, s.Namespace, i.ID); i.Admin != "" && !connected[id] {
				without = append(without, i.ID)
			}
		}
	}
	if len(without) > 0 {
		slices.Sort(without)
		c.add(note, listed(slices.Compact(without)), "another meshd of the same registry may have them; else they have ended without saying so, and go within seconds",
			"known, but not connected to this meshd")
	}
}

// store looks at what meshd could not keep.
func (c *checkup) store(n api.Kept) {
	if n.Overflow > 0 {
		c.add(problem, "meshd", "more is reported than its bounds allow: see its log; what needs more goes to a backend by OTEL_EXPORTER_OTLP_ENDPOINT",
			"%d measurements had no place in its store, so that figures are too low", n.Overflow)
	}
	if n.Invalid > 0 {
		c.add(note, "meshd", "see its log for what and by whom: sidecars of another version, or an application's SDK with explicit histograms",
			"%d measurements or spans that were sent to it make no sense to it", n.Invalid)
	}
	if n.DroppedSpans > 0 {
		c.add(note, "meshd", "traces of thousands of spans are better looked at in a backend", "%d spans were not kept, of traces that are too large", n.DroppedSpans)
	}
}

// unreachable are the sidecars that could not be asked.
func (c *checkup) unreachable(away []string, of int) {
	if len(away) > 0 {
		slices.Sort(away)
		c.add(note, listed(away), "admin ports listen on loopback: run meshctl check there too, or forward the ports",
			"%d of %s could not be asked how they are", len(away), plural(of, "sidecar"))
	}
}

// sidecar looks at what one says.
func (c *checkup) sidecar(s sidecarAt, a sidecarAnswer) {
	name := s.service + "/" + s.instance
	if a.ready != nil && s.ready {
		c.add(problem, name, "see what it logs: meshctl log-level "+s.service+" debug", "its sidecar is not ready: %v", a.ready)
	}
	if n := a.stats.Panics; n > 0 {
		c.add(problem, name, "its log has the place: please report it, with the log", "its sidecar has caught %s", plural(int(n), "panic"))
	}
	for _, served := range a.stats.Server {
		out := served.Figures["meshd.server.outbound_calls"]
		not, all := out["false"], out["false"]+out["true"]
		if not >= strangersLeast && not > strangersShare*all {
			c.add(problem, name, "copy the headers traceparent and tracestate from each request that it gets to those that it makes for it, or use an OpenTelemetry SDK",
				"the application does not hand traceparent on: of %.0f calls that it made while it served others, %.0f belong to none of them", all, not)
		}
	}
	for _, lost := range [...]struct{ metric, what string }{
		{"meshd.telemetry.dropped", "spans or log records were lost on the way to "},
		{"meshd.access_log.dropped", "lines of the access log were lost"},
	} {
		of := a.stats.Figures[lost.metric]
		for _, word := range sorted(of) {
			if n := of[word]; n > 0 {
				c.add(problem, name, lostDo(lost.metric, word), "%.0f %s%s", n, lost.what, exporterName(word))
			}
		}
	}
}

func exporterName(word string) string {
	if word == "otel" {
		return "the backend"
	}
	return word
}

func lostDo(metric, word string) string {
	switch {
	case metric == "meshd.access_log.dropped":
		return "its disk is slower than the calls: --access-log-filter errors, or a faster place for --access-log"
	case word == "otel":
		return "the backend is away, slow or refuses: see the sidecar's log, and OTEL_EXPORTER_OTLP_ENDPOINT; a queue is OTEL_BSP_MAX_QUEUE_SIZE spans"
	}
	return "meshd was away, or has more to do than it can: see its log and its CPU"
}

// sorted are a map's keys.
func sorted[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

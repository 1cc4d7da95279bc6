package control

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/meshd/meshd/registry"
	"github.com/meshd/meshd/telemetry"
	"github.com/meshd/meshd/xds/server"
)

// news is what happened to services from one picture to the next.
func news(old, now *picture) (out []telemetry.Event) {
	for s, n := range now.scales {
		was, ok := old.scales[s]
		if ok && was == n {
			continue
		}
		text := fmt.Sprintf("%d instances are wanted", n)
		if ok {
			text += fmt.Sprintf("; %d were", was)
		}
		out = append(out, telemetry.Event{Service: telemetry.Service{Namespace: s.namespace, Name: s.name}, Kind: telemetry.EventScaled, Text: text})
	}
	type key struct {
		service
		text string // an id, or a version
	}
	before, versions, known := map[key]*registry.Instance{}, map[key]bool{}, map[service]string{}
	for i := range old.instances {
		in := &old.instances[i]
		s := service{in.Namespace, in.Service}
		before[key{s, in.ID}] = in
		versions[key{s, in.Version}] = true
		known[s] = in.Version
	}
	event := func(in *registry.Instance, kind telemetry.EventKind, text string) {
		out = append(out, telemetry.Event{Service: telemetry.Service{Namespace: in.Namespace, Name: in.Service}, Kind: kind, Instance: in.ID, Text: text})
	}
	for i := range now.instances {
		in := &now.instances[i]
		s := service{in.Namespace, in.Service}
		was := before[key{s, in.ID}]
		delete(before, key{s, in.ID})
		had := was != nil && takesCalls(was)
		if had && was.PID != in.PID {
			// Who supervises it was quicker than the grace that a broken stream has:
			// callers keep the endpoint, and yet a process has ended.
			event(in, telemetry.EventLeft, in.ID+" has ended; another process takes its place")
			had = false
		}
		switch {
		case takesCalls(in) && !had:
			event(in, telemetry.EventJoined, fmt.Sprintf("%s takes calls at %s", in.ID, in.AddrPort()))
		case !takesCalls(in) && had && in.Draining:
			event(in, telemetry.EventLeft, in.ID+" takes no new calls: it is draining")
		case !takesCalls(in) && had:
			event(in, telemetry.EventLeft, in.ID+" takes no new calls: it is not ready")
		}
		if last, any := known[s]; any && in.Version != "" && !versions[key{s, in.Version}] {
			versions[key{s, in.Version}] = true
			event(in, telemetry.EventDeployed, fmt.Sprintf("%s is the first with a sidecar of version %s; there was %s", in.ID, in.Version, last))
		}
	}
	for _, in := range before {
		if takesCalls(in) {
			event(in, telemetry.EventLeft, in.ID+" is gone")
		}
	}
	return out
}

func takesCalls(in *registry.Instance) bool { return in.Ready && !in.Draining }

// rejections notes, until ctx ends, when clients refuse what they are sent. A
// client that refuses again within a second is told of once.
func rejections(ctx context.Context, clients func() []server.Client, note func(telemetry.Event)) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last := map[string]server.Client{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var events []telemetry.Event
		events, last = rejected(last, clients())
		for _, e := range events {
			note(e)
		}
	}
}

// rejected are the refusals since the clients were last looked at.
func rejected(last map[string]server.Client, clients []server.Client) (out []telemetry.Event, next map[string]server.Client) {
	next = make(map[string]server.Client, len(clients))
	for _, c := range clients {
		key := c.ID + " " + c.Connected.String()
		next[key] = c
		if c.Service == "" || c.Nacked <= last[key].Nacked {
			continue
		}
		_, instance, _ := strings.Cut(c.ID, "/")
		out = append(out, telemetry.Event{
			Service: telemetry.Service{Namespace: c.Namespace, Name: c.Service}, Kind: telemetry.EventRejected,
			Instance: instance, Text: c.ID + " refused its configuration: " + strings.Join(strings.Fields(c.LastNack), " "),
		})
	}
	return out, next
}

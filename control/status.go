package control

import (
	"net/http"
	"strings"
	"time"

	"github.com/meshd/meshd/dashboard"
	"github.com/meshd/meshd/mesh"
	"github.com/meshd/meshd/registry"
	"github.com/meshd/meshd/telemetry"
	"github.com/meshd/meshd/xds/server"
)

type clientStatus struct {
	ID               string  `json:"id"`
	Service          string  `json:"service"`
	Namespace        string  `json:"namespace"`
	Admin            string  `json:"admin"`
	Version          string  `json:"version,omitempty"` // of its sidecar
	ConnectedSeconds float64 `json:"connectedSeconds"`
	Acked            uint64  `json:"acked"`
	Nacked           uint64  `json:"nacked"`
	LastNack         string  `json:"lastNack"`
	Has              []has   `json:"has"`
}

// has is what a client has of one type of resource, by the type's last word.
type has struct {
	Type      string `json:"type"`
	Resources int    `json:"resources"`
	Rejected  string `json:"rejected,omitempty"`
}

type serviceStatus struct {
	Name      string           `json:"name"`
	Namespace string           `json:"namespace"`
	Port      uint16           `json:"port"`
	Protocol  string           `json:"protocol"`
	Source    string           `json:"source"` // the object's, or "registry" if only instances name it
	Instances []instanceStatus `json:"instances"`
}

type instanceStatus struct {
	ID         string  `json:"id"`
	Address    string  `json:"address"`
	Ready      bool    `json:"ready"`
	Draining   bool    `json:"draining"`
	Region     string  `json:"region"`
	Zone       string  `json:"zone"`
	Admin      string  `json:"admin"`
	PID        int     `json:"pid"`
	Version    string  `json:"version,omitempty"` // of its sidecar
	AgeSeconds float64 `json:"ageSeconds"`
}

// connected lists the xDS server's streams.
func connected(s *server.Server) []clientStatus {
	out := []clientStatus{}
	for _, c := range s.Clients() {
		st := clientStatus{
			ID: c.ID, Service: c.Service, Namespace: c.Namespace, Admin: c.Admin, Version: c.Version,
			ConnectedSeconds: time.Since(c.Connected).Seconds(),
			Acked:            c.Acked, Nacked: c.Nacked, LastNack: c.LastNack, Has: []has{},
		}
		for _, h := range c.Has {
			st.Has = append(st.Has, has{lastWord(h.Type), h.Resources, h.Rejected})
		}
		out = append(out, st)
	}
	return out
}

// lastWord is Cluster of type.googleapis.com/envoy.config.cluster.v3.Cluster.
func lastWord(typ string) string { return typ[strings.LastIndexAny(typ, "./")+1:] }

// listed is the same for the page.
func listed(s *server.Server) []dashboard.Client {
	var out []dashboard.Client
	for _, c := range s.Clients() {
		client := dashboard.Client{
			ID: c.ID, Service: c.Service, Namespace: c.Namespace, Connected: c.Connected,
			Acked: c.Acked, Nacked: c.Nacked,
		}
		for _, h := range c.Has {
			client.Has = append(client.Has, dashboard.Has{Type: lastWord(h.Type), Resources: h.Resources, Rejected: h.Rejected})
		}
		out = append(out, client)
	}
	return out
}

func (a *api) status(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{
		"version":       a.version,
		"uptimeSeconds": time.Since(a.started).Seconds(),
		"clients":       a.clients(),
		"services":      a.current.Load().services(time.Now()),
		"telemetry":     kept(a.watching.store.Stats()),
	})
}

// telemetryStatus counts, since meshd's start, what was measured and is not
// kept, and what it took to keep the rest.
type telemetryStatus struct {
	// Overflow are points that had no place within the bounds, or are not told
	// apart from others.
	Overflow     uint64 `json:"overflow"`
	Invalid      uint64 `json:"invalid"`      // points and spans that were refused
	DroppedSpans uint64 `json:"droppedSpans"` // of traces that are too large
	// BusySeconds is how long it took: a second's difference is the part of a core
	// that the store takes.
	BusySeconds float64 `json:"busySeconds"`
}

func kept(s telemetry.Stats) telemetryStatus {
	return telemetryStatus{Overflow: s.Overflow(), Invalid: s.Invalid + s.InvalidSpans, DroppedSpans: s.DroppedSpans, BusySeconds: s.Busy.Seconds()}
}

// services lists every port of every service with all its instances: those
// that registered, and the addresses of EndpointSlices that none of them has.
func (p *picture) services(now time.Time) []serviceStatus {
	registered := map[mesh.ServiceKey][]*registry.Instance{}
	for i := range p.instances {
		in := &p.instances[i]
		registered[in.Key()] = append(registered[in.Key()], in)
	}
	sources := map[service]string{}
	for _, o := range p.state.Objects() {
		if m := o.Head(); m.Kind == mesh.KindService {
			sources[service{m.Namespace, m.Name}] = source(o)
		}
	}
	out := []serviceStatus{}
	for _, k := range p.state.Keys() {
		s := serviceStatus{Name: k.Name, Namespace: k.Namespace, Port: k.Port, Source: "registry", Instances: []instanceStatus{}}
		if from, ok := sources[service{k.Namespace, k.Name}]; ok {
			s.Source = from
		}
		known := map[string]bool{}
		for _, in := range registered[k] {
			st := instanceStatus{
				ID: in.ID, Address: in.AddrPort().String(), Ready: in.Ready, Draining: in.Draining,
				Region: in.Region, Zone: in.Zone, Admin: in.Admin, PID: in.PID, Version: in.Version,
			}
			if !in.Since.IsZero() {
				st.AgeSeconds = max(0, now.Sub(in.Since).Seconds())
			}
			known[st.Address] = true
			s.Instances = append(s.Instances, st)
		}
		if b, ok := p.state.Service(k); ok {
			s.Protocol = b.Policy.Protocol.String()
			for _, e := range b.Endpoints {
				if known[e.Addr.String()] {
					continue
				}
				s.Instances = append(s.Instances, instanceStatus{
					ID: e.ID, Address: e.Addr.String(), Ready: true, Draining: e.Health == mesh.Draining,
					Region: e.Region, Zone: e.Zone,
				})
			}
		}
		out = append(out, s)
	}
	return out
}

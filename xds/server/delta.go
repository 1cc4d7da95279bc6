package server

import (
	"maps"
	"slices"
	"strconv"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meshd/meshd/xds/cache"
	"github.com/meshd/meshd/xds/resource"
)

// maxResponse is the size in bytes at which a delta response is divided; gRPC
// clients take 4 MiB unless told otherwise.
const maxResponse = 1 << 20

// delta is incremental xDS on one stream.
type delta struct {
	*client
	send  func(*discovery.DeltaDiscoveryResponse) error
	types map[string]*deltaType
	nonce uint64
}

// A deltaType is what one type's subscription has come to.
type deltaType struct {
	names    map[string]struct{}
	wildcard bool
	// told is the version of each resource that the client was sent, or said
	// that it had; "" when it was told that there is none. A version that it
	// rejected is in here too, and so is sent again only when it changes.
	told map[string]string
	*verdicts
	last    uint64 // nonce of the last response
	heard   uint64 // nonce of the last one that was accepted or rejected
	answer  bool   // a response is due even if nothing changed
	compare bool   // told came from the client: the next changes are all that there is
}

func (p *delta) request(req *discovery.DeltaDiscoveryRequest) error {
	p.node(req.GetNode())
	p.returning = p.returning || len(req.GetInitialResourceVersions()) > 0
	typ := req.GetTypeUrl()
	t := p.types[typ]
	first := t == nil
	if first {
		if typ == "" || len(p.types) >= maxTypes {
			return status.Errorf(codes.InvalidArgument, "type_url %q: one of at most %d types is accepted", typ, maxTypes)
		}
		t = &deltaType{names: map[string]struct{}{}, told: map[string]string{}}
		t.verdicts = newVerdicts(func(name string) bool { return t.told[name] != "" })
		p.types[typ] = t
	}
	if n, err := strconv.ParseUint(req.GetResponseNonce(), 10, 64); err == nil && t.heard < n && n <= t.last {
		t.heard = n
		t.hear(n, p.answered(typ, req.GetErrorDetail(), t.resources()))
	}
	if err := p.names(typ, t, req, first); err != nil {
		return err
	}
	p.rejects(typ, t.why())
	return p.push()
}

// names makes the changes to t's subscription that a request asks for.
func (p *delta) names(typ string, t *deltaType, req *discovery.DeltaDiscoveryRequest, first bool) error {
	add, drop := req.GetResourceNamesSubscribe(), req.GetResourceNamesUnsubscribe()
	all := t.wildcard || slices.Contains(add, wildcard) || first && len(add) == 0
	if slices.Contains(drop, wildcard) {
		all = false
	}
	var have map[string]string // by the client, from a stream before
	if first {
		have = req.GetInitialResourceVersions()
		if len(have) > p.s.cfg.MaxNames {
			return status.Errorf(codes.ResourceExhausted, "more than %d initial resource versions", p.s.cfg.MaxNames)
		}
	}
	var added, again, dropped []string
	for _, n := range add {
		if n == wildcard {
			continue
		}
		if v, ok := have[n]; ok {
			t.told[n] = v
		} else {
			delete(t.told, n) // asked for again means to be told again
		}
		if _, ok := t.names[n]; ok {
			again = append(again, n)
			continue
		}
		t.names[n] = struct{}{}
		added = append(added, n)
	}
	for _, n := range drop {
		if _, ok := t.names[n]; !ok {
			continue
		}
		delete(t.names, n)
		dropped = append(dropped, n)
		if !all {
			delete(t.told, n)
		}
	}
	if all != t.wildcard {
		t.wildcard = all
		if all {
			maps.Copy(t.told, have)
			t.answer, t.compare = len(have) == 0, len(have) > 0
			p.sub.AddAll(typ, p.scope(typ))
		} else {
			p.sub.RemoveAll(typ, p.scope(typ))
			maps.DeleteFunc(t.told, func(n, _ string) bool { _, ok := t.names[n]; return !ok })
		}
	}
	p.unsubscribe(typ, dropped)
	p.sub.Add(p.keys(typ, again)...)
	return p.subscribe(typ, added)
}

// push sends what changed since the last push, and what is due.
func (p *delta) push() error {
	if p.held() {
		return nil
	}
	changes := byType(p.sub.Take())
	types := slices.Collect(maps.Keys(p.types))
	sortTypes(types)
	for _, typ := range types {
		t := p.types[typ]
		changed, removed := t.news(changes[typ])
		if typ == resource.ClusterType {
			p.again(changed, changes)
		}
		if err := p.respond(typ, t, changed, removed); err != nil {
			return err
		}
	}
	return nil
}

// resources are how many the client has been told of.
func (t *deltaType) resources() (n int) {
	for _, version := range t.told {
		if version != "" {
			n++
		}
	}
	return n
}

// news notes in told what changes say that the client has not been told, and
// returns it.
func (t *deltaType) news(changes []cache.Change) (changed []*cache.Resource, removed []string) {
	for _, ch := range changes {
		name, v := ch.Key.Name, version(ch.Resource)
		old, known := t.told[name]
		if known && old == v {
			continue
		}
		if ch.Resource != nil {
			t.told[name] = v
			changed = append(changed, ch.Resource)
			continue
		}
		removed = append(removed, name)
		if _, subscribed := t.names[name]; subscribed {
			t.told[name] = ""
		} else {
			delete(t.told, name) // it was there by the wildcard
		}
	}
	if t.compare {
		// changes are all that there is; what the client has beyond that is
		// no more.
		t.compare = false
		exists := make(map[string]bool, len(changes))
		for _, ch := range changes {
			exists[ch.Key.Name] = true
		}
		for _, n := range slices.Sorted(maps.Keys(t.told)) {
			if !exists[n] {
				removed = append(removed, n)
				delete(t.told, n)
			}
		}
	}
	return changed, removed
}

// again has the endpoints of clusters that changed sent again: Envoy warms a
// changed cluster up until it is sent its ClusterLoadAssignment.
func (p *delta) again(clusters []*cache.Resource, changes map[string][]cache.Change) {
	const typ = resource.EndpointsType
	t := p.types[typ]
	if t == nil || len(clusters) == 0 {
		return
	}
	var names []string
	for _, r := range clusters {
		if _, subscribed := t.names[r.Name]; subscribed && t.told[r.Name] != "" {
			delete(t.told, r.Name)
			names = append(names, r.Name)
		}
	}
	changes[typ] = replace(changes[typ], p.sub.Get(p.keys(typ, names)...))
}

// respond sends one response, or several where it would be large.
func (p *delta) respond(typ string, t *deltaType, changed []*cache.Resource, removed []string) error {
	for len(changed) > 0 || len(removed) > 0 || t.answer {
		resp := &discovery.DeltaDiscoveryResponse{TypeUrl: typ, RemovedResources: removed}
		removed, t.answer = nil, false
		p.nonce++
		t.last = p.nonce
		t.tell(p.nonce)
		for size := 0; len(changed) > 0 && size < maxResponse; changed = changed[1:] {
			r := changed[0]
			resp.Resources = append(resp.Resources, &discovery.Resource{Name: r.Name, Version: r.Version, Resource: r.Body})
			size += len(r.Body.GetValue())
			t.tell(p.nonce, r.Name)
		}
		resp.Nonce = strconv.FormatUint(p.nonce, 10)
		if err := p.send(resp); err != nil {
			return err
		}
	}
	return nil
}

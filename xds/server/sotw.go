package server

import (
	"encoding/hex"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/meshd/meshd/xds/cache"
	"github.com/meshd/meshd/xds/resource"
)

// sotw is state-of-the-world xDS on one stream.
type sotw struct {
	*client
	send  func(*discovery.DiscoveryResponse) error
	types map[string]*sotwType
	nonce uint64
}

// A sotwType is what one type's subscription has come to.
type sotwType struct {
	names    map[string]struct{}
	wildcard bool
	named    bool // a request has named resources: an empty list means none now
	// told is what the client was sent last: nil for a name that there was
	// nothing for. A version that it rejected is in here too, and so is sent
	// again only when it changes.
	told map[string]*cache.Resource
	*verdicts
	nonce   uint64 // of the last response
	pending bool   // the last response has been neither accepted nor rejected
	answer  bool   // a response is due even if nothing changed
}

func (p *sotw) request(req *discovery.DiscoveryRequest) error {
	p.node(req.GetNode())
	p.returning = p.returning || req.GetVersionInfo() != "" && req.GetResponseNonce() == ""
	typ := req.GetTypeUrl()
	t := p.types[typ]
	if t == nil {
		if typ == "" || len(p.types) >= maxTypes {
			return status.Errorf(codes.InvalidArgument, "type_url %q: one of at most %d types is accepted", typ, maxTypes)
		}
		t = &sotwType{names: map[string]struct{}{}, told: map[string]*cache.Resource{}, answer: true}
		t.verdicts = newVerdicts(func(name string) bool { return t.told[name] != nil })
		p.types[typ] = t
	}
	if n := req.GetResponseNonce(); n != "" && t.nonce != 0 {
		if n != strconv.FormatUint(t.nonce, 10) {
			return nil // it crossed a response that the client will answer next
		}
		if t.pending {
			t.pending = false
			t.hear(t.nonce, p.answered(typ, req.GetErrorDetail(), t.resources()))
		}
	}
	if err := p.names(typ, t, req.GetResourceNames()); err != nil {
		return err
	}
	p.rejects(typ, t.why())
	return p.push()
}

// names makes t's subscription what a request lists.
func (p *sotw) names(typ string, t *sotwType, list []string) error {
	want := make(map[string]struct{}, len(list))
	for _, n := range list {
		want[n] = struct{}{}
	}
	t.named = t.named || len(want) > 0
	_, all := want[wildcard]
	delete(want, wildcard)
	all = all || !t.named
	if all != t.wildcard {
		t.wildcard = all
		if all {
			t.answer = true
			p.sub.AddAll(typ, p.scope(typ))
		} else {
			p.sub.RemoveAll(typ, p.scope(typ))
			maps.DeleteFunc(t.told, func(n string, _ *cache.Resource) bool { _, ok := want[n]; return !ok })
		}
	}
	var added, dropped []string
	for n := range want {
		if _, ok := t.names[n]; !ok {
			added = append(added, n)
			// Told anew, since the client may have forgotten it.
			if !t.wildcard {
				delete(t.told, n)
			}
		}
	}
	for n := range t.names {
		if _, ok := want[n]; !ok {
			dropped = append(dropped, n)
			if !t.wildcard {
				delete(t.told, n)
			}
		}
	}
	t.names = want
	t.answer = t.answer || len(added) > 0
	p.unsubscribe(typ, dropped)
	return p.subscribe(typ, added)
}

// push sends what changed since the last push, and what is due.
func (p *sotw) push() error {
	if p.held() {
		return nil
	}
	changes := byType(p.sub.Take())
	var due []string
	for typ, t := range p.types {
		if t.answer || len(changes[typ]) > 0 {
			due = append(due, typ)
		}
	}
	sortTypes(due)
	for i := 0; i < len(due); i++ {
		typ := due[i]
		t := p.types[typ]
		var changed []string
		for _, ch := range changes[typ] {
			name := ch.Key.Name
			old, known := t.told[name]
			if known && version(old) == version(ch.Resource) {
				continue
			}
			_, subscribed := t.names[name]
			if ch.Resource == nil && !subscribed {
				delete(t.told, name) // it was there by the wildcard
			} else {
				t.told[name] = ch.Resource
			}
			changed = append(changed, name)
		}
		if typ == resource.ClusterType {
			due = p.again(changed, changes, due)
		}
		if len(changed) == 0 && !t.answer {
			continue
		}
		if err := p.respond(typ, t, changed); err != nil {
			return err
		}
	}
	return nil
}

// again has the endpoints of clusters that changed sent again: Envoy warms a
// changed cluster up until it is sent its ClusterLoadAssignment.
func (p *sotw) again(clusters []string, changes map[string][]cache.Change, due []string) []string {
	const typ = resource.EndpointsType
	t := p.types[typ]
	if t == nil {
		return due
	}
	var names []string
	for _, n := range clusters {
		if t.told[n] != nil {
			delete(t.told, n)
			names = append(names, n)
		}
	}
	changes[typ] = replace(changes[typ], p.sub.Get(p.keys(typ, names)...))
	if len(changes[typ]) > 0 && !slices.Contains(due, typ) {
		// Clusters are first of all types, endpoints second.
		due = slices.Insert(due, 1, typ)
	}
	return due
}

func (p *sotw) respond(typ string, t *sotwType, changed []string) error {
	names := changed
	if whole[typ] {
		names = slices.Sorted(maps.Keys(t.told))
	}
	resources := make([]*anypb.Any, 0, len(names))
	for _, n := range names {
		if r := t.told[n]; r != nil {
			resources = append(resources, r.Body)
		}
	}
	if !whole[typ] && len(resources) == 0 && !t.answer {
		return nil // what went cannot be said; it was sent empty before
	}
	p.nonce++
	t.nonce, t.pending, t.answer = p.nonce, true, false
	t.tell(t.nonce, names...)
	return p.send(&discovery.DiscoveryResponse{
		VersionInfo: t.version(),
		TypeUrl:     typ,
		Resources:   resources,
		Nonce:       strconv.FormatUint(t.nonce, 10),
	})
}

// resources are how many the client has been told of.
func (t *sotwType) resources() (n int) {
	for _, r := range t.told {
		if r != nil {
			n++
		}
	}
	return n
}

// version is the hash of all that the client has been told of the type.
func (t *sotwType) version() string {
	h := fnv.New64a()
	for _, n := range slices.Sorted(maps.Keys(t.told)) {
		h.Write([]byte(n + "\x00" + version(t.told[n]) + "\x00"))
	}
	return hex.EncodeToString(h.Sum(nil))
}

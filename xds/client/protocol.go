package client

import (
	"maps"
	"slices"
	"strings"

	"github.com/meshd/meshd/xds/resource"
)

// A kind is one of the resource types, in the order in which they refer to each
// other. The numbers are in state files.
type kind uint8

const (
	listener kind = iota
	route
	cluster
	endpoints
	shares
	kinds
)

var typeURLs = [kinds]string{resource.ListenerType, resource.RouteType, resource.ClusterType, resource.EndpointsType, resource.SharesType}

func (k kind) String() string {
	return typeURLs[k][strings.LastIndexByte(typeURLs[k], '.')+1:]
}

// A protocol is a variant's state of one stream: what is still to be said. It
// never holds more than one request a type and one acknowledgement a response.
// Only Run's goroutine calls it.
type protocol interface {
	method() string
	// reset begins a stream: everything known to g is asked for again.
	reset(g *graph)
	subscribe(k kind, name string)
	unsubscribe(k kind, name string)
	parse(b []byte) (response, error)
	// whole says whether a response of this type lists everything that exists
	// of what was asked for.
	whole(k kind) bool
	// answer acknowledges a response, or refuses it where refusal is not empty.
	answer(k kind, r response, refusal string)
	// next returns a request that is to be sent, or nil. With a node there
	// always is one.
	next(node []byte) []byte
}

// A client that asks for nothing yet says who it is in a request for endpoints
// that do not exist: a first request without names would ask for everything.
const (
	nodeKind = endpoints
	nobody   = resource.MetadataKey + "/none"
)

type set map[string]struct{}

func (s set) add(name string)      { s[name] = struct{}{} }
func (s set) has(name string) bool { _, ok := s[name]; return ok }
func (s set) sorted() []string     { return slices.Sorted(maps.Keys(s)) }

// delta speaks DeltaAggregatedResources.
type delta struct{ types [kinds]deltaType }

type deltaType struct {
	sub, unsub set
	versions   map[string]string // to be sent with the first request
	acks       []ack
}

type ack struct{ nonce, refusal string }

func (d *delta) method() string {
	return "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
}
func (d *delta) parse(b []byte) (response, error) { return parseDelta(b) }
func (d *delta) whole(kind) bool                  { return false }

func (d *delta) reset(g *graph) {
	for k := range kinds {
		t := deltaType{sub: set{}, unsub: set{}, versions: map[string]string{}}
		for name, e := range g.entries[k] {
			t.sub.add(name)
			if e.version != "" {
				t.versions[name] = e.version
			}
		}
		d.types[k] = t
	}
}

func (d *delta) subscribe(k kind, name string) { d.types[k].sub.add(name) }

func (d *delta) unsubscribe(k kind, name string) {
	t := &d.types[k]
	if t.sub.has(name) { // not sent yet, unless it waits behind an unsub
		delete(t.sub, name)
		delete(t.versions, name)
		return
	}
	t.unsub.add(name)
}

func (d *delta) answer(k kind, r response, refusal string) {
	d.types[k].acks = append(d.types[k].acks, ack{r.nonce, refusal})
}

func (d *delta) next(node []byte) []byte {
	for k := range kinds {
		t := &d.types[k]
		if len(t.acks) == 0 && len(t.sub) == 0 && len(t.unsub) == 0 {
			continue
		}
		r := deltaRequest{node: node, typeURL: typeURLs[k], unsubscribe: t.unsub.sorted(), versions: t.versions}
		// A name that is forgotten and asked for again goes into two requests:
		// the server must not think that we still have it.
		again := set{}
		for name := range t.sub {
			if t.unsub.has(name) {
				again.add(name)
				delete(t.sub, name)
			}
		}
		r.subscribe = t.sub.sorted()
		if len(t.acks) > 0 {
			r.nonce, r.refusal = t.acks[0].nonce, t.acks[0].refusal
			t.acks = t.acks[1:]
		}
		t.sub, t.unsub, t.versions = again, set{}, nil
		return r.marshal()
	}
	if node != nil {
		r := deltaRequest{node: node, typeURL: typeURLs[nodeKind], subscribe: []string{nobody}}
		return r.marshal()
	}
	return nil
}

// sotw speaks StreamAggregatedResources.
type sotw struct{ types [kinds]sotwType }

type sotwType struct {
	names                   set
	version, nonce, refusal string
	due                     bool
	asked                   bool // a request with names was sent
	sent, dropped           set  // names of the last request; those of them that were dropped since
}

func (s *sotw) method() string {
	return "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
}
func (s *sotw) parse(b []byte) (response, error) { return parseSotW(b) }
func (s *sotw) whole(k kind) bool                { return k == listener || k == cluster }

// reset leaves version_info empty: with the last one, a server may say nothing
// at all to a request that also has new names.
func (s *sotw) reset(g *graph) {
	for k := range kinds {
		t := sotwType{names: set{}, dropped: set{}, due: len(g.entries[k]) > 0}
		for name := range g.entries[k] {
			t.names.add(name)
		}
		s.types[k] = t
	}
}

func (s *sotw) subscribe(k kind, name string) {
	s.types[k].names.add(name)
	s.types[k].due = true
}

func (s *sotw) unsubscribe(k kind, name string) {
	t := &s.types[k]
	delete(t.names, name)
	t.due = true
	if t.sent.has(name) {
		t.dropped.add(name)
	}
}

func (s *sotw) answer(k kind, r response, refusal string) {
	t := &s.types[k]
	t.nonce, t.refusal, t.due = r.nonce, refusal, true
	if refusal == "" {
		t.version = r.version
	}
}

func (s *sotw) next(node []byte) []byte {
	k, found := nodeKind, false
	for i := range kinds {
		// A first request without names would ask for everything.
		if t := &s.types[i]; t.due && (t.asked || len(t.names) > 0) {
			k, found = i, true
			break
		}
	}
	if !found && node == nil {
		return nil
	}
	t := &s.types[k]
	t.asked = t.asked || len(t.names) > 0
	r := sotwRequest{version: t.version, node: node, typeURL: typeURLs[k], nonce: t.nonce, refusal: t.refusal}
	t.due, t.refusal = false, ""
	// A name that is forgotten and asked for again is missing from one
	// request: the server must not think that we still have it.
	t.sent = set{}
	for name := range t.names {
		if t.dropped.has(name) {
			t.due = true
		} else {
			t.sent.add(name)
		}
	}
	clear(t.dropped)
	r.names = t.sent.sorted()
	if !t.asked {
		r.names = []string{nobody}
	}
	return r.marshal()
}

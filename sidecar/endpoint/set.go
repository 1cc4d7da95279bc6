package endpoint

import (
	"net/netip"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/xds/resource"
)

// A Set is the endpoints of a cluster as of one update. It is immutable, and
// safe to read from any goroutine; the zero Set and a nil one are empty.
type Set struct {
	endpoints []*Endpoint
	byAddress map[netip.AddrPort]*Endpoint
}

// Endpoints are in the order of the assignment. The slice must not be changed.
func (s *Set) Endpoints() []*Endpoint {
	if s == nil {
		return nil
	}
	return s.endpoints
}

// ByAddress finds an endpoint, or nil.
func (s *Set) ByAddress(addr netip.AddrPort) *Endpoint {
	if s == nil {
		return nil
	}
	return s.byAddress[addr]
}

// Len is the number of endpoints.
func (s *Set) Len() int { return len(s.Endpoints()) }

// Update makes the Set that follows s when res arrives; nil is no endpoints.
// An address that stays keeps its State, and its very Endpoint where nothing
// about it changed. make is called for each new address. gone are the
// endpoints whose address left: their State is in no Set any more, but
// attempts in flight still use it. An address listed twice counts where it is
// first. Updates of a cluster are made one after the other, by one goroutine.
func (s *Set) Update(res *resource.Endpoints, make func(resource.Endpoint) *Endpoint) (next *Set, gone []*Endpoint) {
	next = &Set{byAddress: map[netip.AddrPort]*Endpoint{}}
	if res != nil {
		for _, r := range res.Endpoints {
			next.add(s.ByAddress(r.Addr), r, make)
		}
	}
	for _, e := range s.Endpoints() {
		if next.byAddress[e.Addr] == nil {
			gone = append(gone, e)
		}
	}
	return next, gone
}

func (s *Set) add(old *Endpoint, res resource.Endpoint, make func(resource.Endpoint) *Endpoint) {
	if s.byAddress[res.Addr] != nil {
		return
	}
	e := old
	switch {
	case old == nil:
		e = make(res)
	case old.Endpoint != res:
		e = old.with(res)
	}
	s.endpoints = append(s.endpoints, e)
	s.byAddress[res.Addr] = e
}

// WithBreakers is s with a new breaker for each endpoint, for when their
// configuration changed. Attachment, counts, price, report and standing are carried
// over into a new State; attempts in flight end in the old one, and count there.
func (s *Set) WithBreakers(make func(*Endpoint) *breaker.Breaker) *Set {
	next := &Set{byAddress: map[netip.AddrPort]*Endpoint{}}
	for _, e := range s.Endpoints() {
		n := New(e.Endpoint, make(e), e.Attachment)
		n.Requests.Store(e.Requests.Load())
		n.Failures.Store(e.Failures.Load())
		n.Load.packed.Store(e.Load.packed.Load())
		n.Load.busyUntil.Store(e.Load.busyUntil.Load())
		n.Reported.copy(&e.Reported)
		n.standing.Store(e.standing.Load())
		for rule := range e.Ejections {
			n.Ejections[rule].Store(e.Ejections[rule].Load())
		}
		next.endpoints = append(next.endpoints, n)
		next.byAddress[e.Addr] = n
	}
	return next
}

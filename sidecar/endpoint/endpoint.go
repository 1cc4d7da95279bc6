// Package endpoint holds the instances that a cluster's calls may go to: their
// configuration, which comes over xDS and never changes in place, and their
// state, which lives as long as the address is known.
package endpoint

import (
	"sync/atomic"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/xds/resource"
)

// An Endpoint is one instance as of one update of its Set. It is immutable; a
// change of weight, health or locality makes another Endpoint with the same
// State, so that whoever holds the old one keeps counting in the right place.
// Two Endpoints are the same instance exactly if their States are the same.
type Endpoint struct {
	resource.Endpoint
	Address string // "ip:port"
	*State
	// Spans belongs to whoever makes spans of calls to the Endpoint.
	Spans atomic.Value
}

// Rules is how many rules there may be to eject an endpoint by.
const Rules = 8

// A State is what is learnt about an instance while its address is known. Its
// fields may be used from any goroutine.
type State struct {
	Load Load
	// Reported is what the endpoint says of itself.
	Reported Reported
	Breaker  *breaker.Breaker // never nil; one with Config.Disabled lets everything through
	standing standing         // beside Breaker: who chooses reads both
	// Requests counts attempts, Failures those that the breaker was told failed.
	Requests, Failures atomic.Uint64
	outcomes           outcomes
	// Ejections counts them by rule: who judges the outcomes says which is which.
	Ejections [Rules]atomic.Uint32
	// Attachment belongs to whoever made the Endpoint (its pool of
	// connections, say): set before the Endpoint is published, never after.
	Attachment any
}

// New makes an Endpoint without history.
func New(res resource.Endpoint, b *breaker.Breaker, attachment any) *Endpoint {
	return &Endpoint{
		Endpoint: res,
		Address:  res.Addr.String(),
		State:    &State{Breaker: b, Attachment: attachment},
	}
}

// with is e with other configuration.
func (e *Endpoint) with(res resource.Endpoint) *Endpoint {
	return &Endpoint{Endpoint: res, Address: e.Address, State: e.State}
}

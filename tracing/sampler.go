package tracing

import (
	"encoding/binary"
	"math/rand/v2"
)

// DefaultRatio is the share of new traces that is sampled unless told
// otherwise.
const DefaultRatio = 0.01

// A Sampler decides which calls are traced. It is immutable; any goroutine may
// use it.
type Sampler struct {
	bound  uint64
	parent bool // follow the caller's decision
	fixed  bool // always_on, always_off: a route's ratio changes nothing
}

// NewSampler returns OpenTelemetry's parentbased_traceidratio: the caller's
// decision where there is one, else the given share (0 to 1) of trace ids.
func NewSampler(ratio float64) *Sampler {
	return &Sampler{bound: ratioBound(ratio), parent: true}
}

// Start begins a span: a new span id in the parent's trace, or in a new one if
// hasParent is false or the parent is not valid. A ratio of 0 or above, such
// as a route's, takes the place of the sampler's own for traces without a
// decision yet. It neither allocates nor blocks.
//
// The decision by ratio is the one of the OpenTelemetry SDK's
// TraceIDRatioBased, so that every hop that applies the same ratio to a trace
// decides alike.
func (s *Sampler) Start(parent SpanContext, hasParent bool, ratio float64) SpanContext {
	var sc SpanContext
	hasParent = hasParent && parent.Valid()
	if hasParent {
		sc.TraceID = parent.TraceID
		sc.Flags = parent.Flags & FlagRandom
	} else {
		binary.NativeEndian.PutUint64(sc.TraceID[:8], rand.Uint64())
		binary.NativeEndian.PutUint64(sc.TraceID[8:], nonZero())
	}
	sc.SpanID = NewSpanID()

	if hasParent && s.parent {
		sc.Flags |= parent.Flags & FlagSampled
		return sc
	}
	bound := s.bound
	if ratio >= 0 && !s.fixed {
		bound = ratioBound(ratio)
	}
	if binary.BigEndian.Uint64(sc.TraceID[8:])>>1 < bound {
		sc.Flags |= FlagSampled
	}
	return sc
}

// ratioBound is the number that a trace id's last 63 bits must be below.
func ratioBound(ratio float64) uint64 {
	switch {
	case ratio >= 1:
		return 1 << 63
	case ratio > 0:
		return uint64(ratio * (1 << 63))
	default: // NaN too
		return 0
	}
}

func nonZero() uint64 {
	for {
		if n := rand.Uint64(); n != 0 {
			return n
		}
	}
}

package breaker

import "sync/atomic"

// A Limit caps how many of something are in use at once: connections, pending
// or active requests (envoy.config.cluster.v3.CircuitBreakers.Thresholds). It
// refuses and never waits. The zero Limit counts and refuses nothing.
type Limit struct {
	inUse   atomic.Int64
	refused atomic.Uint64
	max     atomic.Uint32
}

// NewLimit makes a Limit; 0 is no limit.
func NewLimit(max uint32) *Limit {
	l := &Limit{}
	l.Set(max)
	return l
}

// Set changes the limit. What is in use beyond it stays in use.
func (l *Limit) Set(max uint32) { l.max.Store(max) }

// Acquire takes one, to be given back by exactly one Release, or reports false.
func (l *Limit) Acquire() bool {
	most := int64(l.max.Load())
	if most == 0 {
		l.inUse.Add(1)
		return true
	}
	for {
		n := l.inUse.Load()
		if n >= most {
			l.refused.Add(1)
			return false
		}
		if l.inUse.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release gives back what one Acquire took.
func (l *Limit) Release() { l.inUse.Add(-1) }

// InUse is the number taken and not given back.
func (l *Limit) InUse() int64 { return l.inUse.Load() }

// Max is the limit; 0 is none.
func (l *Limit) Max() uint32 { return l.max.Load() }

// Refused is how often Acquire has reported false.
func (l *Limit) Refused() uint64 { return l.refused.Load() }

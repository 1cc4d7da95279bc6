package breaker

import "sync/atomic"

// A Bucket limits a rate: a token bucket of burst tokens that fills at rate
// tokens a second (envoy.type.v3.TokenBucket without its steps). It is the
// generic cell rate algorithm: the whole bucket is the time at which it would
// be full again, so taking is one compare-and-swap, and nothing fills it.
//
// All methods may be called from any goroutine. now is a monotonic clock in
// nanoseconds.
type Bucket struct {
	full  atomic.Int64 // when the bucket is full again; in the past: it is
	shape atomic.Pointer[bucketShape]

	refused atomic.Uint64
}

type bucketShape struct {
	per   float64 // nanoseconds that a token takes to come
	depth float64 // nanoseconds that the burst takes
}

// NewBucket makes a full Bucket. rate is in tokens a second, burst in tokens;
// a burst below one token is one, and a rate of 0 refuses all after the burst.
func NewBucket(rate, burst float64) *Bucket {
	b := new(Bucket)
	b.Set(rate, burst)
	return b
}

// Set changes the rate, as when meshd gives a caller another share. What has
// been taken stays taken, as time: a bucket that would have been full in a
// second still is.
func (b *Bucket) Set(rate, burst float64) {
	per := 1e18 // 31 years
	if rate > 1e-9 {
		per = 1e9 / rate
	}
	b.shape.Store(&bucketShape{per: per, depth: min(max(burst, 1)*per, 4e18)})
}

// Take takes one token, or reports how long it takes until there is one: the
// value for Retry-After.
func (b *Bucket) Take(now int64) (ok bool, wait int64) {
	s := b.shape.Load()
	for {
		full := b.full.Load()
		next := max(full, now) + int64(s.per)
		if over := next - now - int64(s.depth); over > 0 {
			b.refused.Add(1)
			return false, over
		}
		if b.full.CompareAndSwap(full, next) {
			return true, 0
		}
	}
}

// Refused is how often Take has reported false.
func (b *Bucket) Refused() uint64 { return b.refused.Load() }

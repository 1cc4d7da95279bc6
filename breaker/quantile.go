package breaker

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// A Quantile follows a quantile of recent latencies: the delay after which a
// call is hedged. Samples are counted in a histogram whose buckets are 6 %
// wide; every 128 samples, or after a second, one of the callers looks the quantile
// up and lets the counts fade, so that it speaks of the last thousand or so.
//
// Record and Value may be called from any goroutine: one and two atomic
// additions. It keeps 4 kB.
type Quantile struct {
	q       float64
	value   atomic.Int64
	fresh   atomic.Uint32 // samples since the last look
	working atomic.Bool   // somebody looks
	looked  atomic.Int64
	counts  [quantileBuckets]atomic.Uint32
}

const (
	subBits         = 4 // 16 buckets an octave
	firstOctave     = 10
	lastOctave      = 37 // 137 s
	quantileBuckets = (lastOctave - firstOctave + 1) << subBits

	samplesPerLook = 128
	samplesKept    = 1024
	sampleWeight   = 64 // so that a count fades in small steps
	lookEvery      = int64(time.Second)
	minSamples     = 32
)

// NewQuantile makes a Quantile of q, such as 0.95.
func NewQuantile(q float64) *Quantile { return &Quantile{q: q} }

// Record counts one latency in nanoseconds. now is a monotonic clock.
func (h *Quantile) Record(now, latency int64) {
	h.counts[quantileBucket(latency)].Add(sampleWeight)
	n := h.fresh.Add(1)
	if n >= samplesPerLook || n&7 == 0 && n >= minSamples && now-h.looked.Load() >= lookEvery {
		h.look(now)
	}
}

// Value is the quantile in nanoseconds, or 0 while fewer than 32 samples have
// been seen: nobody is hedged on a guess.
func (h *Quantile) Value() int64 { return h.value.Load() }

// look finds the quantile and fades the counts. What is recorded meanwhile may
// fade a little early, nothing else.
func (h *Quantile) look(now int64) {
	if !h.working.CompareAndSwap(false, true) {
		return
	}
	defer h.working.Store(false)
	h.fresh.Store(0)
	h.looked.Store(now)
	var total uint64
	for i := range h.counts {
		total += uint64(h.counts[i].Load())
	}
	rank := uint64(math.Ceil(h.q * float64(total)))
	var seen uint64
	for i := range h.counts {
		c := uint64(h.counts[i].Load())
		if seen+c >= rank && c > 0 {
			low, width := quantileBounds(i)
			h.value.Store(low + int64(float64(width)*float64(rank-seen)/float64(c)))
			break
		}
		seen += c
	}
	if total <= samplesKept*sampleWeight {
		return
	}
	keep := float64(samplesKept*sampleWeight) / float64(total)
	for i := range h.counts {
		if c := h.counts[i].Load(); c > 0 {
			h.counts[i].Add(-uint32(math.Ceil(float64(c) * (1 - keep))))
		}
	}
}

func quantileBucket(ns int64) int {
	if ns < 1<<firstOctave {
		return 0
	}
	octave := bits.Len64(uint64(ns)) - 1
	if octave > lastOctave {
		return quantileBuckets - 1
	}
	sub := int(ns>>(octave-subBits)) & (1<<subBits - 1)
	return (octave-firstOctave)<<subBits | sub
}

// quantileBounds is the least latency of a bucket, and the bucket's width.
func quantileBounds(i int) (low, width int64) {
	width = 1 << (i>>subBits + firstOctave - subBits)
	return width * int64(1<<subBits|i&(1<<subBits-1)), width
}

package stats

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// Scale is the scale of every latency histogram, as OpenTelemetry defines
// base-2 exponential histograms: bucket i covers (base^i, base^(i+1)] seconds
// with base = 2^(2^-Scale), so a bucket is 2.2 % wide.
const Scale = 5

const (
	perOctave = 1 << Scale
	minOctave = -20 // the range starts above 2^-20 s, 0.95 µs
	maxOctave = 9   // and ends at 2^10 s, 1,024 s
	octaves   = maxOctave - minOctave + 1
	buckets   = octaves * perOctave

	// firstIndex is the OpenTelemetry index of our bucket 0.
	firstIndex = minOctave * perOctave
)

// A Histogram counts latencies from 1 µs to 1,024 s; what lies outside counts
// in the first or the last bucket. Record may be called by any number of
// goroutines; nothing blocks. The zero value is empty and ready.
//
// Buckets come into being an octave at a time: a service that answers within
// 1 to 30 ms pays for five octaves, 1.3 kB.
type Histogram struct {
	sum     atomic.Int64 // nanoseconds
	octaves [octaves]atomic.Pointer[octave]
}

// An octave holds the buckets of (2^o, 2^(o+1)] seconds.
type octave struct {
	counts [perOctave]atomic.Uint64
	kept   atomic.Pointer[[perOctave]atomic.Pointer[Exemplar]] // nil: none is
}

// An Exemplar is a call in a bucket, of which there is more to see.
type Exemplar struct {
	Trace [16]byte
	Span  [8]byte
	Time  time.Time // when it ended
	Value time.Duration
}

// Record counts one latency: two atomic additions, no allocation once the
// latency's octave exists. A negative latency counts as zero.
func (h *Histogram) Record(d time.Duration) { h.record(d) }

// RecordKept is Record for a call that is kept: it becomes its bucket's
// exemplar, in place of an older one. Value is set to d.
func (h *Histogram) RecordKept(d time.Duration, e Exemplar) {
	o, i := h.record(d)
	kept := o.kept.Load()
	if kept == nil {
		o.kept.CompareAndSwap(nil, new([perOctave]atomic.Pointer[Exemplar]))
		kept = o.kept.Load()
	}
	e.Value = d
	kept[i].Store(&e)
}

func (h *Histogram) record(d time.Duration) (o *octave, i int) {
	ns := max(int64(d), 0)
	b := bucketOf(ns)
	o = h.octaves[b/perOctave].Load()
	if o == nil {
		o = h.grow(b / perOctave)
	}
	i = b % perOctave
	o.counts[i].Add(1)
	h.sum.Add(ns)
	return o, i
}

func (h *Histogram) grow(i int) *octave {
	h.octaves[i].CompareAndSwap(nil, new(octave))
	return h.octaves[i].Load()
}

// Distribution is a histogram's content at one moment. Count is the sum of
// Counts by construction; Sum may be ahead of or behind it by what was being
// recorded at that moment.
type Distribution struct {
	Count  uint64
	Sum    time.Duration
	Offset int      // OpenTelemetry index of Counts[0]
	Counts []uint64 // without leading and trailing zeros
	// Exemplars are the newest kept calls of the buckets, the quickest first; of
	// a bucket none or one.
	Exemplars []*Exemplar
}

// Distribution reads the histogram.
func (h *Histogram) Distribution() Distribution {
	d := Distribution{Sum: time.Duration(h.sum.Load())}
	first, last := -1, -1
	var all [buckets]uint64
	for i := range h.octaves {
		o := h.octaves[i].Load()
		if o == nil {
			continue
		}
		kept := o.kept.Load()
		for j := range o.counts {
			n := o.counts[j].Load()
			if n == 0 {
				continue
			}
			last = i*perOctave + j
			if first < 0 {
				first = last
			}
			all[last] = n
			d.Count += n
			if kept == nil {
				continue
			}
			if e := kept[j].Load(); e != nil {
				d.Exemplars = append(d.Exemplars, e)
			}
		}
	}
	if first >= 0 {
		d.Offset = firstIndex + first
		d.Counts = append([]uint64(nil), all[first:last+1]...)
	}
	return d
}

// Quantile returns the latency below which the share q (0 to 1) of the counts
// lie, within half a bucket (1.1 %); 0 if there are none.
func (d Distribution) Quantile(q float64) time.Duration {
	rank := max(uint64(math.Ceil(q*float64(d.Count))), 1)
	var seen uint64
	for i, n := range d.Counts {
		if seen += n; seen >= rank {
			middle := (float64(d.Offset+i) + 0.5) / perOctave
			return time.Duration(math.Exp2(middle) * float64(time.Second))
		}
	}
	return 0
}

// table finds a bucket from the leading seven bits of a latency in
// nanoseconds and one comparison. Such a prefix spans at most 1.6 %, less than
// a bucket, so at most one boundary lies within it. The comparison is with
// whole nanoseconds, hence exact.
var table = makeTable()

type bucketTable struct {
	// A latency of n ns is in bucket b if bound[b] < n <= bound[b+1].
	bound [buckets + 1]int64
	// start is the bucket of the least latency with a given prefix.
	start [(lastBit - firstBit + 1) << prefixBits]uint16
}

const (
	prefixBits = 6  // after the leading one
	firstBit   = 9  // of the least bound, 953 ns
	lastBit    = 39 // of the greatest, 1,024 s
)

func makeTable() *bucketTable {
	t := new(bucketTable)
	for b := range t.bound {
		t.bound[b] = int64(math.Exp2(float64(firstIndex+b)/perOctave) * 1e9)
	}
	b := 0
	for i := range t.start {
		shift := i>>prefixBits + firstBit - prefixBits
		least := int64(1<<prefixBits|i&(1<<prefixBits-1)) << shift
		for b < buckets-1 && least > t.bound[b+1] {
			b++
		}
		t.start[i] = uint16(b)
	}
	return t
}

func bucketOf(ns int64) int {
	if ns <= table.bound[0] {
		return 0
	}
	if ns > table.bound[buckets] {
		return buckets - 1
	}
	bit := bits.Len64(uint64(ns)) - 1
	prefix := int(ns>>(bit-prefixBits)) & (1<<prefixBits - 1)
	b := int(table.start[(bit-firstBit)<<prefixBits|prefix])
	if ns > table.bound[b+1] {
		b++
	}
	return b
}

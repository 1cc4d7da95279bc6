package telemetry

import (
	"encoding/binary"
	"hash/maphash"
	"math"
)

// Histograms of explicit buckets, which most SDKs make unless they are told
// otherwise, are taken as exponential ones: what a bucket has counted is spread
// evenly, on the logarithm, over the buckets of Scale that it covers. So a
// percentile is wrong by less than the bucket that it lies in is wide.

// belowFirst is how many octaves the first bucket is taken to cover, whose
// lower bound nobody says.
const belowFirst = 2

// readExplicit makes p the HistogramDataPoint of these bytes.
func (p *point) readExplicit(raw []byte, seed maphash.Seed) bool {
	*p = point{raw: raw, isHistogram: true, scale: Scale, counts: p.counts[:0], exemplars: p.exemplars[:0]}
	var counts, bounds []byte
	f := fields{rest: raw}
	for f.next() {
		switch f.tag {
		case fixedTag(2):
			p.start = f.value
		case fixedTag(3):
			p.time = f.value
		case fixedTag(4):
			p.count = f.value
		case fixedTag(5):
			p.seconds = f.float()
		case bytesTag(6): // packed, as proto3 has numbers
			counts = f.bytes
		case bytesTag(7):
			bounds = f.bytes
		case bytesTag(8):
			p.exemplars = append(p.exemplars, f.bytes)
		case bytesTag(9):
			p.key += maphash.Bytes(seed, f.bytes)
		case varintTag(10):
			p.nothing = f.value&1 != 0
		}
	}
	p.wrong = p.convert(counts, bounds)
	return !f.bad
}

// convert sets the buckets by fixed numbers of 8 bytes each; wrong says what is
// not as OTLP has it.
func (p *point) convert(counts, bounds []byte) (wrong string) {
	if len(bounds) == 0 || len(bounds)%8 != 0 || len(counts) != len(bounds)+8 {
		return "explicit buckets: want bounds, and a count more than there are bounds"
	}
	if len(counts) > 8*maxCounts {
		p.tooMany = len(counts)/8 - maxCounts
		return ""
	}
	below, first := math.Inf(-1), true
	for len(counts) > 0 {
		n := min(binary.LittleEndian.Uint64(counts), maxValue)
		counts = counts[8:]
		if len(bounds) == 0 { // above the last: nobody says how far
			p.spread(n, p.index(below)+1, p.index(below)+1)
			return ""
		}
		bound := math.Float64frombits(binary.LittleEndian.Uint64(bounds))
		bounds = bounds[8:]
		if !finite(bound) || bound <= below {
			return "explicit buckets: want finite bounds, each above the one before"
		}
		switch last := p.index(bound); {
		case bound <= 0:
			p.zero = min(p.zero+n, maxValue)
		case first:
			p.spread(n, last-belowFirst<<Scale+1, last)
			first = false
		default:
			p.spread(n, min(p.index(below)+1, last), last)
		}
		below = bound
	}
	return ""
}

// index is that of the bucket of Scale that holds v, or is the nearest to it.
func (p *point) index(v float64) int32 {
	if v <= 0 {
		return minExponent << Scale
	}
	return clampIndex(int64(math.Ceil(math.Ldexp(math.Log2(v), Scale)))-1, Scale)
}

// spread adds n values to the buckets first..last. No bucket's count falls as n
// grows, so that the difference of two cumulative points is that of what they
// have counted; where n does not divide, a step that is prime to their number
// and about the golden ratio of it leaves no gap wider than it must be.
func (p *point) spread(n uint64, first, last int32) {
	if n == 0 {
		return
	}
	first = max(first, minExponent<<Scale)
	if len(p.counts) == 0 {
		p.offset = first
	}
	for p.offset+int32(len(p.counts)) <= last {
		p.counts = append(p.counts, 0)
	}
	many := uint64(last - first + 1)
	step := many*5/8 | 1
	for gcd(step, many) > 1 {
		step += 2
	}
	for i := range many {
		p.counts[uint64(first-p.offset)+i*step%many] += n / many
		if i < n%many {
			p.counts[uint64(first-p.offset)+i*step%many]++
		}
	}
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

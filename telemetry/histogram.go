package telemetry

import "math"

// Scale is the finest resolution that the store keeps: buckets of
// 2^(1/32), 2.2 % wide. What arrives finer is merged to it; what arrives
// coarser stays as coarse as it came.
const Scale = 5

// The values that a bucket can stand for, as exponents of two: 1 ns to about
// 36 h in seconds. What lies outside counts in the first or the last bucket,
// so that no reporter can make a histogram grow past maxBuckets.
const (
	minExponent = -30
	maxExponent = 17
	maxBuckets  = (maxExponent - minExponent) << Scale
)

// buckets are the counts of one cumulative exponential histogram, as the
// OpenTelemetry data model has them: counts[i] is the number of values in
// (base^(offset+i), base^(offset+i+1)] with base = 2^(2^-scale).
type buckets struct {
	scale  int32
	zero   uint64
	offset int32
	counts []uint64
	// low and high are how many counts are 0 at the ends, as far as trim was asked.
	low, high int
}

// set makes b a copy of what arrived, at a scale no finer than Scale and
// within the range of exponents, reusing b's memory.
func (b *buckets) set(scale int32, zero uint64, offset int32, counts []uint64) {
	first := int64(offset)
	for len(counts) > 0 && counts[0] == 0 {
		counts, first = counts[1:], first+1
	}
	for len(counts) > 0 && counts[len(counts)-1] == 0 {
		counts = counts[:len(counts)-1]
	}
	b.zero, b.counts, b.offset, b.scale, b.low, b.high = zero, b.counts[:0], 0, min(scale, Scale), 0, 0
	if len(counts) == 0 {
		return
	}
	shift := uint(scale - b.scale)
	index := func(i int) int32 { return clampIndex((first+int64(i))>>shift, b.scale) }
	b.offset = index(0)
	for range index(len(counts)-1) - b.offset + 1 {
		b.counts = append(b.counts, 0)
	}
	for i, n := range counts {
		b.counts[index(i)-b.offset] += n
	}
}

// copy makes b a copy of o, reusing b's memory.
func (b *buckets) copy(o *buckets) {
	b.scale, b.zero, b.offset, b.counts, b.low, b.high = o.scale, o.zero, o.offset, append(b.counts[:0], o.counts...), o.low, o.high
}

// clampIndex keeps the index of a bucket within the range of exponents.
func clampIndex(i int64, scale int32) int32 {
	if scale < 0 {
		return int32(min(max(i, minExponent>>uint(-scale)), (maxExponent-1)>>uint(-scale)))
	}
	return int32(min(max(i, minExponent<<uint(scale)), maxExponent<<uint(scale)-1))
}

// downscale merges buckets until b has the given, coarser scale.
func (b *buckets) downscale(scale int32) {
	if scale >= b.scale {
		return
	}
	shift := uint(b.scale - scale)
	b.scale = scale
	if len(b.counts) == 0 {
		return
	}
	first := b.offset >> shift
	last := 0
	for i, n := range b.counts {
		at := int((b.offset+int32(i))>>shift - first)
		if i > 0 && at == last {
			b.counts[at] += n
		} else {
			b.counts[at] = n
		}
		last = at
	}
	b.offset, b.counts = first, b.counts[:last+1]
}

// subtract turns b into b - earlier, both cumulative and of one series. It
// reports false, and leaves b as it was at the common scale, when some count
// fell: the series began anew.
func (b *buckets) subtract(earlier *buckets) bool {
	b.downscale(earlier.scale)
	earlier.downscale(b.scale)
	if earlier.zero > b.zero {
		return false
	}
	for i, n := range earlier.counts {
		at := int(earlier.offset) + i - int(b.offset)
		if n > 0 && (at < 0 || at >= len(b.counts) || b.counts[at] < n) {
			return false
		}
	}
	b.zero -= earlier.zero
	for i, n := range earlier.counts {
		if n > 0 {
			b.counts[int(earlier.offset)+i-int(b.offset)] -= n
		}
	}
	return true
}

// trim finds the empty buckets at both ends: of a difference, those are most.
// They stay, so that a Histogram is as wide at once as it will be.
func (b *buckets) trim() {
	b.low, b.high = 0, 0
	for b.low < len(b.counts) && b.counts[b.low] == 0 {
		b.low++
	}
	for b.low+b.high < len(b.counts) && b.counts[len(b.counts)-1-b.high] == 0 {
		b.high++
	}
}

// total is the number of values.
func (b *buckets) total() uint64 {
	n := b.zero
	for _, c := range b.counts[b.low : len(b.counts)-b.high] {
		n += c
	}
	return n
}

// A Histogram is a distribution of seconds merged from many reporters. Counts
// are fractions because a report's counts are shared among the seconds that it
// covers. The zero Histogram is empty and ready to use. Not safe for
// concurrent use.
type Histogram struct {
	used   bool
	scale  int32
	zero   float64
	offset int32
	counts []float32
}

// add merges share (0..1) of b's values into h.
func (h *Histogram) add(b *buckets, share float64) {
	h.widen(b.scale, b.offset, len(b.counts))
	h.zero += share * float64(b.zero)
	shift := uint(b.scale - h.scale)
	first := b.offset + int32(b.low)
	for i, n := range b.counts[b.low : len(b.counts)-b.high] {
		if n > 0 {
			h.counts[(first+int32(i))>>shift-h.offset] += float32(share * float64(n))
		}
	}
}

// merge adds another histogram's values to h.
func (h *Histogram) merge(o *Histogram) {
	if !o.used {
		return
	}
	h.widen(o.scale, o.offset, len(o.counts))
	h.zero += o.zero
	shift := uint(o.scale - h.scale)
	for i, n := range o.counts {
		h.counts[(o.offset+int32(i))>>shift-h.offset] += n
	}
}

// maxSpan is how many buckets a Histogram may span: 16 octaves at Scale, from
// 1 ms to a minute. What is wider apart makes it coarser, as in OpenTelemetry's
// own aggregation, and not larger: there are tens of thousands of them.
const maxSpan = 16 << Scale

// widen gives h the coarser of its own and the given scale, or a yet coarser
// one, and room for n buckets of the given scale from offset.
func (h *Histogram) widen(scale, offset int32, n int) {
	if !h.used {
		h.used, h.scale = true, scale
	}
	to := min(scale, h.scale)
	if n > 0 {
		first, last := offset>>uint(scale-to), (offset+int32(n)-1)>>uint(scale-to)
		if k := int32(len(h.counts)); k > 0 {
			shift := uint(h.scale - to)
			first, last = min(first, h.offset>>shift), max(last, (h.offset+k-1)>>shift)
		}
		for ; last-first >= maxSpan; first, last = first>>1, last>>1 {
			to--
		}
	}
	if to < h.scale {
		h.coarsen(to)
	}
	if n > 0 {
		shift := uint(scale - h.scale)
		h.reserve(offset>>shift, (offset+int32(n)-1)>>shift)
	}
}

// coarsen merges buckets until h has the given scale, which is coarser.
func (h *Histogram) coarsen(scale int32) {
	old := *h
	h.scale, h.counts = scale, nil
	shift := uint(old.scale - scale)
	if len(old.counts) > 0 {
		h.reserve(old.offset>>shift, (old.offset+int32(len(old.counts))-1)>>shift)
	}
	for i, c := range old.counts {
		h.counts[(old.offset+int32(i))>>shift-h.offset] += c
	}
}

// bytes is what h holds beside itself.
func (h *Histogram) bytes() int { return 4 * cap(h.counts) }

// reserve makes h cover the buckets first..last.
func (h *Histogram) reserve(first, last int32) {
	if len(h.counts) == 0 {
		size := int(last - first + 1)
		if cap(h.counts) < size {
			h.counts = make([]float32, size)
		}
		h.offset, h.counts = first, h.counts[:size]
		return
	}
	if first < h.offset {
		wide := make([]float32, int(h.offset-first)+len(h.counts), int(h.offset-first)+cap(h.counts))
		copy(wide[h.offset-first:], h.counts)
		h.offset, h.counts = first, wide
	}
	for int(last-h.offset) >= len(h.counts) {
		h.counts = append(h.counts, 0)
	}
}

// reset empties h and keeps its memory.
func (h *Histogram) reset() {
	clear(h.counts)
	h.used, h.zero, h.offset, h.counts = false, 0, 0, h.counts[:0]
}

// Count is the number of values in h.
func (h *Histogram) Count() float64 {
	n := h.zero
	for _, c := range h.counts {
		n += float64(c)
	}
	return n
}

// Quantile estimates the value, in seconds, below which the share q (0..1) of
// the values lies, by interpolating on the logarithm within one bucket: it is
// wrong by at most that bucket's width. It is 0 for an empty histogram.
func (h *Histogram) Quantile(q float64) float64 {
	total := h.Count()
	if total <= 0 {
		return 0
	}
	rank, sum := q*total, h.zero
	if rank <= sum {
		return 0
	}
	top := 0.0
	for i, c := range h.counts {
		if c <= 0 {
			continue
		}
		n := float64(c)
		within := min((rank-sum)/n, 1)
		top = math.Exp2(math.Ldexp(float64(h.offset)+float64(i)+within, -int(h.scale)))
		if sum += n; sum >= rank {
			break
		}
	}
	return top
}

package telemetry

import (
	"encoding/binary"
	"math"
)

// A packed histogram is the bytes of one that no longer changes: empty, or
//
//	scale + 16, zeros, index of the first bucket, buckets spanned,
//	then for each bucket that is not empty: count << 1 if it is next to the
//	one before, else count << 1 | 1 and by how much its index is larger
//
// all varints, the first index's sign zigzagged. Counts are whole or in units of 1/parts.
// What this process wrote it reads; nobody else writes it.

// parts is how finely fractions of calls are kept in finished slots. Up to 15
// calls of a bucket take a byte.
const parts = 4

// appendPacked appends a cumulative histogram, whose counts are whole.
func (b *buckets) appendPacked(dst []byte) []byte {
	dst = appendHead(dst, b.scale, b.zero, b.offset, len(b.counts))
	last := -1
	for i, n := range b.counts {
		if n > 0 {
			dst = appendBucket(dst, i-last, n)
			last = i
		}
	}
	return dst
}

// unpack makes b what was packed, reusing b's memory.
func (b *buckets) unpack(p []byte) {
	b.counts = b.counts[:0]
	if len(p) == 0 {
		b.scale, b.zero, b.offset = Scale, 0, 0
		return
	}
	r := unpacker{rest: p}
	var span int
	b.scale, b.zero, b.offset, span = r.head()
	if cap(b.counts) < span {
		b.counts = make([]uint64, span)
	}
	b.counts = b.counts[:span]
	clear(b.counts)
	for i := -1; len(r.rest) > 0; {
		gap, n := r.bucket()
		i += gap
		b.counts[i] = n
	}
}

// appendPacked appends h with its counts rounded to 1/parts so that their sum
// is kept; nothing for an empty histogram.
func (h *Histogram) appendPacked(dst []byte) []byte {
	counts, offset := h.counts, h.offset
	for len(counts) > 0 && counts[0] == 0 {
		counts, offset = counts[1:], offset+1
	}
	for len(counts) > 0 && counts[len(counts)-1] == 0 {
		counts = counts[:len(counts)-1]
	}
	carry := 0.0
	round := func(n float64) uint64 {
		exact := n*parts + carry
		units := min(max(math.Floor(exact+0.5), 0), maxValue)
		carry = exact - units
		return uint64(units)
	}
	zero := round(h.zero)
	if len(counts) == 0 && zero == 0 {
		return dst
	}
	dst = appendHead(dst, h.scale, zero, offset, len(counts))
	last := -1
	for i, n := range counts {
		if n == 0 {
			continue
		}
		if units := round(float64(n)); units > 0 {
			dst = appendBucket(dst, i-last, units)
			last = i
		}
	}
	return dst
}

// mergePacked adds what Histogram.appendPacked made.
func (h *Histogram) mergePacked(p []byte) {
	if len(p) == 0 {
		return
	}
	r := unpacker{rest: p}
	scale, zero, offset, span := r.head()
	h.widen(scale, offset, span)
	h.zero += float64(zero) / parts
	shift := uint(scale - h.scale)
	for i := offset - 1; len(r.rest) > 0; {
		gap, n := r.bucket()
		i += int32(gap)
		h.counts[i>>shift-h.offset] += float32(n) / parts
	}
}

func appendHead(dst []byte, scale int32, zero uint64, offset int32, span int) []byte {
	dst = append(dst, byte(scale+16))
	dst = binary.AppendUvarint(dst, zero)
	dst = binary.AppendVarint(dst, int64(offset))
	return binary.AppendUvarint(dst, uint64(span))
}

// appendBucket appends a count below 1<<63.
func appendBucket(dst []byte, gap int, n uint64) []byte {
	if gap == 1 {
		return binary.AppendUvarint(dst, n<<1)
	}
	return binary.AppendUvarint(binary.AppendUvarint(dst, n<<1|1), uint64(gap))
}

type unpacker struct{ rest []byte }

func (r *unpacker) head() (scale int32, zero uint64, offset int32, span int) {
	scale = int32(r.rest[0]) - 16
	r.rest = r.rest[1:]
	zero = r.uvarint()
	off, n := binary.Varint(r.rest)
	r.rest = r.rest[n:]
	return scale, zero, int32(off), int(r.uvarint())
}

func (r *unpacker) bucket() (gap int, n uint64) {
	n = r.uvarint()
	if n&1 == 0 {
		return 1, n >> 1
	}
	return int(r.uvarint()), n >> 1
}

func (r *unpacker) uvarint() uint64 {
	if r.rest[0] < 0x80 {
		v := uint64(r.rest[0])
		r.rest = r.rest[1:]
		return v
	}
	v, n := binary.Uvarint(r.rest)
	r.rest = r.rest[n:]
	return v
}

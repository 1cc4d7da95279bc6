package telemetry

import (
	"slices"
	"unsafe"
)

// perChunk is how many slots a chunk holds.
const perChunk = 60

// A track is the finished slots of one thing, of any width: figures, and a
// packed histogram or none. Slots come in order; those left out are empty, or
// not there. Guarded by Store.mu.
type track[F any] struct {
	per    int     // slots in a chunk
	sealer *sealer // of full chunks; nil: they stay as they are
	chunks []*chunk[F]
}

// A chunk is up to track.per slots, in few objects.
type chunk[F any] struct {
	first   int64
	figures []F
	ends    []uint32 // of each slot's part of data; nil where there are no histograms
	data    []byte

	// Of a sealed one, in place of those:
	packed  []byte
	slots   int
	hasEnds bool
}

func (c *chunk[F]) end() int64 { return c.first + int64(max(len(c.figures), c.slots)) }

func (c *chunk[F]) bytes() int {
	var f F
	return int(unsafe.Sizeof(*c)) + cap(c.figures)*int(unsafe.Sizeof(f)) + cap(c.ends)*4 + cap(c.data) + cap(c.packed)
}

// add appends slot n. It returns by how many bytes the track grew.
func (t *track[F]) add(n int64, f F, h *Histogram) (grown int) {
	var c *chunk[F]
	if k := len(t.chunks); k > 0 {
		c = t.chunks[k-1]
		if n < c.end() {
			return 0 // a clock that was set back
		}
	}
	if c == nil || n >= c.first+int64(t.per) {
		if c != nil {
			grown -= c.bytes()
			if t.sealer != nil {
				seal(t.sealer, c)
			} else {
				c.data = append([]byte(nil), c.data...) // to its length
			}
			grown += c.bytes()
		}
		c = &chunk[F]{first: n, figures: make([]F, 0, t.per)}
		if h != nil {
			c.ends = make([]uint32, 0, t.per)
		}
		t.chunks = append(t.chunks, c)
		grown += c.bytes()
	}
	before := cap(c.data)
	for c.end() < n { // what was left out
		var none F
		c.figures = append(c.figures, none)
		if h != nil {
			c.ends = append(c.ends, uint32(len(c.data)))
		}
	}
	c.figures = append(c.figures, f)
	if h != nil {
		c.data = h.appendPacked(c.data)
		c.ends = append(c.ends, uint32(len(c.data)))
	}
	return grown + cap(c.data) - before
}

// dropBefore forgets chunks that ended before slot n, and returns their bytes.
func (t *track[F]) dropBefore(n int64) (freed int) {
	k := 0
	for k < len(t.chunks) && t.chunks[k].end() <= n {
		freed += t.chunks[k].bytes()
		k++
	}
	if k > 0 {
		t.chunks = slices.Delete(t.chunks, 0, k)
	}
	return freed
}

// size is how many bytes the track holds.
func (t *track[F]) size() (bytes int) {
	for _, c := range t.chunks {
		bytes += c.bytes()
	}
	return bytes
}

// each calls do for the slots first..last that are there, in order.
func (t *track[F]) each(first, last int64, do func(n int64, f *F, packed []byte)) {
	for _, c := range t.chunks {
		if first >= c.end() || last < c.first {
			continue
		}
		c = c.open(t.sealer)
		for n := max(first, c.first); n <= last && n < c.end(); n++ {
			i := n - c.first
			if c.ends == nil {
				do(n, &c.figures[i], nil)
				continue
			}
			begin := uint32(0)
			if i > 0 {
				begin = c.ends[i-1]
			}
			do(n, &c.figures[i], c.data[begin:c.ends[i]])
		}
	}
}

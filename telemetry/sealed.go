package telemetry

import (
	"compress/flate"
	"encoding/binary"
	"unsafe"
)

// A sealer compresses chunks that no longer change. By Huffman's code alone:
// what there is to gain are the many zeros and small numbers. Guarded by
// Store.mu.
type sealer struct {
	deflater
	plain []byte
}

func newSealer() sealer { return sealer{deflater: deflater{level: flate.HuffmanOnly}} }

// seal leaves of a chunk only its bytes, compressed: of its figures first all
// first bytes, then all second ones and so on, since those are alike; then the
// ends, and the data.
func seal[F any](s *sealer, c *chunk[F]) {
	raw := bytesOf(c.figures)
	size := len(raw) / len(c.figures)
	s.plain = s.plain[:0]
	for i := range size {
		for at := i; at < len(raw); at += size {
			s.plain = append(s.plain, raw[at])
		}
	}
	last := uint32(0)
	for _, end := range c.ends {
		s.plain = binary.AppendUvarint(s.plain, uint64(end-last))
		last = end
	}
	s.plain = append(s.plain, c.data...)
	c.slots, c.packed, c.hasEnds = len(c.figures), s.deflate(s.plain), c.ends != nil
	c.figures, c.ends, c.data = nil, nil, nil
}

// open is a chunk as it was before s sealed it.
func (c *chunk[F]) open(s *sealer) *chunk[F] {
	if c.packed == nil {
		return c
	}
	plain := s.inflate(nil, c.packed)
	out := &chunk[F]{first: c.first, figures: make([]F, c.slots)}
	raw := bytesOf(out.figures)
	size := len(raw) / c.slots
	for i := range size {
		for at := i; at < len(raw); at += size {
			raw[at], plain = plain[0], plain[1:]
		}
	}
	if c.hasEnds {
		out.ends = make([]uint32, c.slots)
		last := uint32(0)
		for i := range out.ends {
			length, n := binary.Uvarint(plain)
			plain = plain[n:]
			last += uint32(length)
			out.ends[i] = last
		}
	}
	out.data = plain
	return out
}

// bytesOf is the memory of figures, which hold numbers only.
func bytesOf[F any](figures []F) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(figures))), len(figures)*int(unsafe.Sizeof(figures[0])))
}

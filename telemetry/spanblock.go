package telemetry

// Spans lie one after the other, as they came, in blocks that are compressed
// when they are full: spans of a mesh are alike but for their ids and times, so
// that a third is left of them. A trace's spans may lie in several blocks, and a
// block goes when the last trace does that has a span in it.

// blockBytes is how much of spans is compressed together: what a reader of one
// span expands.
const blockBytes = 32 << 10

// blockOverhead is what a block weighs beside its spans and sources, about.
const blockOverhead = 128

// A block is some dozens of spans. Guarded by traces.mu.
type block struct {
	plain   []byte // of the one that is being filled
	packed  []byte // of the others
	sources []*source
	live    int // spans of traces that are kept
}

// A source is the resource of spans, one for all that are alike.
type source struct {
	service  Service
	instance string
	raw      string // a Resource; empty if it was larger than maxResource
	key      string // of traces.sources
	blocks   int    // that have spans of it
	in       *block // the last one
	number   uint16 // in that one's sources, which are no more than its spans
}

// What a source weighs, about.
func (s *source) bytes() int {
	const overhead = 200
	return overhead + len(s.service.Namespace) + len(s.service.Name) + len(s.instance) + len(s.key)
}

// source is where spans of a ResourceSpans come from.
func (t *traces) source(raw []byte, key reporterKey) *source {
	resource := resourceOf(raw)
	if s := t.sources[string(resource)]; s != nil && len(resource) > 0 {
		return s
	}
	s := &source{service: caller(key), instance: key.instance, raw: string(resource)}
	if s.key = s.raw; s.key == "" { // no Resource begins with a zero byte
		s.key = "\x00" + key.namespace + "\x00" + key.name + "\x00" + key.instance
		if old := t.sources[s.key]; old != nil {
			return old
		}
	}
	return s // it is among the sources as soon as a span of it is kept
}

// keep appends a span to the block that is being filled, and says where it is.
func (t *traces) keep(sp *span, from *source, raw []byte) {
	if t.filling == nil || len(t.filling.plain)+len(raw) > cap(t.filling.plain) {
		t.seal()
		if t.plain == nil {
			t.plain = make([]byte, 0, min(blockBytes, t.max/32))
		}
		t.filling = &block{plain: t.plain[:0]}
		t.bytes += blockOverhead
	}
	b := t.filling
	if from.in != b {
		if from.blocks == 0 {
			t.sources[from.key] = from
			t.bytes += from.bytes()
		}
		from.blocks++
		from.in, from.number = b, uint16(len(b.sources))
		b.sources = append(b.sources, from)
		t.bytes += 8
	}
	sp.block, sp.from, sp.at, sp.length = b, from.number, uint32(len(b.plain)), uint32(len(raw))
	b.plain = append(b.plain, raw...)
	b.live++
	t.bytes += len(raw)
}

// seal compresses the block that is being filled, if there is one.
func (t *traces) seal() {
	b := t.filling
	t.filling = nil
	if b == nil {
		return
	}
	t.bytes -= len(b.plain)
	if b.live == 0 {
		t.free(b)
		return
	}
	b.packed = t.deflater.deflate(b.plain)
	b.plain, b.sources = nil, append([]*source(nil), b.sources...)
	t.bytes += len(b.packed)
}

// leave forgets a span.
func (t *traces) leave(sp *span) {
	b := sp.block
	if b.live--; b.live == 0 && b != t.filling {
		t.bytes -= len(b.packed)
		t.free(b)
	}
}

// free forgets the sources of a block that has no spans.
func (t *traces) free(b *block) {
	t.bytes -= blockOverhead + 8*len(b.sources)
	for _, s := range b.sources {
		if s.blocks--; s.blocks == 0 {
			t.bytes -= s.bytes()
			delete(t.sources, s.key)
			s.in = nil
		}
	}
	if t.opened == b {
		t.opened = nil
	}
}

// raw is a Span as it came. It is good until the next call.
func (t *traces) raw(sp *span) []byte {
	b := sp.block
	plain := b.plain
	if plain == nil {
		if t.opened != b {
			t.opened, t.expanded = b, t.deflater.inflate(t.expanded[:0], b.packed)
		}
		plain = t.expanded
	}
	return plain[sp.at : sp.at+sp.length]
}

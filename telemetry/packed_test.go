package telemetry

import (
	"math"
	"slices"
	"testing"
)

// FuzzPacked: cumulative counts come back as they were, fractions to a part of
// a call, and their sum with them.
func FuzzPacked(f *testing.F) {
	f.Add(int8(5), int16(-300), []byte{1, 0, 0, 2, 255}, byte(3), byte(128))
	f.Add(int8(-10), int16(0), []byte{}, byte(0), byte(1))
	f.Add(int8(0), int16(40), []byte{0, 7, 0}, byte(200), byte(255))
	f.Fuzz(func(t *testing.T, scale int8, offset int16, raw []byte, zero, share byte) {
		counts := make([]uint64, min(len(raw), maxCounts))
		for i := range counts {
			counts[i] = uint64(raw[i]) << (raw[i] % 40)
		}
		var in, out buckets
		in.set(int32(min(max(scale, -10), 20)), uint64(zero), int32(offset), counts)
		out.unpack(in.appendPacked(nil))
		if in.scale != out.scale || in.zero != out.zero || !slices.Equal(in.counts, out.counts) || len(in.counts) > 0 && in.offset != out.offset {
			t.Fatalf("%+v came back as %+v", in, out)
		}
		var h, back Histogram
		h.add(&in, float64(share)/256)
		back.mergePacked(h.appendPacked(nil))
		if got, want := back.Count(), h.Count(); math.Abs(got-want) > 1./parts+want*1e-5 {
			t.Fatalf("%v calls came back as %v", want, got)
		}
		for i, n := range back.counts {
			at := i + int(back.offset-h.offset)
			if n > 0 && (at < 0 || at >= len(h.counts) || math.Abs(float64(n-h.counts[at])) > 1./parts+float64(n)*1e-5) {
				t.Fatalf("bucket %d: %v", at, n)
			}
		}
	})
}

func TestTrack(t *testing.T) {
	t.Run("plain", func(t *testing.T) { testTrack(t, nil) })
	t.Run("sealed", func(t *testing.T) {
		s := newSealer()
		testTrack(t, &s)
	})
}

func testTrack(t *testing.T, s *sealer) {
	tr := track[int]{per: 10, sealer: s}
	one := &Histogram{}
	one.add(bucketsOf(5, 1, 2, 3), 1)
	bytes := 0
	for n := int64(100); n < 150; n++ {
		if n != 117 && n != 135 && n/10 != 12 {
			bytes += tr.add(n, int(n), one)
		}
	}
	bytes += tr.add(90, 90, one) // a clock that was set back
	if bytes != tr.size() {
		t.Errorf("%d bytes, counted %d", tr.size(), bytes)
	}
	var got []int
	tr.each(115, 136, func(n int64, f *int, packed []byte) {
		var h Histogram
		h.mergePacked(packed)
		if int64(*f) != n && *f != 0 || h.Count() != 3 && *f != 0 || h.Count() != 0 && *f == 0 {
			t.Errorf("slot %d: %d, %v calls", n, *f, h.Count())
		}
		got = append(got, *f)
	})
	if want := []int{115, 116, 0, 118, 119, 130, 131, 132, 133, 134, 0, 136}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	bytes -= tr.dropBefore(130)
	if bytes != tr.size() || len(tr.chunks) != 2 {
		t.Errorf("%d bytes in %d chunks, counted %d", tr.size(), len(tr.chunks), bytes)
	}
}

// What is sealed comes back as it was, with and without distributions, and is
// smaller where the figures are of the kind that there are.
func TestSeal(t *testing.T) {
	s := newSealer()
	for _, with := range []bool{true, false} {
		c := &chunk[figures]{first: 7}
		for n := range perChunk {
			f := figures{byServer: n%2 == 0, instances: int32(n), retries: float32(n) / 3}
			f.client.requests = 20 + float32(n)/7
			c.figures = append(c.figures, f)
			if with {
				c.data = append(c.data, make([]byte, n%4)...)
				c.ends = append(c.ends, uint32(len(c.data)))
			}
		}
		want := *c
		before := c.bytes()
		seal(&s, c)
		if c.bytes() > before/3 || c.end() != want.end() {
			t.Errorf("%d bytes of %d, up to %d", c.bytes(), before, c.end())
		}
		got := c.open(&s)
		if got.first != 7 || !slices.Equal(got.figures, want.figures) || !slices.Equal(got.ends, want.ends) || (got.ends == nil) == with || !slices.Equal(got.data, want.data) {
			t.Errorf("with distributions %v: %+v, want %+v", with, got, want)
		}
	}
}

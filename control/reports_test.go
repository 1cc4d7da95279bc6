package control

import "testing"

// A pool of frames gives back what it was given, of any length, and keeps no
// more than it has room for.
func TestFrames(t *testing.T) {
	f := make(frames, 1)
	a, b := f.Get(10), f.Get(frameSize)
	f.Put(a)
	f.Put(b)
	if got := f.Get(frameSize); got != a || len(*got) != frameSize {
		t.Errorf("%d bytes, and not those that were put there", len(*got))
	}
	if got := f.Get(1); got == b || len(*got) != 1 {
		t.Error("more are kept than there is room for")
	}
	large := f.Get(1 << 20)
	f.Put(large)
	if len(*large) != 1<<20 || len(f) != 0 {
		t.Errorf("%d bytes; %d are kept", len(*large), len(f))
	}
}

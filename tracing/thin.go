package tracing

import (
	"encoding/binary"
	"sync"
)

// A thinner lets about so many sampled spans a second go to meshd as it can
// show: whoever samples all calls has a backend for them. It goes by the trace's
// id, in halves, so that what one sidecar lets go another one does that thins
// out no more, and traces stay whole.
type thinner struct {
	mu     sync.Mutex
	halved uint  // of the traces one in 2^halved goes
	n      int   // gone in this second
	began  int64 // it, ns
}

// thinRate is how many spans go in a second before half of them do not.
const thinRate = 200

func (t *thinner) pass(trace [16]byte, now int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now-t.began >= 1e9 {
		if t.n < thinRate/4 && t.halved > 0 {
			t.halved--
		}
		t.began, t.n = now, 0
	}
	// The bits that the ratio of a sampler goes by, and therefore no part of
	// what was sampled has them alike, are the upper ones.
	if binary.BigEndian.Uint64(trace[8:])&(1<<t.halved-1) != 0 {
		return false
	}
	if t.n++; t.n > thinRate && t.halved < 30 {
		t.halved++
		t.n = 0
	}
	return true
}

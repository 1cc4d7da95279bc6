package h2

import (
	"testing"

	"github.com/meshd/meshd/sidecar/call"
)

// A call that waited in a line is resumed by another goroutine, which may still
// wait for the lock when the call is over and its stream is made ready for the
// next one.
func TestResumedTooLate(t *testing.T) {
	srv := newRig(t, options{}).srv
	srv.enter()
	s := srv.newStream()
	resumed := make(chan struct{})
	go func() { defer close(resumed); s.Resume(&call.Waiter{}) }()
	srv.retired = append(srv.retired, s)
	srv.recycle()
	srv.exit(nil)
	<-resumed
	srv.enter()
	defer srv.exit(nil)
	if len(srv.free) != 1 || srv.free[0] != s || s.in || s.call.Waiting() {
		t.Errorf("%d streams are free; this one has begun a call: %v", len(srv.free), s.in)
	}
}

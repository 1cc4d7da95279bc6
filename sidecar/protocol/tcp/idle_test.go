package tcp

import (
	"errors"
	"io"
	"testing"
	"time"
)

func TestMeter(t *testing.T) {
	m := meter{last: 10}
	for i, tc := range []struct {
		progress uint64
		idle     bool
	}{{10, false}, {10, false}, {10, false}, {11, false}, {11, false}, {11, false}, {11, false}, {11, true}} {
		if got := m.idle(tc.progress); got != tc.idle {
			t.Errorf("look %d: idle %v, want %v", i, got, tc.idle)
		}
	}
}

func TestIdleTimeoutResetsBoth(t *testing.T) {
	r := start(t, Options{IdleTimeout: 40 * time.Millisecond})
	r.wait(t)
	if r.res.Reason != Idle || !errors.Is(r.err, ErrIdle) {
		t.Errorf("%+v, %v", r.res, r.err)
	}
	expectReset(t, r.client)
	expectReset(t, r.server)
}

// One byte now and then, in one direction, many idle timeouts long; and after the other
// direction has ended.
func TestTrickleKeepsAlive(t *testing.T) {
	const idle = 400 * time.Millisecond
	r := start(t, Options{IdleTimeout: idle})
	r.client.CloseWrite()
	tick := time.NewTicker(idle / 10)
	defer tick.Stop()
	for begin := time.Now(); time.Since(begin) < 4*idle; <-tick.C { // longer than pipeHold, too
		send(t, r.server, "x")
		expect(t, r.client, "x")
	}
	r.server.CloseWrite()
	r.wait(t)
	if r.res.Reason != Closed {
		t.Errorf("%+v, %v", r.res, r.err)
	}
}

// A peer that takes nothing more is as idle as one that says nothing, although the relay
// is full of bytes for it.
func TestStuckReaderIsIdle(t *testing.T) {
	r := start(t, Options{IdleTimeout: 200 * time.Millisecond})
	_, err := io.Copy(r.client, endless{})
	if err == nil {
		t.Fatal("no error")
	}
	r.wait(t)
	if r.res.Reason != Idle || r.res.AtoB == 0 {
		t.Errorf("%+v, %v", r.res, r.err)
	}
	expectReset(t, r.server)
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

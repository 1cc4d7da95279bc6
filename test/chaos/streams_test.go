package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/meshd/meshd/internal/testkit/race"
)

const (
	streamCount = 1000
	// turnEvery is the time between two messages of a stream: 1,000 a second
	// of all.
	turnEvery = time.Second
	turns     = 3
)

// TestStalledStream: of 1,000 streams on one connection, one whose client does
// not read, or whose server does not, delays no other.
func TestStalledStream(t *testing.T) {
	caller, _ := (&grpcApp{}).beside(t)
	cc := grpcDial(t, caller.Outbound)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	streams := make([]grpc.ClientStream, streamCount)
	for i := range streams {
		var err error
		if streams[i], err = grpcStream(ctx, cc, "echo"); err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
		if err := within(callTimeout, func() error { return pingPong(streams[i], "first") }); err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
	}
	stats, err := caller.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if stats.Connections.Downstream != 1 {
		t.Errorf("%d connections of one client", stats.Connections.Downstream)
	}
	latencies(t, streams) // what 1,000 streams take to begin is not looked at
	without := latencies(t, streams)
	for _, stall := range []struct {
		what, method string
		sends        bool
	}{
		{what: "a client that does not read", method: "flood"},
		{what: "a server that does not read", method: "stall", sends: true},
	} {
		t.Run(stall.what, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			s, err := grpcStream(ctx, cc, stall.method)
			if err != nil {
				t.Fatal(err)
			}
			var sending sync.WaitGroup
			defer sending.Wait()
			defer cancel()
			if stall.sends {
				sending.Go(func() {
					for m := make([]byte, 64<<10); s.SendMsg(&m) == nil; {
					}
				})
			}
			with := latencies(t, streams[:streamCount-1])
			t.Logf("p50 %v, p99 %v, max %v; without it %v, %v, %v", with.p50, with.p99, with.max, without.p50, without.p99, without.max)
			// What a busy machine does, and not what a stream that waits for
			// another would see: that waits for ever.
			if limit := 2*without.p99 + 50*time.Millisecond; with.p99 > limit && !race.Enabled {
				t.Errorf("p99 of the others is %v, want at most %v", with.p99, limit)
			}
		})
	}
}

// latencies lets all streams take turns, spread over time, and tells how long
// an answer takes.
func latencies(t *testing.T, streams []grpc.ClientStream) outcome {
	t.Helper()
	var (
		mu    sync.Mutex
		all   []time.Duration
		fails error
		work  sync.WaitGroup
	)
	for i, s := range streams {
		work.Go(func() {
			pause(turnEvery * time.Duration(i) / streamCount)
			tick := time.NewTicker(turnEvery)
			defer tick.Stop()
			for turn := range turns {
				from := time.Now()
				err := within(callTimeout, func() error { return pingPong(s, fmt.Sprint("turn ", turn)) })
				mu.Lock()
				all = append(all, time.Since(from))
				if err != nil {
					fails = fmt.Errorf("stream %d: %w", i, err)
				}
				mu.Unlock()
				if err != nil {
					return
				}
				<-tick.C
			}
		})
	}
	work.Wait()
	if fails != nil {
		t.Fatal(fails)
	}
	slices.Sort(all)
	n := len(all)
	return outcome{calls: int64(n), p50: all[n/2], p99: all[n*99/100], max: all[n-1]}
}

// within is f, or an error if that takes longer; f then goes on until its
// stream ends.
func within(d time.Duration, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return errors.New("no answer")
	}
}

package chaos

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/meshd/meshd/internal/testkit/process"
)

const (
	gigabyte = 1 << 30
	// streamGrowth is what a sidecar may take for a stream of any length.
	streamGrowth = 16 << 20
)

// TestGigabyte: a client that streams 1 GiB to a server that reads nothing, then
// slowly, then all of it, is held up by that and by nothing else, and no
// sidecar keeps what the server does not read.
func TestGigabyte(t *testing.T) {
	slow, fast := make(chan struct{}), make(chan struct{})
	app := &grpcApp{pace: func(ctx context.Context) error {
		select {
		case <-fast:
			return nil
		default:
		}
		select {
		case <-slow:
		case <-ctx.Done():
			return ctx.Err()
		}
		moment := time.NewTimer(20 * time.Millisecond) // 64 KiB: about 3 MB a second
		defer moment.Stop()
		select {
		case <-moment.C:
		case <-fast:
		case <-ctx.Done():
		}
		return ctx.Err()
	}}
	caller, instance := app.beside(t)
	cc := grpcDial(t, caller.Outbound)
	for range 20 { // what a sidecar needs for any stream
		s, err := grpcStream(t.Context(), cc, "echo")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(pingPong(s, "warm"), s.CloseSend()); err != nil {
			t.Fatal(err)
		}
	}
	sidecars := []watched{{name: caller.Name, pid: caller.PID}, {name: instance.Name, pid: instance.PID}}
	for i := range sidecars {
		sidecars[i].begin(t)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var sent atomic.Int64
	done := make(chan error, 1)
	go func() { done <- sendGigabyte(ctx, cc, &sent) }()
	defer func() { cancel(); <-done }()
	look := func(d time.Duration) {
		for from := time.Now(); time.Since(from) < d; pause(10 * time.Millisecond) {
			for i := range sidecars {
				sidecars[i].look(t)
			}
		}
	}

	look(3 * time.Second)
	stalled := sent.Load()
	if look(time.Second); sent.Load() != stalled || stalled > 64<<20 {
		t.Errorf("%.1f MB went into a stream that nobody reads, and then %.1f more", mb(stalled), mb(sent.Load()-stalled))
	}
	close(slow)
	look(2 * time.Second)
	t.Logf("the client could send %.1f MB while nothing was read; of %.1f MB the server has read %.1f slowly", mb(stalled), mb(sent.Load()), mb(app.got.Load()))
	if app.got.Load() == 0 {
		t.Error("the server reads again, and gets nothing")
	}
	close(fast)
	from := time.Now()
	process.Await(t, 2*time.Minute, func() error {
		look(20 * time.Millisecond)
		select {
		case err := <-done:
			done <- nil
			if err != nil {
				t.Fatal(err)
			}
			return nil
		default:
			return fmt.Errorf("%.1f MB of 1 GiB have arrived", mb(app.got.Load()))
		}
	})
	t.Logf("the rest took %v", time.Since(from).Round(time.Millisecond))
	for _, s := range sidecars {
		s.within(t, streamGrowth)
	}
}

// sendGigabyte streams 1 GiB in messages of 64 KiB, and checks that the server
// has got it.
func sendGigabyte(ctx context.Context, cc *grpc.ClientConn, sent *atomic.Int64) error {
	s, err := grpcStream(ctx, cc, "sink")
	if err != nil {
		return err
	}
	m := make([]byte, 64<<10)
	for sent.Load() < gigabyte {
		if err := s.SendMsg(&m); err != nil {
			return status(s, err)
		}
		sent.Add(int64(len(m)))
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	var answer []byte
	if err := s.RecvMsg(&answer); err != nil {
		return err
	}
	if string(answer) != fmt.Sprint(gigabyte) {
		return fmt.Errorf("the server has got %s bytes, want %d", answer, gigabyte)
	}
	return nil
}

func pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

package demo

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/meshd/meshd/supervise"
)

// A board says which instances are ready, from the supervisors' events.
type board struct {
	mu      sync.Mutex
	ready   map[string]time.Time // since when
	readied map[string]int       // how often an instance of a service became ready for the first time
	givenUp error
	changed chan struct{}
}

func newBoard() *board {
	return &board{ready: map[string]time.Time{}, readied: map[string]int{}, changed: make(chan struct{})}
}

func (b *board) note(e supervise.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case e.Kind == supervise.Ready && e.Process == "":
		if _, again := b.ready[e.Instance]; !again {
			b.ready[e.Instance] = e.Time
			b.readied[serviceOf(e.Instance)]++
		}
	case e.Kind == supervise.Stopped:
		delete(b.ready, e.Instance)
	case e.Kind == supervise.GivenUp:
		b.givenUp = e.Err
	default:
		return
	}
	close(b.changed)
	b.changed = make(chan struct{})
}

// serviceOf cuts the number off: "slow-1" is of "slow".
func serviceOf(instance string) string {
	if i := strings.LastIndexByte(instance, '-'); i >= 0 {
		return instance[:i]
	}
	return instance
}

// since is when the instance became ready.
func (b *board) since(instance string) (time.Time, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t, ok := b.ready[instance]
	return t, ok
}

// count is how many instances of service have become ready so far, those
// that have ended since included.
func (b *board) count(service string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.readied[service]
}

// now is how many instances of service are ready.
func (b *board) now(service string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for instance := range b.ready {
		if serviceOf(instance) == service {
			n++
		}
	}
	return n
}

// awaitCount waits until count says n.
func (b *board) awaitCount(ctx context.Context, service string, n int) error {
	return b.until(ctx, service, func() bool { return b.readied[service] >= n })
}

// await waits for the one instance of that name.
func (b *board) await(ctx context.Context, instance string) error {
	return b.until(ctx, instance, func() bool { _, ok := b.ready[instance]; return ok })
}

func (b *board) until(ctx context.Context, what string, reached func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		b.mu.Lock()
		ok, givenUp, changed := reached(), b.givenUp, b.changed
		b.mu.Unlock()
		if ok {
			return nil
		}
		if givenUp != nil {
			return givenUp
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if ctx.Err() == context.DeadlineExceeded {
				return fmt.Errorf("%s was not ready within %v", what, startTimeout)
			}
			return ctx.Err()
		}
	}
}

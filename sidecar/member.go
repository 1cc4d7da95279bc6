package sidecar

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/meshd/meshd/internal/wait"
	"github.com/meshd/meshd/xds/client"
	"github.com/meshd/meshd/xds/resource"
)

const (
	probeWaiting = 20 * time.Millisecond  // while the application does not answer
	probeReady   = 500 * time.Millisecond // while it does
	probeTimeout = time.Second
)

// A member tells meshd of this instance: ready while the application accepts
// connections, draining at the end.
type member struct {
	client *client.Client // nil: nobody to tell
	app    string
	log    *slog.Logger

	mu   sync.Mutex
	self resource.Instance
}

// watch follows the application until ctx ends.
func (m *member) watch(ctx context.Context) {
	d := net.Dialer{Timeout: probeTimeout}
	for ctx.Err() == nil {
		c, err := d.DialContext(ctx, "tcp", m.app)
		if err == nil {
			_ = c.Close()
		}
		if ctx.Err() != nil {
			return
		}
		m.set(func(i *resource.Instance) { i.Ready = err == nil && !i.Draining }, err)
		pause := probeReady
		if err != nil {
			pause = probeWaiting
		}
		_ = wait.For(ctx, pause)
	}
}

// leave says that the instance takes no new calls.
func (m *member) leave() {
	m.set(func(i *resource.Instance) { i.Ready, i.Draining = false, true }, nil)
}

// set changes what meshd knows, if it is a change.
func (m *member) set(change func(*resource.Instance), why error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := m.self
	change(&next)
	if next == m.self {
		return
	}
	m.self = next
	m.log.Info("instance", "ready", next.Ready, "draining", next.Draining, "app", m.app, "error", why)
	if m.client != nil {
		m.client.SetInstance(next)
	}
}

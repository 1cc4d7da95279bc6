package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A Registration keeps one key in the registry, an instance's for as long as its
// sidecar's stream lives: it owns a lease, keeps it alive, and puts the
// instance back when etcd lost it.
//
// Putting a key under a new lease takes it away from the old one. So a sidecar
// that comes back, to this meshd or to another, takes its key over, and
// neither the end of the old lease nor Release of the old registration can
// delete it.
type Registration struct {
	r   *Registry
	key string
	// last is the lease that the instance was last stored under; run's own.
	last clientv3.LeaseID

	placed   chan struct{} // closed once the instance is first stored, or given up
	released chan struct{} // closed by Release
	pokes    chan struct{} // holds one token: look at value and key again

	mu    sync.Mutex // guards the rest
	value []byte     // to be stored
	since time.Time
	ready int64 // since when it is ready, in ms since 1970; 0 if it is not
	grace time.Duration
	once  bool // released
}

// errTaken means that another registration, perhaps another meshd's, has the key.
var errTaken = errors.New("the key is another registration's")

// Register starts to keep in registered. It does not wait for etcd; what goes
// wrong there is logged and tried again. The error is about in itself.
func (r *Registry) Register(in Instance) (*Registration, error) {
	if err := in.Validate(); err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	g := r.registration(instanceKey(in.Namespace, in.Service, in.ID))
	g.since, g.ready = r.since(in), r.ready(in)
	in.Since, in.ReadySince = g.since, g.ready
	var err error
	if g.value, err = encodeInstance(in); err != nil {
		return nil, err
	}
	return r.keep(g)
}

func (r *Registry) registration(key string) *Registration {
	return &Registration{
		r:        r,
		key:      key,
		placed:   make(chan struct{}),
		released: make(chan struct{}),
		pokes:    make(chan struct{}, 1),
	}
}

// keep starts g.
func (r *Registry) keep(g *Registration) (*Registration, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return nil, errors.New("registry: closed")
	}
	r.regs[g.key] = g
	r.wg.Go(g.run)
	return g, nil
}

// since is when in's process first registered: an instance that comes back
// with the same process keeps its age.
func (r *Registry) since(in Instance) time.Time {
	r.picture.mu.Lock()
	defer r.picture.mu.Unlock()
	if old, ok := r.picture.instances[instanceKey(in.Namespace, in.Service, in.ID)]; ok && old.PID == in.PID && !old.Since.IsZero() {
		return old.Since
	}
	if !in.Since.IsZero() {
		return in.Since
	}
	return time.Now()
}

// ready is since when in is ready, in ms since 1970; 0 if it is not. One
// that comes back ready with the process that was has been all the while.
func (r *Registry) ready(in Instance) int64 {
	if !in.Ready {
		return 0
	}
	r.picture.mu.Lock()
	defer r.picture.mu.Unlock()
	if old, ok := r.picture.instances[instanceKey(in.Namespace, in.Service, in.ID)]; ok && old.PID == in.PID && old.ReadySince != 0 {
		return old.ReadySince
	}
	if in.ReadySince != 0 {
		return in.ReadySince
	}
	return time.Now().UnixMilli()
}

// Update replaces what is stored of the instance; namespace, service and ID
// must be those of Register. It does not wait for etcd.
func (g *Registration) Update(in Instance) error {
	if key := instanceKey(in.Namespace, in.Service, in.ID); key != g.key {
		return fmt.Errorf("registry: update of %s with another instance, %s", g.key, key)
	}
	if err := in.Validate(); err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	in.Since = g.since
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case !in.Ready:
		g.ready = 0
	case g.ready == 0:
		g.ready = time.Now().UnixMilli()
	}
	in.ReadySince = g.ready
	value, err := encodeInstance(in)
	if err != nil {
		return err
	}
	g.value = value
	g.poke()
	return nil
}

// Release ends the registration after grace, unless by then a newer one has
// taken the instance over. It does not wait.
func (g *Registration) Release(grace time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.once {
		g.once, g.grace = true, grace
		close(g.released)
	}
}

func (g *Registration) poke() {
	select {
	case g.pokes <- struct{}{}:
	default:
	}
}

func (g *Registration) current() []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.value
}

// run owns the lease until the registration is released or the registry
// closes.
func (g *Registration) run() {
	defer g.forget()
	placed := sync.OnceFunc(func() { close(g.placed) })
	defer placed()
	back := newBackoff()
	takeOver := true // the first put; later ones respect another owner
	for {
		lease, err := g.hold(takeOver, back, func() { takeOver = false; placed() })
		if g.r.ctx.Err() != nil {
			return
		}
		select {
		case <-g.released:
			g.end(lease)
			return
		default:
		}
		g.r.log.Warn("registration interrupted; trying again", "key", g.key, "error", err,
			"next", "see that the registry is reachable if this goes on")
		if !back.wait(g.r.ctx) {
			return
		}
	}
}

// hold takes a lease and keeps the instance stored under it. It returns when
// the registration is released, the lease is lost, or something failed.
func (g *Registration) hold(takeOver bool, back *backoff, placed func()) (clientv3.LeaseID, error) {
	ctx, cancel := context.WithCancel(g.r.ctx)
	defer cancel()
	lease, err := g.grant(ctx)
	if err != nil {
		return 0, err
	}
	stored := g.current()
	switch err := g.put(ctx, lease, stored, takeOver); {
	case errors.Is(err, errTaken):
		stored = nil // until the other goes
	case err != nil:
		return lease, err
	default:
		back.reset()
		placed()
	}
	alive, err := g.r.client.KeepAlive(ctx, lease)
	if err != nil {
		return lease, fmt.Errorf("keep alive: %w", err)
	}
	for {
		select {
		case <-g.released:
			return lease, nil
		case _, ok := <-alive:
			if !ok {
				return lease, errors.New("the lease ended")
			}
		case <-g.pokes:
			// A poke means a new value, or that the key was deleted: by
			// whoever had taken it, or by hand.
			value := g.current()
			if slices.Equal(value, stored) && g.inPlace() {
				continue
			}
			switch err := g.put(ctx, lease, value, false); {
			case errors.Is(err, errTaken):
				stored = nil
			case err != nil:
				return lease, err
			default:
				stored = value
			}
		}
	}
}

// inPlace says whether the picture has the key.
func (g *Registration) inPlace() bool {
	g.r.picture.mu.Lock()
	defer g.r.picture.mu.Unlock()
	_, instance := g.r.picture.instances[g.key]
	_, notice := g.r.picture.notices[g.key]
	return instance || notice
}

func (g *Registration) grant(ctx context.Context) (clientv3.LeaseID, error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	resp, err := g.r.client.Grant(ctx, int64(g.r.cfg.LeaseTTL/time.Second))
	if err != nil {
		return 0, fmt.Errorf("grant a lease: %w", err)
	}
	return resp.ID, nil
}

// put stores value under lease: whatever is there when takeOver, or else only
// when nothing is there or what is there is ours.
func (g *Registration) put(ctx context.Context, lease clientv3.LeaseID, value []byte, takeOver bool) error {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	put := clientv3.OpPut(g.key, string(value), clientv3.WithLease(lease))
	if takeOver {
		if _, err := g.r.client.Do(ctx, put); err != nil {
			return fmt.Errorf("store the instance: %w", err)
		}
		g.last = lease
		return nil
	}
	// The key's lease is 0 when there is no key, and may still be the one
	// before, when only its keep-alives failed.
	for _, was := range []clientv3.LeaseID{lease, 0, g.last} {
		resp, err := g.r.client.Txn(ctx).
			If(clientv3.Compare(clientv3.LeaseValue(g.key), "=", was)).
			Then(put).
			Commit()
		if err != nil {
			return fmt.Errorf("store the instance: %w", err)
		}
		if resp.Succeeded {
			g.last = lease
			return nil
		}
	}
	return errTaken
}

// end waits for the grace, and for a newer registration of this process that
// is about to take the key, and gives the lease back: with it goes the key, if
// it is still ours.
func (g *Registration) end(lease clientv3.LeaseID) {
	if lease == 0 {
		return
	}
	g.mu.Lock()
	grace := g.grace
	g.mu.Unlock()
	if grace > 0 {
		t := time.NewTimer(grace)
		defer t.Stop()
		select {
		case <-t.C:
		case <-g.r.ctx.Done():
			return
		}
	}
	g.r.mu.Lock()
	newer := g.r.regs[g.key]
	g.r.mu.Unlock()
	if newer != nil && newer != g {
		select {
		case <-newer.placed:
		case <-g.r.ctx.Done():
			return
		}
	}
	ctx, cancel := context.WithTimeout(g.r.ctx, opTimeout)
	defer cancel()
	if _, err := g.r.client.Revoke(ctx, lease); err != nil && g.r.ctx.Err() == nil {
		g.r.log.Warn("lease not given back; it ends by itself", "key", g.key, "error", err, "next", "nothing")
	}
}

// forget takes g out of the table, if it is still the newest of its key.
func (g *Registration) forget() {
	g.r.mu.Lock()
	defer g.r.mu.Unlock()
	if g.r.regs[g.key] == g {
		delete(g.r.regs, g.key)
	}
}

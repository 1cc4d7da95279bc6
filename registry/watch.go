package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/meshd/meshd/internal/wait"
)

// pageSize bounds one answer while the picture is read.
const pageSize = 1000

// load reads the whole picture at one revision, which it returns.
func (r *Registry) load(ctx context.Context) (int64, error) {
	var (
		kvs  []*mvccpb.KeyValue
		rev  int64
		from = root
		end  = clientv3.GetPrefixRangeEnd(root)
	)
	for {
		opts := []clientv3.OpOption{clientv3.WithRange(end), clientv3.WithLimit(pageSize)}
		if rev != 0 {
			opts = append(opts, clientv3.WithRev(rev))
		}
		resp, err := r.client.Get(ctx, from, opts...)
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", root, err)
		}
		if rev == 0 {
			rev = resp.Header.Revision
		}
		kvs = append(kvs, resp.Kvs...)
		if !resp.More {
			break
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
	for _, err := range r.picture.replace(kvs, rev) {
		r.log.Warn("registry entry skipped", "error", err, "next", "delete the entry, or update the meshd that wrote it")
	}
	return rev, nil
}

// watch follows the picture from revision rev on until the registry closes.
// When the history was compacted away, or the watch breaks, it reads the
// picture again; meanwhile the last one stays.
func (r *Registry) watch(rev int64) {
	backoff := newBackoff()
	for r.ctx.Err() == nil {
		err := r.follow(&rev, backoff)
		if r.ctx.Err() != nil {
			return
		}
		r.log.Warn("registry watch broke; reading again", "error", err, "next", "nothing, if it does not go on")
		for {
			if !backoff.wait(r.ctx) {
				return
			}
			ctx, cancel := context.WithTimeout(r.ctx, 10*time.Second)
			next, err := r.load(ctx)
			cancel()
			if err == nil {
				rev = next
				r.pokeAll()
				break
			}
			r.log.Warn("registry cannot be read; keeping the last picture", "error", err, "next", "see that the registry is reachable")
		}
	}
}

// follow applies events after *rev until the watch ends, and says why it did.
func (r *Registry) follow(rev *int64, b *backoff) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(r.ctx))
	defer cancel()
	for resp := range r.client.Watch(ctx, root, clientv3.WithPrefix(), clientv3.WithRev(*rev+1)) {
		if err := resp.Err(); err != nil {
			return err
		}
		b.reset()
		for _, err := range r.picture.apply(resp.Events) {
			r.log.Warn("registry entry skipped", "error", err, "next", "delete the entry, or update the meshd that wrote it")
		}
		for _, ev := range resp.Events {
			// Not the header's revision: a watch that catches up gets it
			// before the events that belong to it.
			*rev = max(*rev, ev.Kv.ModRevision)
			if ev.Type == clientv3.EventTypeDelete {
				r.poke(string(ev.Kv.Key))
			}
		}
	}
	return errors.New("the watch ended")
}

// poke has the registration of key, if it is ours, check that it is in place.
func (r *Registry) poke(key string) {
	r.mu.Lock()
	g := r.regs[key]
	r.mu.Unlock()
	if g != nil {
		g.poke()
	}
}

func (r *Registry) pokeAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, g := range r.regs {
		g.poke()
	}
}

// A backoff waits longer from one failure to the next, 50 ms to 2 s.
type backoff struct{ next time.Duration }

func newBackoff() *backoff { b := &backoff{}; b.reset(); return b }

func (b *backoff) reset() { b.next = 50 * time.Millisecond }

// wait returns false when ctx ended.
func (b *backoff) wait(ctx context.Context) bool {
	d := b.next
	b.next = min(2*d, 2*time.Second)
	return wait.For(ctx, d) == nil
}

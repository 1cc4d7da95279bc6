package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// An Object is one that was applied. Body is what the applier stored.
type Object struct {
	Kind, Namespace, Name string
	Body                  []byte
}

// A Scale is the number of instances that a service should have.
type Scale struct {
	Namespace, Service string
	Replicas           int
}

// A Snapshot is the picture at one moment, sorted by key. It is the
// receiver's; the Bodies in it must not be changed.
type Snapshot struct {
	Instances []Instance
	Objects   []Object
	Scales    []Scale
}

// picture is the registry's memory of what is below root.
type picture struct {
	changed chan struct{} // holds one token when something changed

	mu        sync.Mutex    // guards the rest; never held across I/O
	rev       int64         // that the maps are at
	moved     chan struct{} // closed and replaced when rev moves
	instances map[string]Instance
	objects   map[string]Object
	scales    map[string]Scale
	notices   map[string][]byte
}

func (p *picture) init() {
	p.changed = make(chan struct{}, 1)
	p.moved = make(chan struct{})
	p.clear()
}

func (p *picture) clear() {
	p.instances = map[string]Instance{}
	p.objects = map[string]Object{}
	p.scales = map[string]Scale{}
	p.notices = map[string][]byte{}
}

// Changed returns the channel that holds a token after each change, or after
// several: one goroutine is to receive from it and take a Snapshot.
func (r *Registry) Changed() <-chan struct{} { return r.picture.changed }

// Snapshot returns the picture as it is now.
func (r *Registry) Snapshot() Snapshot {
	p := &r.picture
	p.mu.Lock()
	defer p.mu.Unlock()
	return Snapshot{
		Instances: sorted(p.instances),
		Objects:   sorted(p.objects),
		Scales:    sorted(p.scales),
	}
}

func sorted[V any](m map[string]V) []V {
	out := make([]V, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[k])
	}
	return out
}

// replace makes kvs, read at revision rev, the whole picture; what it cannot
// read it leaves out and returns.
func (p *picture) replace(kvs []*mvccpb.KeyValue, rev int64) (skipped []error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	for _, kv := range kvs {
		if err := p.set(string(kv.Key), kv.Value); err != nil {
			skipped = append(skipped, err)
		}
	}
	p.notify(rev, true)
	return skipped
}

// apply takes events in order. A value that cannot be read leaves the one
// before it in force.
func (p *picture) apply(events []*clientv3.Event) (skipped []error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	news := false
	for _, ev := range events {
		key := string(ev.Kv.Key)
		news = news || !strings.HasPrefix(key, noticePrefix)
		if ev.Type == clientv3.EventTypeDelete {
			delete(p.instances, key)
			delete(p.objects, key)
			delete(p.scales, key)
			delete(p.notices, key)
			continue
		}
		if err := p.set(key, ev.Kv.Value); err != nil {
			skipped = append(skipped, err)
		}
	}
	if len(events) > 0 {
		p.notify(events[len(events)-1].Kv.ModRevision, news)
	}
	return skipped
}

// notify says that the maps are at rev, and whether a Snapshot has changed.
// p.mu is held.
func (p *picture) notify(rev int64, news bool) {
	p.rev = rev
	close(p.moved)
	p.moved = make(chan struct{})
	if !news {
		return
	}
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// await returns when the picture is at rev or later, so that who wrote
// something finds it in the next Snapshot, or when ctx ends.
func (p *picture) await(ctx context.Context, rev int64) {
	for {
		p.mu.Lock()
		at, moved := p.rev, p.moved
		p.mu.Unlock()
		if at >= rev {
			return
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return
		}
	}
}

// set decodes one entry into its map. p.mu is held.
func (p *picture) set(key string, value []byte) error {
	switch {
	case strings.HasPrefix(key, instancePrefix):
		in, err := decodeInstance(key, value)
		if err != nil {
			return err
		}
		p.instances[key] = in
	case strings.HasPrefix(key, objectPrefix):
		parts, err := splitKey(key, objectPrefix, 3)
		if err != nil {
			return err
		}
		p.objects[key] = Object{Kind: parts[0], Namespace: parts[1], Name: parts[2], Body: value}
	case strings.HasPrefix(key, scalePrefix):
		parts, err := splitKey(key, scalePrefix, 2)
		if err != nil {
			return err
		}
		var v scaleValue
		if err := json.Unmarshal(value, &v); err != nil {
			return fmt.Errorf("key %s: %w", key, err)
		}
		p.scales[key] = Scale{Namespace: parts[0], Service: parts[1], Replicas: v.Replicas}
	case strings.HasPrefix(key, noticePrefix):
		p.notices[key] = value
	default:
		return fmt.Errorf("key %q is none that this version knows", key)
	}
	return nil
}

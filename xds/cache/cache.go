// Package cache holds the xDS resources that somebody has subscribed to,
// serialised once and shared by all streams. A resource is made from the
// current View when it is first asked for, made again when the View changes,
// and forgotten when nobody asks for it any more, so that memory and the cost
// of a change follow use and not the size of the mesh.
package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sync"

	"google.golang.org/protobuf/types/known/anypb"
)

// A Key names a resource. Namespace is the client's, and only set for types
// whose names mean different things in different namespaces (Listeners), or the
// client's own name for types of which each has its own (Shares).
type Key struct {
	Type, Namespace, Name string
}

// A Resource is one version of a resource. It is immutable, and equal
// content has equal versions, here and in every other meshd.
type Resource struct {
	Name    string
	Version string
	Body    *anypb.Any
}

// A View is one state of the mesh as resources. Its functions are called from
// several goroutines and give the same answers each time, until Refresh says
// otherwise of a resource.
type View struct {
	// Resource makes a resource, serialised: nil if there is none of that name.
	// It is cheap to return what the View before did, where it is the same.
	Resource func(Key) *anypb.Any
	// Names lists what a wildcard subscription of a type means, sorted.
	Names func(typ string) []string
}

// A Cache is safe for use from any goroutine.
type Cache struct {
	setMu sync.Mutex // one Set at a time; taken before mu

	mu      sync.Mutex // guards the rest and all Subscribers; not held while a View makes changed resources
	view    View
	entries map[Key]*entry
	wild    map[wildKey]*wildEntry
}

// An entry is a resource that has subscribers.
type entry struct {
	res  *Resource // nil: there is none of that name
	subs map[*Subscriber]reason
}

// reason says why a Subscriber has a key; an entry without any is dropped.
type reason uint8

const (
	byName reason = 1 << iota
	byWildcard
)

// Wildcard subscriptions of one type and client namespace share a wildEntry.
type wildKey struct{ typ, namespace string }

type wildEntry struct {
	names []string
	subs  map[*Subscriber]struct{}
}

// New returns a Cache in which nothing exists until Set is called.
func New() *Cache {
	return &Cache{
		view: View{
			Resource: func(Key) *anypb.Any { return nil },
			Names:    func(string) []string { return nil },
		},
		entries: map[Key]*entry{},
		wild:    map[wildKey]*wildEntry{},
	}
}

// Set makes v the current view and tells every Subscriber what changed for
// it: all of one Set in one Take. It returns how many resources changed.
func (c *Cache) Set(v View) int {
	c.setMu.Lock()
	defer c.setMu.Unlock()

	c.mu.Lock()
	c.view = v
	keys := make([]Key, 0, len(c.entries))
	for k := range c.entries {
		keys = append(keys, k)
	}
	c.mu.Unlock()

	// Whoever subscribes from here on gets the new view's resource by itself.
	changed := c.again(v, keys)

	c.mu.Lock()
	defer c.mu.Unlock()
	for k, w := range c.wild {
		names := v.Names(k.typ)
		if slices.Equal(names, w.names) {
			continue
		}
		old := w.names
		w.names = names
		for s := range w.subs {
			for _, n := range without(old, names) {
				c.drop(s, k.key(n), byWildcard)
				s.mark(k.key(n))
			}
			for _, n := range without(names, old) {
				c.add(s, k.key(n), byWildcard)
			}
		}
	}
	return changed
}

// Refresh makes the resources of keys again, of which the current View has
// something new to say, and tells their Subscribers only. It returns how many
// changed.
func (c *Cache) Refresh(keys ...Key) int {
	c.setMu.Lock()
	defer c.setMu.Unlock()
	c.mu.Lock()
	v := c.view
	c.mu.Unlock()
	return c.again(v, slices.Clone(keys))
}

// again makes the resources of keys that have subscribers from v, the current
// view, and marks what changed; keys is its own. c.setMu is held, c.mu is not.
func (c *Cache) again(v View, keys []Key) (changed int) {
	made := make([]*Resource, 0, len(keys))
	c.mu.Lock()
	keys = slices.DeleteFunc(keys, func(k Key) bool {
		e := c.entries[k]
		if e != nil {
			made = append(made, e.res)
		}
		return e == nil
	})
	c.mu.Unlock()
	for i, k := range keys {
		made[i] = build(v, k, made[i])
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, k := range keys {
		e := c.entries[k]
		if e == nil || same(e.res, made[i]) {
			continue
		}
		changed++
		e.res = made[i]
		for s := range e.subs {
			s.mark(k)
		}
	}
	return changed
}

// Owners lists whose Subscribers have k by name, sorted; those without an owner
// are left out.
func (c *Cache) Owners(k Key) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[k]
	if e == nil {
		return nil
	}
	all := make([]string, 0, len(e.subs))
	for s, why := range e.subs {
		if why&byName != 0 && s.owner != "" {
			all = append(all, s.owner)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// without returns what is in a and not in b, both sorted.
func without(a, b []string) []string {
	var out []string
	for _, n := range a {
		if _, found := slices.BinarySearch(b, n); !found {
			out = append(out, n)
		}
	}
	return out
}

func (k wildKey) key(name string) Key {
	return Key{Type: k.typ, Namespace: k.namespace, Name: name}
}

// add gives s a key for a reason, makes the resource if need be, and marks it
// as changed. c.mu is held.
func (c *Cache) add(s *Subscriber, k Key, why reason) {
	e := c.entries[k]
	if e == nil {
		e = &entry{res: build(c.view, k, nil), subs: map[*Subscriber]reason{}}
		c.entries[k] = e
	}
	e.subs[s] |= why
	s.keys[k] = struct{}{}
	s.mark(k)
}

// drop takes a reason away from s's key, and with the last one the key.
// c.mu is held.
func (c *Cache) drop(s *Subscriber, k Key, why reason) {
	e := c.entries[k]
	if e == nil {
		return
	}
	if left := e.subs[s] &^ why; left != 0 {
		e.subs[s] = left
		return
	}
	delete(e.subs, s)
	delete(s.keys, k)
	if len(e.subs) == 0 {
		delete(c.entries, k)
	}
}

// Len returns how many resources have subscribers.
func (c *Cache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries)
}

func same(a, b *Resource) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Version == b.Version
}

// build makes one resource; old is the version before, or nil.
func build(v View, k Key, old *Resource) *Resource {
	body := v.Resource(k)
	switch {
	case body == nil:
		return nil
	case old != nil && old.Body == body:
		return old
	}
	sum := sha256.Sum256(body.GetValue())
	return &Resource{Name: k.Name, Version: hex.EncodeToString(sum[:8]), Body: body}
}

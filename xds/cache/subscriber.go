package cache

// A Subscriber is one stream's interest. One goroutine uses it; Changed may
// be received from by the same. It never makes the Cache wait: what changes
// more than once before Take is given once.
type Subscriber struct {
	c       *Cache
	changed chan struct{} // holds a token while dirty is not empty

	// Guarded by c.mu:
	owner string
	keys  map[Key]struct{}
	dirty map[Key]struct{}
}

// A Change is a key and what it stands for now: nil if nothing.
type Change struct {
	Key      Key
	Resource *Resource
}

// Subscribe returns a Subscriber without subscriptions. Close must be called.
func (c *Cache) Subscribe() *Subscriber {
	return &Subscriber{
		c:       c,
		changed: make(chan struct{}, 1),
		keys:    map[Key]struct{}{},
		dirty:   map[Key]struct{}{},
	}
}

// SetOwner says who the subscriptions are of, for Owners.
func (s *Subscriber) SetOwner(name string) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.owner = name
}

// Add subscribes to keys; each counts as changed, also when it is subscribed
// to already.
func (s *Subscriber) Add(keys ...Key) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for _, k := range keys {
		s.c.add(s, k, byName)
	}
}

// Remove ends subscriptions that Add began.
func (s *Subscriber) Remove(keys ...Key) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for _, k := range keys {
		s.c.drop(s, k, byName)
		if _, kept := s.keys[k]; !kept {
			delete(s.dirty, k)
		}
	}
}

// AddAll subscribes to every resource of a type, those to come included.
func (s *Subscriber) AddAll(typ, namespace string) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	k := wildKey{typ, namespace}
	w := s.c.wild[k]
	if w == nil {
		w = &wildEntry{names: s.c.view.Names(typ), subs: map[*Subscriber]struct{}{}}
		s.c.wild[k] = w
	}
	w.subs[s] = struct{}{}
	for _, n := range w.names {
		s.c.add(s, k.key(n), byWildcard)
	}
}

// RemoveAll ends what AddAll began.
func (s *Subscriber) RemoveAll(typ, namespace string) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.removeAll(wildKey{typ, namespace})
}

// removeAll is RemoveAll with c.mu held.
func (s *Subscriber) removeAll(k wildKey) {
	w := s.c.wild[k]
	if w == nil {
		return
	}
	if _, ok := w.subs[s]; !ok {
		return
	}
	delete(w.subs, s)
	for _, n := range w.names {
		s.c.drop(s, k.key(n), byWildcard)
		if _, kept := s.keys[k.key(n)]; !kept {
			delete(s.dirty, k.key(n))
		}
	}
	if len(w.subs) == 0 {
		delete(s.c.wild, k)
	}
}

// Changed returns the channel that holds a token when Take has something to
// give.
func (s *Subscriber) Changed() <-chan struct{} { return s.changed }

// Take returns what changed since the last Take, in no order. A key whose
// wildcard subscription ended because the name is gone comes with nil.
func (s *Subscriber) Take() []Change {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	select {
	case <-s.changed:
	default:
	}
	out := make([]Change, 0, len(s.dirty))
	for k := range s.dirty {
		ch := Change{Key: k}
		if _, ok := s.keys[k]; ok {
			ch.Resource = s.c.entries[k].res
		}
		out = append(out, ch)
	}
	clear(s.dirty)
	return out
}

// Get returns what keys, which s must be subscribed to, stand for now. It does
// not count as a Take.
func (s *Subscriber) Get(keys ...Key) []Change {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	out := make([]Change, 0, len(keys))
	for _, k := range keys {
		if _, ok := s.keys[k]; ok {
			out = append(out, Change{Key: k, Resource: s.c.entries[k].res})
		}
	}
	return out
}

// Close ends all subscriptions.
func (s *Subscriber) Close() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for k := range s.c.wild {
		s.removeAll(k)
	}
	for k := range s.keys {
		s.c.drop(s, k, byName|byWildcard)
	}
	clear(s.dirty)
}

// mark notes that k changed. c.mu is held.
func (s *Subscriber) mark(k Key) {
	s.dirty[k] = struct{}{}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

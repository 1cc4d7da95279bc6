package registry

import (
	"bytes"
	"crypto/rand"
	"maps"
	"slices"
)

// A Notice is something that one meshd tells the others for as long as it
// lives: it is kept under a lease, like an instance. It is no part of a
// Snapshot, and its changes wake nobody. One goroutine uses it.
type Notice struct {
	r   *Registry
	key string
	g   *Registration // nil until there is something to tell
}

// Notice returns this meshd's, with nothing in it.
func (r *Registry) Notice() *Notice { return &Notice{r: r, key: noticePrefix + rand.Text()} }

// Tell replaces what the others see. It does not wait for etcd, and does
// nothing if the value is the one before, or if nobody shares this registry,
// which is so when it is embedded.
func (n *Notice) Tell(value []byte) error {
	if n.r.member != nil || n.g == nil && len(value) == 0 {
		return nil
	}
	if n.g == nil {
		g := n.r.registration(n.key)
		g.value = value
		g, err := n.r.keep(g)
		if err == nil {
			n.g = g
		}
		return err
	}
	n.g.mu.Lock()
	defer n.g.mu.Unlock()
	if !bytes.Equal(n.g.value, value) {
		n.g.value = value
		n.g.poke()
	}
	return nil
}

// Others are what the other meshds tell, in the order of their names. The
// values must not be changed.
func (n *Notice) Others() [][]byte {
	p := &n.r.picture
	p.mu.Lock()
	defer p.mu.Unlock()
	var all [][]byte
	for _, key := range slices.Sorted(maps.Keys(p.notices)) {
		if key != n.key {
			all = append(all, p.notices[key])
		}
	}
	return all
}

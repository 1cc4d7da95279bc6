package client

import (
	"slices"
	"time"
)

// A deadline is when a name that has no answer counts as not existing.
type deadline struct {
	at   time.Time
	k    kind
	name string
	e    *entry
}

// expire counts what was not answered in time as not existing.
func (g *graph) expire(now time.Time) {
	for len(g.unexpired) > 0 && !g.unexpired[0].at.After(now) {
		d := g.unexpired[0]
		g.unexpired = g.unexpired[1:]
		if g.entries[d.k][d.name] == d.e && !d.e.known {
			g.absent(d.k, d.name)
		}
	}
}

// grace is how long a name that a response leaves out may still come: the
// response may have been under way when the name was asked for.
const grace = 100 * time.Millisecond

// missing notes that a response which lists everything leaves a name out.
func (g *graph) missing(k kind, name string) {
	e := g.entries[k][name]
	if e.known {
		g.absent(k, name)
		return
	}
	if e.doubted {
		return
	}
	e.doubted = true
	d := deadline{time.Now().Add(min(grace, g.timeout)), k, name, e}
	i, _ := slices.BinarySearchFunc(g.unexpired, d, func(a, b deadline) int { return a.at.Compare(b.at) })
	g.unexpired = slices.Insert(g.unexpired, i, d)
}

// connect starts the clocks of what has no answer; disconnect stops them, since
// nothing is learnt of what exists while nobody answers.
func (g *graph) connect(now time.Time) {
	g.connected = true
	for k := range kinds {
		for name, e := range g.entries[k] {
			if !e.known {
				e.doubted = false
				g.unexpired = append(g.unexpired, deadline{now.Add(g.timeout), k, name, e})
			}
		}
	}
}

func (g *graph) disconnect() { g.connected, g.unexpired = false, nil }

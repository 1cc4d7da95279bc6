package control

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/meshd/meshd/internal/wait"
	"github.com/meshd/meshd/mesh"
	"github.com/meshd/meshd/registry"
	"github.com/meshd/meshd/telemetry"
	"github.com/meshd/meshd/xds/cache"
)

// spacing is the least time from one state to the next: what changes within
// it is told to clients at once.
const spacing = 10 * time.Millisecond

// A picture is one state of the mesh and what it was made of. It is immutable.
type picture struct {
	state     *mesh.State
	instances []registry.Instance
	scales    map[service]int
	next      chan struct{} // closed when there is a newer picture
}

// A service is named without its ports where instances are counted.
type service struct{ namespace, name string }

// An assembler turns the sources' objects and the registry into pictures, one
// after the other, and hands each to the cache.
type assembler struct {
	files    *objects // nil: objects come over the API only
	registry *registry.Registry
	cache    *cache.Cache
	shares   *shares
	secret   []byte // of which the keys of sessions are made
	log      *slog.Logger
	note     func(telemetry.Event) // what is new in a picture; set before run; may be nil

	current atomic.Pointer[picture]
	asked   chan chan struct{} // sync's

	// The loop's own:
	view     *view
	parsed   map[mesh.Key]parsedObject
	problems map[string]bool // told in the log
}

// parsedObject remembers what a body in the registry was parsed to.
type parsedObject struct {
	body   string
	object mesh.Object // nil: it could not be
}

func newAssembler(files *objects, reg *registry.Registry, c *cache.Cache, s *shares, secret []byte, log *slog.Logger) *assembler {
	a := &assembler{
		files: files, registry: reg, cache: c, shares: s, secret: secret, log: log,
		asked:    make(chan chan struct{}),
		parsed:   map[mesh.Key]parsedObject{},
		problems: map[string]bool{},
	}
	a.build()
	return a
}

// run makes pictures until ctx ends.
func (a *assembler) run(ctx context.Context) {
	var changed <-chan struct{}
	if a.files != nil {
		changed = a.files.changed
	}
	last := time.Now()
	for {
		var expiry <-chan time.Time
		var timer *time.Timer
		if at, ok := a.current.Load().state.Expires(); ok {
			timer = time.NewTimer(time.Until(at) + time.Millisecond)
			expiry = timer.C
		}
		var done chan struct{}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-a.registry.Changed():
		case <-expiry:
		case done = <-a.asked:
		}
		if timer != nil {
			timer.Stop()
		}
		if done == nil {
			_ = wait.For(ctx, time.Until(last.Add(spacing))) // the loop sees to its end
		}
		if ctx.Err() != nil {
			return
		}
		last = time.Now()
		a.build()
		if done != nil {
			close(done)
		}
	}
}

// sync returns once a picture has been made of all that was there when it was
// called, or ctx ended.
func (a *assembler) sync(ctx context.Context) {
	done := make(chan struct{})
	select {
	case a.asked <- done:
	case <-ctx.Done():
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// build makes the next picture.
func (a *assembler) build() {
	snap := a.registry.Snapshot()
	var all []mesh.Object
	if a.files != nil {
		// Of two objects with one key the first counts: the file's.
		all = append(all, a.files.get()...)
	}
	all = append(all, a.applied(snap.Objects)...)
	instances := make([]mesh.Instance, len(snap.Instances))
	for i, in := range snap.Instances {
		instances[i] = in.Instance
	}
	old := a.current.Load()
	var prev *mesh.State
	if old != nil {
		prev = old.state
	}
	p := &picture{
		state:     mesh.Build(prev, time.Now(), all, instances),
		instances: snap.Instances,
		scales:    make(map[service]int, len(snap.Scales)),
		next:      make(chan struct{}),
	}
	for _, s := range snap.Scales {
		p.scales[service{s.Namespace, s.Service}] = s.Replicas
	}
	a.report(p.state.Problems())
	a.current.Store(p)
	a.view = newView(p.state, a.view)
	a.view.secret = a.secret
	a.cache.Set(a.shares.over(a.view.cache()))
	if old != nil {
		close(old.next)
		if a.note != nil {
			for _, e := range news(old, p) {
				a.note(e)
			}
		}
	}
}

// applied parses the registry's objects, each body once.
func (a *assembler) applied(stored []registry.Object) []mesh.Object {
	parsed := make(map[mesh.Key]parsedObject, len(stored))
	good := make([]mesh.Object, 0, len(stored))
	for _, o := range stored {
		key := mesh.Key{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name}
		p, ok := a.parsed[key]
		if !ok || p.body != string(o.Body) {
			p = parsedObject{body: string(o.Body)}
			switch got, errs := mesh.Parse(storedName, o.Body); {
			case len(errs) > 0:
				a.log.Warn("stored object not understood", "object", key.String(), "error", errs[0],
					"next", "apply the object again, or delete it with meshctl")
			case len(got) != 1 || got[0].Head().Key != key:
				a.log.Warn("stored object is another than its key says", "object", key.String(),
					"next", "delete it with meshctl and apply it again")
			default:
				p.object = got[0]
			}
		}
		parsed[key] = p
		if p.object != nil {
			good = append(good, p.object)
		}
	}
	a.parsed = parsed
	return good
}

// report logs problems that were not there before.
func (a *assembler) report(problems []error) {
	now := make(map[string]bool, len(problems))
	for _, err := range problems {
		now[err.Error()] = true
		if !a.problems[err.Error()] {
			a.log.Warn("conflict between objects", "error", err, "next", "change or delete one of the two that the error names")
		}
	}
	a.problems = now
}

// ready counts the instances of a service that take calls.
func (p *picture) ready(s service) int {
	n := 0
	for _, in := range p.instances {
		if in.Namespace == s.namespace && in.Service == s.name && in.Ready && !in.Draining {
			n++
		}
	}
	return n
}

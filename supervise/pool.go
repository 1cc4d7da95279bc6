package supervise

import (
	"errors"
	"fmt"
	"slices"
	"sync"
)

// portTries is how often an instance is given other ports before it is given
// up.
const portTries = 5

// A PoolConfig is a service whose instances a Pool runs.
type PoolConfig struct {
	Name string // instances are called Name-0, Name-1, …
	// Ports an instance needs.
	Ports int
	// Build makes the children of one instance. It is called again, with
	// other ports, if a port was taken.
	Build     func(instance string, ports []int) ([]Spec, error)
	Backoff   Backoff
	Intensity Intensity
	// OnEvent is called for every event of every instance, one at a time; it
	// must not block and must not call the pool. May be nil.
	OnEvent func(Event)
}

// A Pool runs a changing number of instances of one service. Its methods may
// be called from any goroutine.
type Pool struct {
	cfg     PoolConfig
	eventMu sync.Mutex

	mu      sync.Mutex
	members []*member // oldest first, those that are being stopped included
	taken   map[int]bool
	closed  bool
	changed chan struct{} // closed and replaced when a member goes
	wg      sync.WaitGroup
}

type member struct {
	name    string
	index   int
	ports   []int
	tries   int
	leaving bool
	sup     *Supervisor
}

// NewPool returns a pool without instances.
func NewPool(cfg PoolConfig) *Pool {
	return &Pool{cfg: cfg, taken: map[int]bool{}, changed: make(chan struct{})}
}

// Scale starts instances, or begins to drain the newest ones, so that n are
// left, and returns without waiting for either. Instances that were given up
// do not count. An error says that one could not be set up; those started
// before it stay.
func (p *Pool) Scale(n int) error {
	if n < 0 {
		return fmt.Errorf("scale %s: %d instances: want 0 or more", p.cfg.Name, n)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	live := p.live()
	for i := len(live) - 1; i >= n; i-- {
		live[i].leaving = true
		live[i].sup.Stop()
	}
	for i := len(live); i < n; i++ {
		index := p.freeIndex()
		m := &member{name: fmt.Sprintf("%s-%d", p.cfg.Name, index), index: index}
		if err := p.launch(m); err != nil {
			return fmt.Errorf("start %s: %w", m.name, err)
		}
		p.members = append(p.members, m)
		p.wg.Go(func() { p.follow(m) })
	}
	return nil
}

// Size is the number of instances that run and are not being stopped.
func (p *Pool) Size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.live())
}

// Instances names those that run and are not being stopped, oldest first.
func (p *Pool) Instances() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var names []string
	for _, m := range p.live() {
		names = append(names, m.name)
	}
	return names
}

// Ports are those of one instance, in the order in which Build got them; nil
// if there is no such instance.
func (p *Pool) Ports(instance string) []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.members {
		if m.name == instance {
			return slices.Clone(m.ports)
		}
	}
	return nil
}

// Crash kills the processes of one instance, or only the one named, as a
// fault would; they are restarted by the rules. It reports whether there is
// such an instance.
func (p *Pool) Crash(instance, process string) bool {
	p.mu.Lock()
	i := slices.IndexFunc(p.members, func(m *member) bool { return m.name == instance })
	var sup *Supervisor
	if i >= 0 {
		sup = p.members[i].sup
	}
	p.mu.Unlock()
	if sup != nil {
		sup.Crash(process)
	}
	return sup != nil
}

// Changed returns a channel that is closed when an instance has ended, by
// itself or because it was told to.
func (p *Pool) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// Stop begins to drain all instances at once. No more are started.
func (p *Pool) Stop() { p.end((*Supervisor).Stop) }

// Kill ends all instances at once.
func (p *Pool) Kill() { p.end((*Supervisor).Kill) }

func (p *Pool) end(how func(*Supervisor)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, m := range p.members {
		m.leaving = true
		how(m.sup)
	}
}

// Wait returns when, after Stop or Kill, no process is left.
func (p *Pool) Wait() { p.wg.Wait() }

// live needs p.mu.
func (p *Pool) live() []*member {
	var live []*member
	for _, m := range p.members {
		if !m.leaving {
			live = append(live, m)
		}
	}
	return live
}

// freeIndex needs p.mu.
func (p *Pool) freeIndex() int {
	for i := 0; ; i++ {
		if !slices.ContainsFunc(p.members, func(m *member) bool { return m.index == i }) {
			return i
		}
	}
}

// launch gives m ports and starts it; it needs p.mu.
func (p *Pool) launch(m *member) error {
	ports, err := FreePorts(p.cfg.Ports, p.taken)
	if err != nil {
		return err
	}
	children, err := p.cfg.Build(m.name, ports)
	if err != nil {
		return err
	}
	for _, port := range ports {
		p.taken[port] = true
	}
	m.ports = ports
	m.sup = Start(Config{
		Name: m.name, Children: children,
		Backoff: p.cfg.Backoff, Intensity: p.cfg.Intensity, OnEvent: p.emit,
	})
	return nil
}

// follow waits for the end of m.
func (p *Pool) follow(m *member) {
	for {
		p.mu.Lock()
		sup := m.sup
		p.mu.Unlock()
		err := sup.Err()

		p.mu.Lock()
		for _, port := range m.ports {
			delete(p.taken, port)
		}
		m.tries++
		if errors.Is(err, ErrPortTaken) && !m.leaving && m.tries < portTries && p.launch(m) == nil {
			p.mu.Unlock()
			continue
		}
		p.members = slices.DeleteFunc(p.members, func(o *member) bool { return o == m })
		close(p.changed)
		p.changed = make(chan struct{})
		p.mu.Unlock()
		return
	}
}

func (p *Pool) emit(e Event) {
	if p.cfg.OnEvent == nil {
		return
	}
	p.eventMu.Lock()
	defer p.eventMu.Unlock()
	p.cfg.OnEvent(e)
}

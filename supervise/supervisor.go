package supervise

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"
)

// A Config is one instance: its children and the limits that they share.
type Config struct {
	Name string
	// Children are started together, in this order, and stopped one after the
	// other in the reverse order.
	Children  []Spec
	Backoff   Backoff
	Intensity Intensity
	// OnEvent is called from the supervisor's goroutine, one event at a time;
	// it must not block and must not call the supervisor. May be nil.
	OnEvent func(Event)
}

// A Supervisor is a running instance. Its methods may be called from any
// goroutine.
type Supervisor struct {
	cfg Config
	sys system

	stop, kill chan struct{}
	stopOnce   sync.Once
	killOnce   sync.Once
	crash      chan string
	done       chan struct{}
	err        error // set before done is closed

	// Of the run goroutine only:
	children  []child
	exits     chan exit
	readies   chan ready
	due       chan int
	restarts  []time.Time
	stopping  int // the child being stopped, len(children) when not stopping
	escalate  *time.Timer
	announced bool // that all are ready
	wg        sync.WaitGroup
}

// A system is what a supervisor needs of the machine.
type system struct {
	start  func(Spec) (*process, error)
	ready  func(context.Context, Probe) error
	taken  func(port int) bool
	random func() float64
}

var realSystem = system{
	start:  startProcess,
	ready:  func(ctx context.Context, p Probe) error { return p.wait(ctx) },
	taken:  portTaken,
	random: rand.Float64,
}

type child struct {
	spec      Spec
	proc      *process // nil while it does not run
	started   time.Time
	ready     bool
	everReady bool
	inRow     int // restarts since it was last up for Backoff.Reset
	timer     *time.Timer
	ended     bool // for good
}

type ready struct {
	child int
	proc  *process
}

type exit struct {
	child int
	err   error // it could not be started
}

// Start starts the children and returns at once.
func Start(cfg Config) *Supervisor { return startOn(realSystem, cfg) }

func startOn(sys system, cfg Config) *Supervisor {
	s := &Supervisor{
		cfg: cfg, sys: sys,
		stop: make(chan struct{}), kill: make(chan struct{}),
		crash: make(chan string), done: make(chan struct{}),
		exits: make(chan exit, len(cfg.Children)), readies: make(chan ready),
		due: make(chan int, len(cfg.Children)), stopping: len(cfg.Children),
		escalate: time.NewTimer(time.Hour),
	}
	s.escalate.Stop()
	for _, spec := range cfg.Children {
		s.children = append(s.children, child{spec: spec})
	}
	go s.run()
	return s
}

// Stop begins an orderly stop and returns at once: SIGTERM to the last child,
// its Grace, SIGKILL; then the one before. Done says when it is over.
func (s *Supervisor) Stop() { s.stopOnce.Do(func() { close(s.stop) }) }

// Kill ends every child with SIGKILL, restarts none and returns at once.
func (s *Supervisor) Kill() { s.killOnce.Do(func() { close(s.kill) }) }

// Crash kills the named child, or every child if name is empty, as a fault
// would: it is restarted by the rules.
func (s *Supervisor) Crash(name string) {
	select {
	case s.crash <- name:
	case <-s.done:
	}
}

// Done is closed when no process is left and none will be started.
func (s *Supervisor) Done() <-chan struct{} { return s.done }

// Err says, after Done, why the supervisor ended: nil after Stop, Kill or the
// normal end of its significant child; otherwise it wraps ErrGivenUp or
// ErrPortTaken.
func (s *Supervisor) Err() error {
	<-s.done
	return s.err
}

func (s *Supervisor) run() {
	defer close(s.done)
	defer s.wg.Wait()
	for i := range s.children {
		s.start(i)
	}
	stop, kill := s.stop, s.kill
	for !s.over() {
		select {
		case <-stop:
			stop = nil
			s.beginStop()
		case <-kill:
			kill, stop = nil, nil
			s.beginStop()
			s.signalAll(syscall.SIGKILL)
		case name := <-s.crash:
			for i := range s.children {
				if c := &s.children[i]; c.proc != nil && (name == "" || name == c.spec.Name) {
					c.ready, s.announced = false, false
					c.proc.signal(syscall.SIGKILL)
				}
			}
		case e := <-s.exits:
			s.exited(e)
		case r := <-s.readies:
			s.becameReady(r)
		case i := <-s.due:
			if !s.isStopping() && !s.children[i].ended {
				s.start(i)
			}
		case <-s.escalate.C:
			if s.isStopping() && s.stopping >= 0 && s.children[s.stopping].proc != nil {
				s.children[s.stopping].proc.signal(syscall.SIGKILL)
			}
		}
	}
	s.escalate.Stop()
	s.emit(Event{Kind: Stopped})
}

func (s *Supervisor) over() bool {
	for i := range s.children {
		if !s.children[i].ended {
			return false
		}
	}
	return true
}

func (s *Supervisor) start(i int) {
	c := &s.children[i]
	c.ready, c.started = false, time.Now()
	proc, err := s.sys.start(c.spec)
	if err != nil {
		s.exits <- exit{child: i, err: err} // room for one of each child
		return
	}
	c.proc = proc
	s.emit(Event{Process: c.spec.Name, Kind: Started, PID: proc.pid})
	ctx, cancel := context.WithCancel(context.Background())
	s.wg.Go(func() {
		<-proc.done
		cancel()
		s.exits <- exit{child: i}
	})
	s.wg.Go(func() {
		if s.sys.ready(ctx, c.spec.Ready) != nil {
			return
		}
		select {
		case s.readies <- ready{i, proc}:
		case <-ctx.Done():
		}
	})
}

func (s *Supervisor) becameReady(r ready) {
	c := &s.children[r.child]
	if c.proc != r.proc {
		return // it was of a process that has ended since
	}
	c.ready, c.everReady = true, true
	s.emit(Event{Process: c.spec.Name, Kind: Ready, PID: c.proc.pid})
	for j := range s.children {
		if !s.children[j].ready {
			return
		}
	}
	if !s.announced {
		s.announced = true
		s.emit(Event{Kind: Ready})
	}
}

func (s *Supervisor) exited(e exit) {
	c := &s.children[e.child]
	ev := Event{Process: c.spec.Name, Kind: Exited, Err: e.err}
	normal := false
	if c.proc != nil {
		ev.PID, ev.Code, ev.Signal = c.proc.pid, c.proc.code, c.proc.sig
		normal = c.proc.normal()
	}
	c.proc, c.ready, s.announced = nil, false, false
	s.emit(ev)
	switch {
	case s.isStopping():
		c.ended = true
		s.stopNext()
	case c.spec.Restart == Temporary || c.spec.Restart == Transient && normal:
		c.ended = true
		if c.spec.Significant {
			s.beginStop()
		}
	case !c.everReady && s.lostPort(c.spec) != 0:
		c.ended = true
		s.err = fmt.Errorf("%s %s: port %d: %w", s.cfg.Name, c.spec.Name, s.lostPort(c.spec), ErrPortTaken)
		s.beginStop()
		s.signalAll(syscall.SIGKILL)
	default:
		s.restart(e.child)
	}
}

// lostPort is the first of the child's ports that somebody else holds, or 0.
func (s *Supervisor) lostPort(spec Spec) int {
	for _, port := range spec.Ports {
		if s.sys.taken(port) {
			return port
		}
	}
	return 0
}

func (s *Supervisor) restart(i int) {
	c := &s.children[i]
	now := time.Now()
	if now.Sub(c.started) >= s.cfg.Backoff.Reset {
		c.inRow = 0
	}
	c.inRow++
	var within bool
	if s.restarts, within = s.cfg.Intensity.record(s.restarts, now); !within {
		c.ended = true
		s.err = fmt.Errorf("%s %s: %w: more than %d times in %v", s.cfg.Name, c.spec.Name,
			ErrGivenUp, s.cfg.Intensity.Max, s.cfg.Intensity.Window)
		s.emit(Event{Kind: GivenUp, Err: s.err})
		s.beginStop()
		return
	}
	in := s.cfg.Backoff.delay(c.inRow, s.sys.random())
	s.emit(Event{Process: c.spec.Name, Kind: Restarting, In: in})
	if in == 0 {
		s.start(i)
		return
	}
	c.timer = time.AfterFunc(in, func() { s.due <- i }) // room for one of each child
}

func (s *Supervisor) isStopping() bool { return s.stopping < len(s.children) }

// beginStop ends what does not run and starts the walk from the last child to
// the first.
func (s *Supervisor) beginStop() {
	if s.isStopping() {
		return
	}
	s.emit(Event{Kind: Draining})
	s.stopping = len(s.children) - 1
	for i := range s.children {
		c := &s.children[i]
		if c.timer != nil {
			c.timer.Stop()
		}
		// A child that failed to start has its exit waiting and ends by that.
		if c.proc == nil {
			c.ended = true
		}
	}
	s.signalStopping()
}

// stopNext goes on when the child being stopped has ended.
func (s *Supervisor) stopNext() {
	if s.stopping >= 0 && s.children[s.stopping].proc == nil {
		s.signalStopping()
	}
}

// signalStopping sends SIGTERM to the last child that still runs, at or
// before s.stopping.
func (s *Supervisor) signalStopping() {
	s.escalate.Stop()
	for s.stopping >= 0 && s.children[s.stopping].proc == nil {
		s.stopping--
	}
	if s.stopping >= 0 {
		c := &s.children[s.stopping]
		c.proc.signal(syscall.SIGTERM)
		s.escalate.Reset(c.spec.Grace)
	}
}

func (s *Supervisor) signalAll(sig syscall.Signal) {
	for i := range s.children {
		if c := &s.children[i]; c.proc != nil {
			c.proc.signal(sig)
		}
	}
}

func (s *Supervisor) emit(e Event) {
	if s.cfg.OnEvent == nil {
		return
	}
	e.Time, e.Instance = time.Now(), s.cfg.Name
	s.cfg.OnEvent(e)
}

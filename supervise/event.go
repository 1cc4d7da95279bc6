package supervise

import (
	"fmt"
	"strings"
	"syscall"
	"time"
)

// Kind is what happened.
type Kind uint8

// The kinds of an Event, with the fields that go with each.
const (
	Started    Kind = iota // PID
	Ready                  // PID; without Process: every child of the instance is ready
	Exited                 // PID, Code or Signal; Err when it could not be started at all
	Restarting             // In
	GivenUp                // Err
	Draining               // stop has begun
	Stopped                // nothing of the instance is left
)

var kindNames = [...]string{"started", "ready", "exited", "restarting", "given up", "draining", "stopped"}

func (k Kind) String() string { return kindNames[k] }

// An Event is one step in the life of an instance or of one of its processes.
type Event struct {
	Time     time.Time
	Instance string
	Process  string // "" for the instance as a whole
	Kind     Kind
	PID      int
	Code     int
	Signal   syscall.Signal
	In       time.Duration // until the restart
	Err      error
}

// String is the event as one line for people, without its time.
func (e Event) String() string {
	var b strings.Builder
	b.WriteString(e.Instance)
	if e.Process != "" {
		b.WriteString(" " + e.Process)
	}
	b.WriteString(" " + e.Kind.String())
	switch {
	case e.Kind == Started:
		fmt.Fprintf(&b, " (pid %d)", e.PID)
	case e.Kind == Restarting && e.In > 0:
		fmt.Fprintf(&b, " in %v", e.In.Round(time.Millisecond))
	case e.Err != nil:
		fmt.Fprintf(&b, ": %v", e.Err)
	case e.Kind == Exited && e.Signal != 0:
		fmt.Fprintf(&b, " by signal %d (%v)", int(e.Signal), e.Signal)
	case e.Kind == Exited:
		fmt.Fprintf(&b, " with code %d", e.Code)
	}
	return b.String()
}

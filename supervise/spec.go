package supervise

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// Restart says what happens when a child ends by itself.
type Restart uint8

// Erlang's three: a Permanent child is always restarted, a Transient one only
// after an abnormal end (a code other than 0, or a signal), a Temporary one
// never.
const (
	Permanent Restart = iota
	Transient
	Temporary
)

var restartNames = [...]string{"permanent", "transient", "temporary"}

func (r Restart) String() string { return restartNames[r] }

// ParseRestart is the inverse of [Restart.String].
func ParseRestart(s string) (Restart, error) {
	for i, name := range restartNames {
		if s == name {
			return Restart(i), nil
		}
	}
	return 0, fmt.Errorf("restart %q: want permanent, transient or temporary", s)
}

// A Spec is one child: what is run and how it is looked after.
type Spec struct {
	Name string // within its supervisor: "app", "sidecar"
	Path string
	Args []string // without the program's name
	Env  []string // added to the supervisor's own, later ones win
	Dir  string

	Restart Restart
	// Significant: when this child ends for good, the others are stopped too
	// (Erlang's auto_shutdown any_significant).
	Significant bool
	Ready       Probe
	// Grace is the time from SIGTERM to SIGKILL.
	Grace time.Duration
	// Ports that it listens on, on loopback. A child that ends before it was
	// ever ready while another process holds one of them makes its supervisor
	// end with ErrPortTaken.
	Ports []int

	// Stdout and Stderr receive whole lines, each behind Prefix, one Write a
	// line; they must be safe for concurrent use ([NewOutput]). Nil discards.
	Stdout, Stderr io.Writer
	Prefix         string
}

// A Backoff is the wait before a restart: none before the first, then Base,
// doubled each time up to Max, each drawn from the upper half of that
// (jitter). A child that was up for Reset starts over.
type Backoff struct {
	Base, Max, Reset time.Duration
}

// An Intensity bounds restarts: more than Max of them within Window, over all
// children of a supervisor, and it gives up.
type Intensity struct {
	Max    int
	Window time.Duration
}

// DefaultBackoff and DefaultIntensity give a child that always fails about
// twenty seconds.
func DefaultBackoff() Backoff {
	return Backoff{Base: 100 * time.Millisecond, Max: 5 * time.Second, Reset: 5 * time.Second}
}

// DefaultIntensity is ten restarts a minute.
func DefaultIntensity() Intensity { return Intensity{Max: 10, Window: time.Minute} }

// Why a supervisor ended, other than by Stop and Kill.
var (
	ErrGivenUp   = errors.New("restarts too often")
	ErrPortTaken = errors.New("port taken by another process")
)

// delay is the wait before the n-th restart in a row, n from 1; random is in
// [0,1).
func (b Backoff) delay(n int, random float64) time.Duration {
	if n <= 1 {
		return 0
	}
	d := b.Base
	for i := 2; i < n && d < b.Max; i++ {
		d *= 2
	}
	d = min(d, b.Max)
	return d/2 + time.Duration(random*float64(d/2))
}

// record notes a restart at now in times (oldest first) and reports whether
// it is still within the intensity.
func (in Intensity) record(times []time.Time, now time.Time) ([]time.Time, bool) {
	cut := 0
	for cut < len(times) && now.Sub(times[cut]) >= in.Window {
		cut++
	}
	times = append(times[cut:], now)
	return times, len(times) <= in.Max
}

package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A load is what one run of the generator sends. Rate 0 is saturation: every
// stream sends its next request as soon as it has its answer (closed loop).
// Otherwise requests are due at that rate whatever becomes of them (open
// loop); each goes out on the connection that has had a free stream longest,
// or waits for one.
type load struct {
	Protocol    string
	Addr        string // IPv4 host:port
	Host        string // whom callers name: Host, :authority
	Rate        float64
	Burst       int // so many are due at once, on one connection, at Rate all the same; 0 is 1
	Connections int
	Streams     int // requests at once on a connection; 0 is 1
	Duration    time.Duration
	Stall       time.Duration // without any answer: what is in flight has failed; 0 is 5 s
}

// A report is what became of a load. Latencies count from the moment at which
// a request was due; in saturation, from its sending.
type report struct {
	OK      int64            `json:"ok"`
	Failed  int64            `json:"failed"`
	Causes  map[string]int64 `json:"causes,omitempty"`
	Bytes   int64            `json:"bytes,omitempty"` // of tcp: received
	Seconds float64          `json:"seconds"`
	P50     float64          `json:"p50Ms"`
	P99     float64          `json:"p99Ms"`
}

const (
	stall       = 5 * time.Second
	maxCauses   = 16   // that are told apart
	maxFailures = 1000 // then no more is sent
)

// A generator runs one load on one thread, over epoll and a timerfd: it costs
// little beside what it measures, and it is on time to some microseconds,
// which Go's timers (1 ms) are not.
type generator struct {
	load
	poll  int
	timer int
	conns []*conn
	idle  []*conn // with a free stream, in the order in which they got it
	busy  int     // requests in flight

	start   time.Time
	heard   time.Time // when there was an answer last, or nothing to wait for
	due     int       // requests that have been sent: the number of the next one
	total   int       // 0 in saturation
	samples []time.Duration
	report  report
}

// run sends l and waits for the answers. The error is about the generator
// itself or about connecting; failed requests are in the report.
func (l load) run() (report, error) {
	l.Burst, l.Streams, l.Stall = max(l.Burst, 1), max(l.Streams, 1), cmp.Or(l.Stall, stall)
	if l.Protocol == protoTCP {
		return l.bulk()
	}
	g := &generator{load: l, report: report{Causes: map[string]int64{}}}
	expect := 200_000 * l.Duration.Seconds()
	if l.Rate > 0 {
		expect = l.Rate * l.Duration.Seconds()
		g.total = int(expect)
	}
	g.samples = make([]time.Duration, 0, int(min(expect, 10e6))+1) // then they grow
	if err := g.open(); err != nil {
		return report{}, err
	}
	defer g.close()
	if err := g.loop(); err != nil {
		return report{}, err
	}
	r := g.report
	r.Seconds = time.Since(g.start).Seconds()
	r.OK = int64(len(g.samples))
	slices.Sort(g.samples)
	r.P50, r.P99 = quantile(g.samples, 0.50), quantile(g.samples, 0.99)
	return r, nil
}

func (g *generator) loop() error {
	events := make([]unix.EpollEvent, g.Connections+1)
	g.start = time.Now()
	g.heard = g.start
	end := g.start.Add(g.Duration)
	for {
		now := time.Now()
		if err := g.send(now, end); err != nil {
			return err
		}
		if whole, err := g.flush(); err != nil {
			return err
		} else if !whole {
			continue // there are new connections to send on
		}
		if g.busy == 0 && g.finished(now, end) {
			return nil
		}
		n, err := unix.EpollWait(g.poll, events, int(min(g.Stall, time.Second).Milliseconds()))
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("epoll_wait: %w", err)
		}
		for _, e := range events[:max(n, 0)] {
			if int(e.Fd) == g.timer {
				continue // edge-triggered, and set again before the next wait
			}
			if err := g.read(g.conns[e.Pad]); err != nil {
				return err
			}
		}
		if g.busy > 0 && time.Since(g.heard) > g.Stall {
			for range g.busy {
				g.fail("no answer in " + g.Stall.String())
			}
			for ; g.due < g.total; g.due++ {
				g.fail("not sent, since nothing was answered")
			}
			return nil
		}
		if g.busy == 0 {
			g.heard = time.Now()
		}
	}
}

func (g *generator) finished(now, end time.Time) bool {
	switch {
	case g.report.Failed >= maxFailures:
		return true
	case g.total > 0:
		return g.due >= g.total
	}
	return !now.Before(end)
}

// send has what is due written by the next flush, and sets the timer for what
// will be due.
func (g *generator) send(now, end time.Time) error {
	for len(g.idle) > 0 && !g.finished(now, end) {
		at := now
		if g.total > 0 {
			first := g.due - g.due%g.Burst
			at = g.start.Add(time.Duration(float64(first) / g.Rate * float64(time.Second)))
			if wait := at.Sub(now); wait > 0 {
				return g.wake(wait)
			}
		}
		c := g.idle[0]
		if err := c.send(at); err != nil {
			if err := g.broken(c, err.Error()); err != nil {
				return err
			}
			continue
		}
		g.busy++
		g.due++
		if full := len(c.flights) == g.Streams; full || g.total > 0 && g.due%g.Burst == 0 {
			copy(g.idle, g.idle[1:])
			g.idle = g.idle[:len(g.idle)-1]
			if !full {
				g.idle = append(g.idle, c)
			}
		}
	}
	return nil
}

// answered takes note of what became of a request of c; it is called while c
// is being read.
func (g *generator) answered(c *conn, stream uint32, failure error) error {
	now := time.Now()
	i := slices.IndexFunc(c.flights, func(f flight) bool { return f.stream == stream })
	if i < 0 {
		return fmt.Errorf("a second answer, or one that nobody asked for")
	}
	if failure != nil {
		g.fail(failure.Error())
	} else {
		g.samples = append(g.samples, now.Sub(c.flights[i].due))
	}
	if len(c.flights) == g.Streams {
		g.idle = append(g.idle, c)
	}
	c.flights = slices.Delete(c.flights, i, i+1)
	g.busy--
	g.heard = now
	return nil
}

func (g *generator) fail(why string) {
	g.report.fail(why)
}

func (r *report) fail(why string) {
	r.Failed++
	if _, known := r.Causes[why]; !known && len(r.Causes) >= maxCauses {
		why = "other"
	}
	r.Causes[why]++
}

// quantile is the value in ms that the share q of the sorted samples does not
// exceed; 0 without samples.
func quantile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	i := int(q*float64(len(sorted))+0.999999) - 1
	return float64(sorted[min(max(i, 0), len(sorted)-1)]) / float64(time.Millisecond)
}

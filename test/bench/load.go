package main

import (
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A load is what one run of the generator sends. Rate 0 is saturation: every
// connection sends its next request as soon as it has its answer (closed
// loop). Otherwise requests are due at that rate whatever becomes of them
// (open loop); each goes out on the connection that has been idle longest, or
// waits for one.
type load struct {
	Addr        string // IPv4 host:port
	Host        string // of the Host header
	Rate        float64
	Burst       int // so many are due at once, at Rate all the same; 0 is 1
	Connections int
	Duration    time.Duration
}

// A report is what became of a load. Latencies count from the moment at which
// a request was due; in saturation, from its sending.
type report struct {
	OK      int64            `json:"ok"`
	Failed  int64            `json:"failed"`
	Causes  map[string]int64 `json:"causes,omitempty"`
	Seconds float64          `json:"seconds"`
	P50     float64          `json:"p50Ms"`
	P99     float64          `json:"p99Ms"`
}

const (
	stall       = 5 * time.Second // without any answer: what is in flight has failed
	maxCauses   = 16              // that are told apart
	maxFailures = 1000            // then no more is sent
)

// A generator runs one load on one thread, over epoll and a timerfd: it costs
// little beside what it measures, and it is on time to some microseconds,
// which Go's timers (1 ms) are not.
type generator struct {
	load
	request []byte
	poll    int
	timer   int
	conns   []*conn
	idle    []*conn // in the order in which they became idle
	busy    int

	start   time.Time
	due     int // requests that have been sent: the number of the next one
	total   int // 0 in saturation
	samples []time.Duration
	report  report
}

// A conn is one connection; it has at most one request in flight.
type conn struct {
	fd   int
	busy bool
	due  time.Time
	buf  [8192]byte
	n    int
}

// run sends l and waits for the answers. The error is about the generator
// itself or about connecting; failed requests are in the report.
func (l load) run() (report, error) {
	g := &generator{
		load:    l,
		request: fmt.Appendf(nil, "GET /bench?q=1 HTTP/1.1\r\nHost: %s\r\nUser-Agent: meshd-bench\r\nAccept: */*\r\n\r\n", l.Host),
		report:  report{Causes: map[string]int64{}},
	}
	expect := 200_000 * l.Duration.Seconds()
	if l.Rate > 0 {
		expect = l.Rate * l.Duration.Seconds()
		g.total = int(expect)
	}
	g.samples = make([]time.Duration, 0, int(expect)+1)
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
	end, heard := g.start.Add(g.Duration), g.start
	for {
		now := time.Now()
		if err := g.send(now, end); err != nil {
			return err
		}
		if g.busy == 0 && g.finished(now, end) {
			return nil
		}
		n, err := unix.EpollWait(g.poll, events, 1000)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("epoll_wait: %w", err)
		}
		for _, e := range events[:max(n, 0)] {
			if int(e.Fd) == g.timer {
				continue // edge-triggered, and set again before the next wait
			}
			heard = time.Now()
			if err := g.read(g.conns[e.Pad]); err != nil {
				return err
			}
		}
		if g.busy > 0 && time.Since(heard) > stall {
			for _, c := range g.conns {
				if c.busy {
					g.fail("no answer in " + stall.String())
				}
			}
			for ; g.due < g.total; g.due++ {
				g.fail("not sent, since nothing was answered")
			}
			return nil
		}
		if g.busy == 0 {
			heard = time.Now()
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

// send sends what is due and sets the timer for what will be.
func (g *generator) send(now, end time.Time) error {
	for len(g.idle) > 0 && !g.finished(now, end) {
		at := now
		if g.total > 0 {
			first := g.due - g.due%max(g.Burst, 1)
			at = g.start.Add(time.Duration(float64(first) / g.Rate * float64(time.Second)))
			if wait := at.Sub(now); wait > 0 {
				return g.wake(wait)
			}
		}
		c := g.idle[0]
		copy(g.idle, g.idle[1:])
		g.idle = g.idle[:len(g.idle)-1]
		c.due, c.busy = at, true
		g.busy++
		g.due++
		if n, err := unix.Write(c.fd, g.request); err != nil || n < len(g.request) {
			if err := g.broken(c, fmt.Sprintf("write: %d bytes, %v", n, err)); err != nil {
				return err
			}
		}
	}
	return nil
}

// read takes what has come on c.
func (g *generator) read(c *conn) error {
	n, err := unix.Read(c.fd, c.buf[c.n:])
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return nil
	case err != nil:
		return g.broken(c, "read: "+err.Error())
	case n <= 0:
		return g.broken(c, "closed by the proxy")
	case !c.busy:
		return g.broken(c, "bytes that nobody asked for")
	}
	c.n += n
	size, err := answer(c.buf[:c.n])
	switch {
	case err != nil:
		return g.broken(c, err.Error())
	case size == 0 && c.n == len(c.buf):
		return g.broken(c, "an answer of more than 8 KiB")
	case size == 0:
		return nil
	case size < c.n:
		return g.broken(c, "bytes after the answer")
	}
	g.samples = append(g.samples, time.Since(c.due))
	c.n = 0
	g.free(c)
	return nil
}

func (g *generator) free(c *conn) {
	if c.busy {
		c.busy = false
		g.busy--
	}
	g.idle = append(g.idle, c)
}

func (g *generator) fail(why string) {
	g.report.Failed++
	if _, known := g.report.Causes[why]; !known && len(g.report.Causes) >= maxCauses {
		why = "other"
	}
	g.report.Causes[why]++
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

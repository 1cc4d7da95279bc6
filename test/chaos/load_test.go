package chaos

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meshd/meshd/internal/testkit/process"
)

// callTimeout is what a call may take before it counts as failed.
const callTimeout = 5 * time.Second

// A load is calls at a fixed rate, whatever becomes of those before (open
// loop). Nothing is tried again: a call without a complete 200 has failed, a
// connection that the sidecar closed without saying so included.
type load struct {
	addr, host, path string
	method           string
	body             int // bytes, of a POST
	rate             float64
	conns            int
	fresh            bool // a new connection for each call
}

type outcome struct {
	calls, failed int64
	p50, p99, max time.Duration
	causes        map[string]int
	instances     map[string]int // who answered
}

// String is the outcome as one line.
func (o outcome) String() string {
	r := func(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }
	s := fmt.Sprintf("%d calls, %d failed, p50 %v, p99 %v, max %v", o.calls, o.failed, r(o.p50), r(o.p99), r(o.max))
	for _, cause := range slices.Sorted(maps.Keys(o.causes)) {
		s += fmt.Sprintf("\n\t%d × %s", o.causes[cause], cause)
	}
	return s
}

// A running is a load that goes on until stop.
type running struct {
	t       *testing.T
	load    load
	request []byte
	started time.Time
	tickets atomic.Int64
	ended   atomic.Int64 // calls, whatever became of them
	end     chan struct{}
	halt    sync.Once
	workers sync.WaitGroup

	mu        sync.Mutex
	latencies []time.Duration
	causes    map[string]int
	instances map[string]int
	failed    int64
}

func (l load) start(t *testing.T) *running {
	t.Helper()
	if l.method == "" {
		l.method = http.MethodGet
	}
	if l.path == "" {
		l.path = "/"
	}
	if l.conns == 0 {
		l.conns = 32
	}
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\n", l.method, l.path, l.host)
	if l.method == http.MethodPost {
		head += fmt.Sprintf("Content-Length: %d\r\n", l.body)
	}
	if l.fresh {
		head += "Connection: close\r\n"
	}
	r := &running{
		t: t, load: l, request: append([]byte(head+"\r\n"), bytes.Repeat([]byte("b"), l.body)...),
		started: time.Now(), end: make(chan struct{}), causes: map[string]int{}, instances: map[string]int{},
	}
	for range l.conns {
		r.workers.Go(r.work)
	}
	t.Cleanup(func() { r.stop() })
	return r
}

// await waits until n more calls have ended: the clock of these tests.
func (r *running) await(n int) {
	r.t.Helper()
	from := r.ended.Load()
	process.Await(r.t, callTimeout+time.Duration(4*float64(n)/r.load.rate*float64(time.Second)), func() error {
		if got := r.ended.Load() - from; got < int64(n) {
			return fmt.Errorf("%d of %d calls ended", got, n)
		}
		return nil
	})
}

// forSeconds waits for the calls of that time.
func (r *running) forSeconds(s float64) {
	r.t.Helper()
	r.await(int(s * r.load.rate))
}

// failures so far.
func (r *running) failures() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

// stop starts no more calls, waits for those under way and tells of all.
func (r *running) stop() outcome {
	r.halt.Do(func() { close(r.end) })
	r.workers.Wait()
	slices.Sort(r.latencies)
	o := outcome{calls: r.ended.Load(), failed: r.failed, causes: r.causes, instances: r.instances}
	if n := len(r.latencies); n > 0 {
		o.p50, o.p99, o.max = r.latencies[n/2], r.latencies[n*99/100], r.latencies[n-1]
	}
	return o
}

// clean is stop, and no call may have failed.
func (r *running) clean(what string) outcome {
	r.t.Helper()
	o := r.stop()
	r.t.Logf("%s: %v", what, o)
	if o.failed > 0 {
		r.t.Errorf("%s: %d of %d calls failed, want 0", what, o.failed, o.calls)
	}
	return o
}

func (r *running) work() {
	var c caller
	defer c.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		n := r.tickets.Add(1) - 1
		due := r.started.Add(time.Duration(float64(n) / r.load.rate * float64(time.Second)))
		timer.Reset(time.Until(due))
		select {
		case <-timer.C:
		case <-r.end:
			return
		}
		instance, err := c.call(r)
		if err != nil || r.load.fresh {
			c.close()
		}
		r.record(time.Since(due), instance, err)
	}
}

func (r *running) record(latency time.Duration, instance string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended.Add(1)
	if instance != "" {
		r.instances[instance]++
	}
	if err != nil {
		r.failed++
		if len(r.causes) < 10 {
			r.causes[err.Error()]++
		}
		return
	}
	r.latencies = append(r.latencies, latency)
}

// A caller is one connection.
type caller struct {
	conn net.Conn
	in   *bufio.Reader
}

func (c *caller) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

func (c *caller) call(r *running) (instance string, err error) {
	if c.conn == nil {
		if c.conn, err = net.DialTimeout("tcp", r.load.addr, callTimeout); err != nil {
			c.conn = nil
			return "", err
		}
		c.in = bufio.NewReader(c.conn)
	}
	c.conn.SetDeadline(time.Now().Add(callTimeout))
	if _, err := c.conn.Write(r.request); err != nil {
		return "", unported(err)
	}
	resp, err := http.ReadResponse(c.in, &http.Request{Method: r.load.method})
	if err != nil {
		return "", unported(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	instance = resp.Header.Get(instanceHeader)
	switch {
	case err != nil:
		return instance, unported(err)
	case resp.StatusCode != http.StatusOK:
		return instance, fmt.Errorf("%s: %s (%s)", resp.Status, bytes.TrimSpace(body[:min(len(body), 200)]), resp.Header.Get("Proxy-Status"))
	case c.in.Buffered() > 0:
		return instance, errors.New("bytes behind the answer")
	}
	if resp.Close {
		c.close()
	}
	return instance, nil
}

// unported takes the client's port out of an error, so that equal ones count
// as one.
func unported(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return fmt.Errorf("%s: %w", op.Op, op.Err)
	}
	return errors.New(strings.TrimSpace(err.Error()))
}

package h1

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meshd/meshd/xds/resource"
)

// forever turns off what would end a long call.
func forever(r *resource.Route) { r.Timeout = 0 }

// discard reads n bytes without keeping or allocating anything.
func discard(t testing.TB, r io.Reader, n int64, buf []byte) {
	for n > 0 {
		k, err := r.Read(buf[:min(int64(len(buf)), n)])
		if n -= int64(k); err != nil && n > 0 {
			t.Errorf("%d bytes missing: %v", n, err)
			return
		}
	}
}

// produce writes n bytes.
func produce(w io.Writer, n int64, buf []byte) error {
	for n > 0 {
		k, err := w.Write(buf[:min(int64(len(buf)), n)])
		if n -= int64(k); err != nil {
			return err
		}
	}
	return nil
}

// peakHeap is the largest heap in use, sampled at every step of a test.
type peakHeap struct{ base, peak uint64 }

func heapInUse() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

func newPeakHeap() *peakHeap { runtime.GC(); return &peakHeap{base: heapInUse()} }

func (p *peakHeap) sample() { p.peak = max(p.peak, heapInUse()) }

func (p *peakHeap) check(t *testing.T, limit uint64) {
	t.Helper()
	if p.peak > p.base+limit {
		t.Errorf("the heap grew by %d KB, more than %d", (p.peak-p.base)>>10, limit>>10)
	}
}

// Large bodies pass in both directions through a heap that stays flat.
func TestLargeBodies(t *testing.T) {
	const part, parts = 10 << 20, 20
	addr := rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		buf := make([]byte, 64<<10)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			discard(t, req.Body, req.ContentLength, buf)
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", part)
			if produce(c, part, buf) != nil {
				return
			}
		}
	})
	c := newRig(t, options{route: forever}, addr).dial()
	buf := make([]byte, 64<<10)
	heap := newPeakHeap()
	for range parts / 2 { // as much again comes back: 200 MB
		c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: checkout\r\nContent-Length: %d\r\n\r\n", part))
		if err := produce(c, part, buf); err != nil {
			t.Fatal(err)
		}
		heap.sample()
		res, err := http.ReadResponse(c.r, nil)
		if err != nil || res.ContentLength != part {
			t.Fatalf("%+v, %v", res, err)
		}
		discard(t, res.Body, part, buf)
		heap.sample()
	}
	heap.check(t, 8<<20)
}

// stalled waits until a writer, whose progress is counted, gets no further:
// what is between it and the reader is full.
func stalled(t *testing.T, sent *atomic.Int64) int64 {
	t.Helper()
	last, since := int64(-1), time.Now()
	eventually(t, "the writer is held up", func() bool {
		if n := sent.Load(); n != last {
			last, since = n, time.Now()
		}
		return last > 0 && time.Since(since) > 300*time.Millisecond
	})
	return last
}

// counted counts what is written.
type counted struct {
	io.Writer
	n *atomic.Int64
}

func (c counted) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.n.Add(int64(n))
	return n, err
}

const kernel = 16 << 20 // more than the kernel keeps between the ends of two connections

// A client that does not read holds up its own answer, in the kernel and not
// in our memory, and nobody else.
func TestSlowReaderStallsOnlyItself(t *testing.T) {
	const size = 200 << 20
	var sent atomic.Int64
	addr := rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		_ = c.SetDeadline(time.Now().Add(40 * time.Second))
		buf := make([]byte, 32<<10)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			if req.URL.Path != "/big" {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				continue
			}
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
			if produce(counted{c, &sent}, size, buf) != nil {
				return
			}
		}
	})
	r := newRig(t, options{route: forever}, addr)
	slow, quick := r.dial(), r.dial()
	heap := newPeakHeap()
	slow.send("GET /big HTTP/1.1\r\nHost: checkout\r\n\r\n")
	if n := stalled(t, &sent); n > kernel {
		t.Errorf("%d bytes were taken from the endpoint for a client that reads none", n)
	}
	heap.sample()
	worst := time.Duration(0)
	for range 500 {
		begun := time.Now()
		quick.send(get)
		if _, b := quick.answer("GET"); b != "ok" {
			t.Fatalf("%q", b)
		}
		worst = max(worst, time.Since(begun))
	}
	if worst > time.Second {
		t.Errorf("another client waited %v", worst)
	}
	_ = slow.SetDeadline(time.Now().Add(40 * time.Second))
	res, err := http.ReadResponse(slow.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	discard(t, res.Body, size, make([]byte, 64<<10)) // it goes on where it was
	heap.sample()
	heap.check(t, 8<<20)
}

// An endpoint that does not read holds up the client that sends to it.
func TestSlowEndpointStallsTheUpload(t *testing.T) {
	for name, method := range map[string]string{"kept for replay": "PUT", "not kept": "POST"} {
		t.Run(name, func(t *testing.T) {
			const size = 100 << 20
			free := make(chan struct{})
			addr := rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				<-free
				discard(t, req.Body, size, make([]byte, 64<<10))
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			})
			c := newRig(t, options{route: forever}, addr).dial()
			heap := newPeakHeap()
			c.send(fmt.Sprintf("%s / HTTP/1.1\r\nHost: checkout\r\nContent-Length: %d\r\n\r\n", method, size))
			var sent atomic.Int64
			var upload sync.WaitGroup
			upload.Go(func() {
				if err := produce(counted{c, &sent}, size, make([]byte, 32<<10)); err != nil {
					t.Errorf("upload: %v", err)
				}
			})
			if n := stalled(t, &sent); n > kernel {
				t.Errorf("%d bytes were taken of the client for an endpoint that reads none", n)
			}
			heap.sample()
			close(free)
			upload.Wait()
			if _, b := c.answer("PUT"); b != "ok" {
				t.Errorf("%q", b)
			}
			heap.sample()
			heap.check(t, 8<<20)
		})
	}
}

// A client that pipelines and never reads is not served for ever: its answers
// hold it up.
func TestPipelinerThatDoesNotRead(t *testing.T) {
	addr := rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		buf := make([]byte, 16<<10)
		for {
			if _, _, err := readRequest(r); err != nil {
				return
			}
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(buf))
			if _, err := c.Write(buf); err != nil {
				return
			}
		}
	})
	r := newRig(t, options{}, addr)
	c := r.dial()
	heap := newPeakHeap()
	var sent atomic.Int64
	var sender sync.WaitGroup
	sender.Go(func() {
		w := counted{c, &sent}
		for {
			if _, err := io.WriteString(w, get); err != nil {
				return
			}
		}
	})
	stalled(t, &sent)
	heap.sample()
	_ = c.SetLinger(0)
	_ = c.Close()
	sender.Wait()
	heap.check(t, 8<<20)
}

// An idle connection is little memory: no buffer is held for it.
func TestIdleConnectionsAreSmall(t *testing.T) {
	const conns = 1000
	r := newRig(t, options{}, says(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
	before := heapInUse()
	for range conns {
		c := r.dial()
		c.r.Reset(nil)
		c.send(get)
		var b [40]byte
		if _, err := io.ReadFull(c.TCPConn, b[:]); err != nil {
			t.Fatal(err)
		}
		c.r = nil
	}
	eventually(t, "all are idle", func() bool { return r.route.Service.Active.Value() == 0 })
	runtime.GC()
	runtime.GC()
	if n := (heapInUse() - before) / conns; n > 24<<10 {
		t.Errorf("%d bytes of heap for both ends of an idle connection", n)
	}
}

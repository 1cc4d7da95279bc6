package chaos

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/internal/testkit/race"
)

const (
	bodySize  = 10 << 20
	bodyCount = 50
	// rssGrowth is what a sidecar may take for them.
	rssGrowth = 8 << 20
)

// TestLargeBodies: 10 MB bodies flow both ways through two sidecars, every
// byte in its place, and neither sidecar grows.
func TestLargeBodies(t *testing.T) {
	r := newRig(t)
	r.run(1)
	c := r.client()
	sidecars := []watched{{name: "caller's sidecar", pid: c.PID}, {name: "instance's sidecar", pid: r.awaitReady(1)[0].PID}}
	warm(t, c)
	for i := range sidecars {
		sidecars[i].begin(t)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 4}
	defer transport.CloseIdleConnections()
	from := time.Now()
	var all sync.WaitGroup
	for _, move := range []func(*http.Transport, string) error{upload, download} {
		for range 2 {
			all.Go(func() {
				for range bodyCount / 2 {
					if err := move(transport, c.outbound); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	for done := waitAsync(&all); ; {
		for i := range sidecars {
			sidecars[i].look(t)
		}
		if isClosed(done) {
			break
		}
	}
	t.Logf("%d bodies of 10 MB each way in %v", bodyCount, time.Since(from).Round(time.Millisecond))
	for _, s := range sidecars {
		s.judge(t)
	}
}

// TestSlowReader: who does not read his answer holds up himself, and nothing
// else.
func TestSlowReader(t *testing.T) {
	r := newRig(t)
	r.run(1)
	c := r.client()
	sidecars := []watched{{name: "caller's sidecar", pid: c.PID}, {name: "instance's sidecar", pid: r.awaitReady(1)[0].PID}}
	before := warm(t, c)
	for i := range sidecars {
		sidecars[i].begin(t)
	}
	const size = 64 << 20 // more than all socket buffers on the way hold
	conn, err := net.Dial("tcp", c.outbound)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /big?n=%d HTTP/1.1\r\nHost: %s\r\n\r\n", size, authority)
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", resp, err)
	}
	defer resp.Body.Close()

	calls := c.load(500).start(t)
	for range 10 {
		calls.forSeconds(0.2)
		for i := range sidecars {
			sidecars[i].look(t)
		}
	}
	during := calls.clean("beside a stalled reader")
	t.Logf("p99 %v, %v beside the stalled reader", before.p99.Round(10*time.Microsecond), during.p99.Round(10*time.Microsecond))
	if during.p99 > 250*time.Millisecond && !race.Enabled {
		t.Errorf("p99 is %v, want it low: at most 250 ms on a busy machine", during.p99)
	}
	for _, s := range sidecars {
		s.judge(t)
	}
	conn.SetDeadline(time.Now().Add(patience))
	if n, err := checkPattern(resp.Body); err != nil || n != size {
		t.Errorf("then it read %d bytes of %d: %v", n, size, err)
	}
}

// warm makes calls, so that a sidecar has what it needs for any.
func warm(t *testing.T, c *client) outcome {
	t.Helper()
	c.awaitEndpoints(1)
	calls := c.load(500).start(t)
	calls.forSeconds(1)
	return calls.clean("small calls")
}

func upload(transport *http.Transport, outbound string) error {
	req, err := http.NewRequest(http.MethodPost, "http://"+outbound+"/sink", &pattern{left: bodySize})
	if err != nil {
		return err
	}
	req.Host, req.ContentLength = authority, bodySize
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || string(answer) != strconv.Itoa(bodySize) {
		return fmt.Errorf("upload: %s %q %v, want 200 and %d", resp.Status, answer, err, bodySize)
	}
	return nil
}

func download(transport *http.Transport, outbound string) error {
	req, err := http.NewRequest(http.MethodGet, "http://"+outbound+"/big?n="+strconv.Itoa(bodySize), nil)
	if err != nil {
		return err
	}
	req.Host = authority
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("download: %w", err)
	}
	defer resp.Body.Close()
	if n, err := checkPattern(resp.Body); err != nil || n != bodySize {
		return fmt.Errorf("download: %s, %d bytes of %d: %v", resp.Status, n, bodySize, err)
	}
	return nil
}

// A watched process is one whose memory is looked at.
type watched struct {
	name       string
	pid        int
	from, peak int64
}

func (w *watched) begin(t *testing.T) { w.from = process.RSS(t, w.pid); w.peak = w.from }
func (w *watched) look(t *testing.T)  { w.peak = max(w.peak, process.RSS(t, w.pid)) }

func (w *watched) judge(t *testing.T) { t.Helper(); w.within(t, rssGrowth) }

// within fails the test if the process has grown by more; the race detector
// takes memory itself.
func (w *watched) within(t *testing.T, growth int64) {
	t.Helper()
	t.Logf("%s: RSS %.1f MB, at most %.1f MB", w.name, mb(w.from), mb(w.peak))
	if grown := w.peak - w.from; grown > growth && !race.Enabled {
		t.Errorf("%s grew by %.1f MB, want at most %.1f", w.name, mb(grown), mb(growth))
	}
}

// waitAsync closes the channel when all are done.
func waitAsync(all *sync.WaitGroup) <-chan struct{} {
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	return done
}

// isClosed waits a moment for it.
func isClosed(done <-chan struct{}) bool {
	moment := time.NewTimer(10 * time.Millisecond)
	defer moment.Stop()
	select {
	case <-done:
		return true
	case <-moment.C:
		return false
	}
}

package chaos

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/meshd/meshd/internal/testkit/process"
	testrig "github.com/meshd/meshd/test/rig"
)

const (
	mixedFor  = time.Minute
	killEvery = 1500 * time.Millisecond
)

// A tally is what a client has counted of one protocol.
type tally struct {
	calls, failed atomic.Int64
	last          atomic.Value // of the failures
}

// A mixture is a client that speaks everything at once, until it is stopped.
type mixture struct {
	addr    string
	ctx     context.Context
	stop    context.CancelFunc
	work    sync.WaitGroup
	tallies map[string]*tally
}

// mix starts calls of the service: over HTTP/1.1, HTTP/2, gRPC (unary and
// streams), WebSocket and CONNECT.
func mix(t *testing.T, addr string) *mixture {
	m := &mixture{addr: addr, tallies: map[string]*tally{}}
	m.ctx, m.stop = context.WithCancel(context.Background())
	h1, h2 := testrig.Transport(t, 1, addr), testrig.Transport(t, 2, addr)
	// A connection a call: net/http tries again, unseen, on one that it kept.
	h1.DisableKeepAlives = true
	cc := grpcDial(t, addr)
	for _, x := range []struct {
		name    string
		workers int
		pause   time.Duration
		call    func(context.Context) error
	}{
		{"HTTP/1.1", 8, 40 * time.Millisecond, func(ctx context.Context) error { return httpCall(ctx, h1) }},
		{"HTTP/2", 8, 40 * time.Millisecond, func(ctx context.Context) error { return httpCall(ctx, h2) }},
		{"gRPC unary", 8, 40 * time.Millisecond, func(ctx context.Context) error {
			in, out := []byte("unary"), []byte(nil)
			return cc.Invoke(ctx, "/chaos.Chaos/echo", &in, &out)
		}},
		{"gRPC streams", 8, 40 * time.Millisecond, func(ctx context.Context) error { return grpcConversation(ctx, cc) }},
		{"WebSocket", 4, 40 * time.Millisecond, func(ctx context.Context) error {
			return m.conversation(ctx, "GET / HTTP/1.1\r\nHost: "+authority+"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", http.StatusSwitchingProtocols, "")
		}},
		{"CONNECT", 4, 40 * time.Millisecond, func(ctx context.Context) error {
			return m.conversation(ctx, "CONNECT "+authority+" HTTP/1.1\r\nHost: "+authority+"\r\n\r\n", http.StatusOK, string([]byte{opaqueByte}))
		}},
	} {
		tally := &tally{}
		m.tallies[x.name] = tally
		for range x.workers {
			m.work.Go(func() {
				for m.ctx.Err() == nil {
					tally.calls.Add(1)
					ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
					if err := x.call(ctx); err != nil {
						tally.failed.Add(1)
						tally.last.Store(err.Error())
					}
					cancel()
					pause(x.pause)
				}
			})
		}
	}
	end := m.stop
	m.stop = sync.OnceFunc(func() {
		end()
		m.work.Wait()
		h2.CloseIdleConnections()
		_ = cc.Close()
	})
	t.Cleanup(m.stop)
	return m
}

func httpCall(ctx context.Context, tr *http.Transport) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+authority+"/", strings.NewReader("body"))
	if err != nil {
		return err
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, b)
	}
	return err
}

// talk is how many messages a conversation has.
const talk = 10

func grpcConversation(ctx context.Context, cc *grpc.ClientConn) error {
	s, err := grpcStream(ctx, cc, "echo")
	if err != nil {
		return err
	}
	for i := range talk {
		if err := pingPong(s, fmt.Sprint("message ", i)); err != nil {
			return err
		}
		pause(20 * time.Millisecond)
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	var m []byte
	if err := s.RecvMsg(&m); !errors.Is(err, io.EOF) {
		return fmt.Errorf("after the last message: %v", err)
	}
	return nil
}

// conversation asks for a tunnel, in which everything comes back.
func (m *mixture) conversation(ctx context.Context, ask string, want int, first string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", m.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	if _, err := io.WriteString(conn, ask); err != nil {
		return err
	}
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, &http.Request{Method: ask[:strings.IndexByte(ask, ' ')]})
	if err != nil {
		return unported(err)
	}
	if res.StatusCode != want {
		return errors.New(res.Status)
	}
	for i := range talk {
		text := fmt.Sprintf("%smessage %d\n", first, i)
		first = ""
		if _, err := io.WriteString(conn, text); err != nil {
			return unported(err)
		}
		if back, err := in.ReadString('\n'); err != nil || back != text {
			return fmt.Errorf("%q came back for %q: %w", back, text, err)
		}
		pause(20 * time.Millisecond)
	}
	return nil
}

// A state is what is to be as it was before.
type state struct {
	stats      testrig.ServiceStats
	goroutines int // beside those of connections
	files      int // beside connections
	downstream int64
	upstream   int64
	rss        int64
}

func (c *client) state(t *testing.T) (s state, err error) {
	var all testrig.Stats
	if err := c.rig.get("http://"+c.admin+"/stats", &all); err != nil {
		return s, err
	}
	n, err := c.goroutines()
	if err != nil {
		return s, err
	}
	s.stats = all.Of("default/" + authority)
	s.downstream, s.upstream = all.Connections.Downstream, all.Connections.Upstream
	s.goroutines = n - int(s.upstream+s.downstream)
	s.files = process.Descriptors(t, c.PID) - int(s.upstream+s.downstream)
	s.rss = process.RSS(t, c.PID)
	if s.stats.Active != 0 || s.downstream != 0 {
		err = fmt.Errorf("%d calls under way, %d connections of clients", s.stats.Active, s.downstream)
	}
	for _, e := range s.stats.Endpoints {
		if e.InFlight != 0 {
			err = fmt.Errorf("%d attempts in flight to %s", e.InFlight, e.ID)
		}
	}
	return s, err
}

func (c *client) goroutines() (n int, err error) {
	res, err := (&http.Client{Transport: c.rig.transport, Timeout: patience}).Get("http://" + c.admin + "/debug/pprof/goroutine?debug=1")
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, err = fmt.Fscanf(res.Body, "goroutine profile: total %d\n", &n)
	return n, err
}

// quiet waits until nothing is under way.
func (c *client) quiet(t *testing.T) (s state) {
	t.Helper()
	process.Await(t, patience, func() (err error) { s, err = c.state(t); return err })
	return s
}

// TestMixedTraffic: a minute of everything at once while instances are killed
// leaves nothing behind, and each call is in the metrics exactly once.
func TestMixedTraffic(t *testing.T) {
	during := mixedFor
	if testing.Short() {
		during = 10 * time.Second
	}
	r := newRig(t)
	r.run(4, "--max-restarts", "1000")
	all := r.awaitReady(4)
	c := r.client()
	c.awaitEndpoints(4)
	warm := mix(t, c.outbound)
	pause(3 * time.Second)
	warm.stop()
	c.quiet(t)
	pause(4 * time.Second) // memory is returned every 2 s
	before := c.quiet(t)

	m := mix(t, c.outbound)
	kills := 0
	for from := time.Now(); time.Since(from) < during; pause(killEvery) {
		victim := all[rand.N(len(all))]
		pid := r.app(victim.ID).PID
		if kills%2 == 1 {
			if now, err := r.instances(); err == nil {
				for _, i := range now {
					if i.ID == victim.ID {
						pid = i.PID
					}
				}
			}
		}
		if pid > 1 && syscall.Kill(pid, syscall.SIGKILL) == nil { // it may just have been killed
			kills++
		}
	}
	m.stop()
	r.awaitReady(4)
	c.awaitEndpoints(4)

	var calls int64
	for name, tally := range m.tallies {
		n, failed := tally.calls.Load(), tally.failed.Load()
		calls += n
		t.Logf("%s: %d calls, %d failed, the last of them: %v", name, n, failed, tally.last.Load())
		if failed*10 > n {
			t.Errorf("%s: %d of %d calls have failed", name, failed, n)
		}
	}
	c.quiet(t)
	pause(4 * time.Second)
	after := c.quiet(t)
	t.Logf("%d kills; before %+v\nafter %+v", kills, before, after)
	if got := int64(after.stats.Outcomes() - before.stats.Outcomes()); got != calls {
		t.Errorf("%d calls were made, %d are in the metrics: %+v", calls, got, after.stats.Series)
	}
	if grpcs := m.tallies["gRPC unary"].calls.Load() + m.tallies["gRPC streams"].calls.Load(); grpcs != ofGRPC(after)-ofGRPC(before) {
		t.Errorf("%d gRPC calls were made, %d are in the metrics: %+v", grpcs, ofGRPC(after)-ofGRPC(before), after.stats.Series)
	}
	if after.goroutines > before.goroutines+2 {
		t.Errorf("%d goroutines beside connections', %d before", after.goroutines, before.goroutines)
	}
	if after.files > before.files+2 {
		t.Errorf("%d files beside connections, %d before", after.files, before.files)
	}
	if after.upstream > before.upstream+16 {
		t.Errorf("%d connections to endpoints, %d before", after.upstream, before.upstream)
	}
	if after.rss > before.rss+rssGrowth {
		t.Errorf("RSS is %.1f MB, it was %.1f MB", mb(after.rss), mb(before.rss))
	}
}

// ofGRPC counts the outcomes that are gRPC codes.
func ofGRPC(s state) (n int64) {
	for _, x := range s.stats.Series {
		if x.GRPC != "" {
			n += int64(x.Count)
		}
	}
	return n
}

package chaos

//lint:file-ignore SA1019 net/http's own transport knows no :protocol

import (
	"bufio"
	"context"
	"crypto/tls"
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

	"golang.org/x/net/http2"
	"google.golang.org/grpc"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/internal/testkit/race"
	testrig "github.com/meshd/meshd/test/rig"
)

const (
	mixedFor  = time.Minute
	killEvery = 1500 * time.Millisecond

	tcpName     = "TCP"
	opaqueBegin = "\x00" // see opaqueByte
)

// A tally is what a client has counted of one protocol.
type tally struct {
	calls, failed atomic.Int64
	last          atomic.Value // of the failures
}

// A mixture is a client that speaks everything at once, until it is stopped.
type mixture struct {
	addr    string // for calls that name the service
	tcp     string // whose connections are calls of the service
	ctx     context.Context
	stop    context.CancelFunc
	work    sync.WaitGroup
	tallies map[string]*tally
}

// mix starts calls of the service: over HTTP/1.1, HTTP/2, gRPC (unary and
// streams), WebSocket over either, CONNECT and TCP.
func mix(t *testing.T, addr, tcp string) *mixture {
	m := &mixture{addr: addr, tcp: tcp, tallies: map[string]*tally{}}
	m.ctx, m.stop = context.WithCancel(context.Background())
	h1, h2 := testrig.Transport(t, 1, addr), testrig.Transport(t, 2, addr)
	// A connection a call: net/http tries again, unseen, on one that it kept.
	h1.DisableKeepAlives = true
	// net/http's own transport knows no :protocol.
	sockets := &http2.Transport{AllowHTTP: true, DialTLSContext: func(ctx context.Context, _, _ string, _ *tls.Config) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	}}
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
			return conversation(ctx, m.addr, "GET / HTTP/1.1\r\nHost: "+authority+"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", http.StatusSwitchingProtocols, "")
		}},
		{"CONNECT", 4, 40 * time.Millisecond, func(ctx context.Context) error {
			return conversation(ctx, m.addr, "CONNECT "+authority+" HTTP/1.1\r\nHost: "+authority+"\r\n\r\n", http.StatusOK, opaqueBegin)
		}},
		{"WebSocket over HTTP/2", 4, 40 * time.Millisecond, func(ctx context.Context) error { return extendedConnect(ctx, sockets) }},
		{tcpName, 4, 40 * time.Millisecond, func(ctx context.Context) error { return conversation(ctx, m.tcp, "", 0, opaqueBegin) }},
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
		sockets.CloseIdleConnections()
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

// extendedConnect is a WebSocket over HTTP/2 (RFC 8441).
func extendedConnect(ctx context.Context, tr http.RoundTripper) error {
	out, in := io.Pipe()
	defer in.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodConnect, "http://"+authority+"/", out)
	if err != nil {
		return err
	}
	req.Header[":protocol"] = []string{"websocket"}
	req.Header.Set("Sec-WebSocket-Version", "13")
	res, err := tr.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	if err := echoes(in, bufio.NewReader(res.Body), ""); err != nil {
		return err
	}
	_ = in.Close() // the end of ours; its own comes back
	_, err = io.Copy(io.Discard, res.Body)
	return err
}

// conversation is a connection to addr on which everything comes back, once
// what it asks for is answered with the status.
func conversation(ctx context.Context, addr, ask string, status int, begin string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	in := bufio.NewReader(conn)
	if ask != "" {
		if _, err := io.WriteString(conn, ask); err != nil {
			return err
		}
		res, err := http.ReadResponse(in, &http.Request{Method: ask[:strings.IndexByte(ask, ' ')]})
		if err != nil {
			return unported(err)
		}
		if res.StatusCode != status {
			return errors.New(res.Status)
		}
	}
	return echoes(conn, in, begin)
}

// echoes sends lines, the first after begin, and awaits that each comes back.
func echoes(out io.Writer, in *bufio.Reader, begin string) error {
	for i := range talk {
		text := fmt.Sprintf("%smessage %d\n", begin, i)
		begin = ""
		if _, err := io.WriteString(out, text); err != nil {
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
	if s.stats.Active != 0 || s.stats.TCP.Active != 0 || s.downstream != 0 {
		err = fmt.Errorf("%d calls and %d connections under way, %d connections of clients", s.stats.Active, s.stats.TCP.Active, s.downstream)
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
	tcp := testrig.Addrs(t, 1)[0]
	c := r.client("--tcp-listen", tcp+"="+authority)
	c.awaitEndpoints(4)
	warm := mix(t, c.outbound, tcp)
	pause(3 * time.Second)
	warm.stop()
	c.quiet(t)
	pause(4 * time.Second) // memory is returned every 2 s
	before := c.quiet(t)

	m := mix(t, c.outbound, tcp)
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
		if name != tcpName {
			calls += n
		}
		t.Logf("%s: %d calls, %d failed, the last of them: %v", name, n, failed, tally.last.Load())
		if failed*10 > n {
			t.Errorf("%s: %d of %d calls have failed", name, failed, n)
		}
	}
	c.quiet(t)
	pause(4 * time.Second)
	after := c.quiet(t)
	t.Logf("%d kills; before %+v\nafter %+v", kills, before, after)
	for _, x := range []struct {
		what          string
		made          int64
		before, after uint64
	}{
		{"calls", calls, testrig.Sum(before.stats.Series), testrig.Sum(after.stats.Series)},
		{"gRPC calls", m.made("gRPC unary") + m.made("gRPC streams"), ofGRPC(before), ofGRPC(after)},
		{"connections", m.made(tcpName), before.stats.TCP.Connections, after.stats.TCP.Connections},
		{"ends of connections", m.made(tcpName), testrig.Sum(before.stats.TCP.Ended), testrig.Sum(after.stats.TCP.Ended)},
	} {
		if got := int64(x.after - x.before); got != x.made {
			t.Errorf("%s: %d were made, %d are in the metrics", x.what, x.made, got)
		}
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
	if after.rss > before.rss+rssGrowth && !race.Enabled {
		t.Errorf("RSS is %.1f MB, it was %.1f MB", mb(after.rss), mb(before.rss))
	}
}

// ofGRPC counts the outcomes that are gRPC codes.
func ofGRPC(s state) (n uint64) {
	for _, x := range s.stats.Series {
		if x.GRPC != "" {
			n += x.Count
		}
	}
	return n
}

func (m *mixture) made(name string) int64 { return m.tallies[name].calls.Load() }

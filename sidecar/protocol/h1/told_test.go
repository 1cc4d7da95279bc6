package h1

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/xds/resource"
)

// server makes a rig's route that of an application, behind a gate.
func server(o options, adm resource.Admission) options {
	o.config = func(c *Config) { c.Server = true }
	o.target = func(r *rig, to *call.Route) {
		gate := call.NewGateway(r.cluster.Now)
		gate.Configure(adm)
		to.Server, to.Gate = true, gate
	}
	return o
}

// echoHead answers each request with the head that it got.
func echoHead(t testing.TB, fail int64) (string, *atomic.Int64) {
	n := new(atomic.Int64)
	return rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		for {
			var head strings.Builder
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if head.WriteString(line); line == "\r\n" {
					break
				}
			}
			status := 200
			if n.Add(1) <= fail {
				status = 503
			}
			fmt.Fprintf(c, "HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s", status, head.Len(), head.String())
		}
	}), n
}

func inMesh(_ *rig, to *call.Route) { to.Mesh = true }

// A call within the mesh tells the next hop how often it was tried and what
// time is left, whatever the caller said of that.
func TestTell(t *testing.T) {
	addr, _ := echoHead(t, 1)
	r := newRig(t, options{target: inMesh, cluster: func(c *resource.Cluster) { c.Breaker.Disabled = true }}, addr)
	c := r.dial()
	c.send("GET / HTTP/1.1\r\nHost: checkout\r\nx-envoy-expected-rq-timeout-ms: 900000\r\nmeshd-priority: sheddable\r\n\r\n")
	res, got := c.answer("GET")
	if res.StatusCode != 200 || !strings.Contains(got, "x-envoy-attempt-count: 2\r\n") || strings.Count(got, "timeout-ms: ") != 1 ||
		!regexp.MustCompile(`timeout-ms: (5000|49\d\d)\r\n`).MatchString(got) || strings.Count(got, "meshd-priority: sheddable\r\n") != 1 ||
		!strings.HasSuffix(got, "\r\n\r\n") {
		t.Errorf("%d %q", res.StatusCode, got)
	}
	c.send("GET / HTTP/1.1\r\nHost: checkout\r\nX-Envoy-Expected-Rq-Timeout-Ms: 70\r\nx-envoy-attempt-count: two\r\n\r\n")
	if _, got := c.answer("GET"); !regexp.MustCompile(`timeout-ms: (70|6\d)\r\n`).MatchString(got) || strings.Contains(got, "attempt-count") {
		t.Errorf("%q", got)
	}
	// Elsewhere all goes through as it came.
	const said = "x-envoy-attempt-count: two\r\nx-envoy-expected-rq-timeout-ms: 4000\r\nmeshd-priority: x\r\n"
	r2 := newRig(t, options{}, addr)
	c = r2.dial()
	c.send("GET / HTTP/1.1\r\nHost: checkout\r\n" + said + "\r\n")
	if _, got := c.answer("GET"); !strings.Contains(got, said) {
		t.Errorf("%q", got)
	}
}

// What is told again moves what follows it: a body is sent whole.
func TestRetellMoves(t *testing.T) {
	addr, _ := flaky(t, 1, status(503))
	r := newRig(t, options{target: inMesh}, addr)
	c := r.dial()
	body := strings.Repeat("0123456789", 300)
	c.send(fmt.Sprintf("PUT / HTTP/1.1\r\nHost: checkout\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	if res, got := c.answer("PUT"); res.StatusCode != 200 || got != "PUT "+body {
		t.Errorf("%d, %d bytes", res.StatusCode, len(got))
	}
}

// The caller's deadline ends the call.
func TestSaidTimeout(t *testing.T) {
	r := newRig(t, server(options{}, resource.Admission{Disabled: true}), stuckBackend(t))
	c := r.dial()
	c.send("GET / HTTP/1.1\r\nHost: checkout\r\nx-envoy-expected-rq-timeout-ms: 30\r\n\r\n")
	if res, _ := c.answer("GET"); res.StatusCode != 504 {
		t.Errorf("%d", res.StatusCode)
	}
}

// The answer of an application says what load it has, unless it says so itself.
func TestLoadIsSaid(t *testing.T) {
	for said, want := range map[string]string{
		"": "TEXT named_metrics.meshd_inflight=1,named_metrics.meshd_queue_ms=0",
		"endpoint-load-metrics: TEXT cpu_utilization=0.5\r\n": "TEXT cpu_utilization=0.5",
	} {
		r := newRig(t, server(options{}, resource.Admission{}), says(t, "HTTP/1.1 200 OK\r\n"+said+"Content-Length: 2\r\n\r\nok"))
		c := r.dial()
		c.send(get)
		res, _ := c.answer("GET")
		if got := res.Header["Endpoint-Load-Metrics"]; len(got) != 1 || !strings.HasPrefix(got[0], want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// What a sidecar says of load is for sidecars; what an application says goes on.
func TestLoadIsTaken(t *testing.T) {
	own := "TEXT named_metrics.meshd_inflight=7,named_metrics.meshd_queue_ms=1.5"
	for value, kept := range map[string]bool{own: false, "TEXT cpu_utilization=0.5": true} {
		r := newRig(t, options{}, says(t, "HTTP/1.1 200 OK\r\nEndpoint-Load-Metrics: "+value+"\r\nContent-Length: 2\r\n\r\nok"))
		c := r.dial()
		c.send(get)
		if res, _ := c.answer("GET"); (res.Header.Get("Endpoint-Load-Metrics") != "") != kept {
			t.Errorf("%s: %v", value, res.Header)
		}
	}
}

// A failure that was tried again below is not tried again here, and an answer
// of a sidecar that has shed the call is tried again once and is no failure of
// the endpoint.
func TestAnswersOfSidecars(t *testing.T) {
	for name, tc := range map[string]struct {
		fields   string
		attempts int64
		failures uint64
	}{
		"plain": {"", 3, 3},
		"tried": {"x-envoy-attempt-count: 3\r\n", 1, 1},
		"once":  {"x-envoy-attempt-count: 1\r\n", 3, 3},
		"shed":  {"Proxy-Status: meshd; error=connection_limit_reached; details=\"shed: wait\"\r\nRetry-After: 1\r\n", 2, 0},
		"other": {"Proxy-Status: envoy; error=connection_limit_reached; details=\"shed: wait\"\r\n", 3, 3},
	} {
		t.Run(name, func(t *testing.T) {
			addr, seen := flaky(t, 1000, func(c *net.TCPConn) bool {
				_, err := io.WriteString(c, "HTTP/1.1 503 No\r\n"+tc.fields+"Content-Length: 0\r\n\r\n")
				return err == nil
			})
			r := newRig(t, options{cluster: func(c *resource.Cluster) { c.Breaker.Disabled = true }}, addr)
			c := r.dial()
			c.send(get)
			if res, _ := c.answer("GET"); res.StatusCode != 503 {
				t.Errorf("%d", res.StatusCode)
			}
			r.stop()
			if n, f := seen.Load(), r.cluster.Endpoints()[0].Failures.Load(); n != tc.attempts || uint64(f) != tc.failures {
				t.Errorf("%d attempts, %d failures, want %d and %d", n, f, tc.attempts, tc.failures)
			}
		})
	}
}

// A route with sessions gives its caller a cookie, which brings it back.
func TestSessionCookie(t *testing.T) {
	one := says(t, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none")
	two := says(t, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo")
	r := newRig(t, options{cluster: roundRobin, route: func(r *resource.Route) {
		r.Session = resource.Session{Cookie: "sid", Key: "secret"}
	}}, one, two)
	c := r.dial()
	c.send(get)
	res, first := c.answer("GET")
	if len(res.Cookies()) != 1 {
		t.Fatalf("%v", res.Header)
	}
	for range 5 {
		c.send("GET / HTTP/1.1\r\nHost: checkout\r\nCookie: sid=" + res.Cookies()[0].Value + "\r\n\r\n")
		if again, b := c.answer("GET"); b != first || len(again.Cookies()) != 0 {
			t.Fatalf("%q, then %q %v", first, b, again.Header)
		}
	}
}

// A call that waits for an endpoint gets one when it comes; two of one
// connection are answered in their order.
func TestHeldCallGoesOn(t *testing.T) {
	addr, _ := flaky(t, 0, nil) // it outlives the rig
	hold := func(c *resource.Cluster) { c.Hold = resource.Hold{Calls: 10, Wait: 10 * time.Second} }
	r := newRig(t, options{cluster: hold, route: func(r *resource.Route) { r.Retry.Attempts = 0 }})
	c := r.dial()
	c.send("POST /1 HTTP/1.1\r\nHost: checkout\r\nContent-Length: 4\r\n\r\nab")
	eventually(t, "the call waits", func() bool { return r.cluster.Held().Waiting == 1 })
	c.send("cdPOST /2 HTTP/1.1\r\nHost: checkout\r\nContent-Length: 1\r\n\r\ne")
	cfg := r.cluster.Config()
	r.setEndpoints(&cfg, addr)
	for _, want := range []string{"POST abcd", "POST e"} {
		if res, b := c.answer("POST"); res.StatusCode != 200 || b != want {
			t.Fatalf("%d %q, want %q", res.StatusCode, b, want)
		}
	}
}

// A client that hangs up while its call waits leaves the line; one whose
// deadline passes gets a 504.
func TestHeldCallEnds(t *testing.T) {
	hold := func(c *resource.Cluster) { c.Hold = resource.Hold{Calls: 10, Wait: 20 * time.Second} }
	for name, end := range map[string]func(c *client){
		"fin":         func(c *client) { _ = c.Close() },
		"reset":       func(c *client) { _ = c.SetLinger(0); _ = c.Close() },
		"fin, upload": func(c *client) { _ = c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, options{cluster: hold})
			c := r.dial()
			if strings.Contains(name, "upload") {
				c.send("PUT / HTTP/1.1\r\nHost: checkout\r\nContent-Length: 4\r\n\r\nab")
			} else {
				c.send(get)
			}
			eventually(t, "the call waits", func() bool { return r.cluster.Held().Waiting == 1 })
			end(c)
			eventually(t, "it does not", func() bool { return r.cluster.Held().Waiting == 0 })
		})
	}
	r := newRig(t, options{cluster: hold, route: func(r *resource.Route) { r.Timeout, r.AttemptTimeout = 50*time.Millisecond, time.Millisecond }})
	c := r.dial()
	c.send(get)
	if res, _ := c.answer("GET"); res.StatusCode != 504 {
		t.Errorf("%d", res.StatusCode)
	}
}

// An answer without an end leaves the application's gate; one with a length does not.
func TestStreamsLeaveTheGate(t *testing.T) {
	for _, head := range []string{
		"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n", "\r\na",
		"Content-Length: 10\r\n\r\na", // a client may take as long for the rest
	} {
		free := make(chan struct{})
		addr := rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
			_, _, _ = readRequest(r)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n"+head)
			<-free
		})
		r := newRig(t, server(options{}, resource.Admission{}), addr)
		c := r.dial()
		c.send(get)
		res, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = res.Body.Read(make([]byte, 1))
		eventually(t, "the gate counts as it should", func() bool { n, _ := r.route.Gate.InFlight(); return n == 0 })
		close(free)
		r.stop()
	}
}

// What a client keeps back takes no place at the gate from others.
func TestUploadsPassTheGate(t *testing.T) {
	for _, request := range []string{
		"PUT / HTTP/1.1\r\nHost: checkout\r\nContent-Length: 4\r\n\r\nab",
		"PUT / HTTP/1.1\r\nHost: checkout\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
	} {
		r := newRig(t, server(options{}, resource.Admission{Min: 1, Max: 1, Queue: 1}), stuckBackend(t))
		for range 3 {
			r.dial().send(request)
		}
		ep := r.cluster.Endpoints()[0]
		eventually(t, "all are with the application", func() bool { return ep.Load.InFlight() == 3 })
		if n, _ := r.route.Gate.InFlight(); n != 0 {
			t.Errorf("%d are counted", n)
		}
		r.stop()
	}
}

// A client that stalls its upload does not make the endpoint fail.
func TestStalledUpload(t *testing.T) {
	r := newRig(t, options{route: func(r *resource.Route) { r.Timeout = 40 * time.Millisecond }}, stuckBackend(t))
	c := r.dial()
	c.send("PUT / HTTP/1.1\r\nHost: checkout\r\nContent-Length: 4\r\n\r\nab")
	if res, _ := c.answer("PUT"); res.StatusCode != 504 {
		t.Errorf("%d", res.StatusCode)
	}
	if n := r.cluster.Endpoints()[0].Failures.Load(); n != 0 {
		t.Errorf("%d failures", n)
	}
}

// Faults of gRPC are answered in HTTP's words.
func TestFaultAborts(t *testing.T) {
	for abort, want := range map[int]int{418: 418, 1007: 403, 1014: 503} {
		r := newRig(t, options{route: func(r *resource.Route) { r.Fault = resource.Fault{AbortShare: 1, Abort: abort} }}, nobody)
		c := r.dial()
		c.send(get)
		if res, _ := c.answer("GET"); res.StatusCode != want {
			t.Errorf("%d: %d, want %d", abort, res.StatusCode, want)
		}
	}
}

func TestSubject(t *testing.T) {
	var s subject
	s.set([]byte("GET"), []byte("/a/b?c=secret"))
	if m, p := s.strings(); m != "GET" || p != "/a/b" {
		t.Errorf("%q %q", m, p)
	}
	s.set([]byte("GET"), []byte("/"+strings.Repeat("x", 500)))
	if m, p := s.strings(); m != "GET" || len(p) != 125 {
		t.Errorf("%q, %d bytes", m, len(p))
	}
}

// Copies are of the whole request, without what belongs to its connection.
func TestMirror(t *testing.T) {
	addr, _ := flaky(t, 0, nil)
	got := make(chan call.Mirrored, 10)
	r := newRig(t, options{target: func(r *rig, to *call.Route) {
		to.Mirrors = []resource.Mirror{{Share: 1}}
		to.MirrorClusters = []*call.Cluster{r.cluster}
		to.Mirror = func(m call.Mirrored) { got <- m }
	}}, addr)
	c := r.dial()
	long := strings.Repeat("b", 50<<10)
	for request, body := range map[string]string{
		"POST /p?q HTTP/1.1\r\nHost: checkout\r\nA: b\r\nConnection: x\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n": "abc",
		"POST /p?q HTTP/1.1\r\nHost: checkout\r\nA: b\r\nContent-Length: 51200\r\n\r\n" + long:                                                      long,
	} {
		c.send(request)
		if res, b := c.answer("POST"); res.StatusCode != 200 || b != "POST "+body {
			t.Fatalf("%d %.40q", res.StatusCode, b)
		}
		m := <-got
		if m.Method != "POST" || m.Target != "/p?q" || m.Authority != "checkout" || string(m.Body) != body {
			t.Errorf("%s %s %s, %d bytes", m.Method, m.Authority, m.Target, len(m.Body))
		}
		for _, f := range m.Header {
			if f.Name != "A" && f.Name != "traceparent" {
				t.Errorf("%+v", f)
			}
		}
	}
}

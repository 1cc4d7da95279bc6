package h2

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/meshd/meshd/xds/resource"
)

// Drain says twice that no more streams are taken; those under way end, and
// the connection after them.
func TestDrain(t *testing.T) {
	release := make(chan struct{})
	r := newRig(t, options{}, backend(t, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/slow" {
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			<-release
		}
		fmt.Fprint(w, req.URL.Path)
	}))
	p, idle := r.wire(), r.wire()
	p.mute = true // the PING is answered when the test says so
	p.get(1, "/slow")
	if h := p.next(); h.status() != "200" {
		t.Fatal(h)
	}
	idle.get(1, "/")
	idle.whole(1)
	r.srv.Drain()
	if e := p.next(); e.typ != http2.FrameGoAway || e.n != maxWindow || e.code != http2.ErrCodeNo {
		t.Fatalf("%v %d", e, e.n)
	}
	// What was on its way to us is still taken.
	p.get(3, "/crossed")
	if h, body, _ := p.whole(3); h.status() != "200" || body != "/crossed" {
		t.Error(h, body)
	}
	p.send(appendPing(nil, true, pingDrain))
	if e := p.next(); e.typ != http2.FrameGoAway || e.n != 3 {
		t.Fatalf("%v %d", e, e.n)
	}
	p.get(5, "/too late")
	close(release)
	if e := p.next(); e.id != 1 || string(e.data) != "/slow" {
		t.Error(e)
	}
	for {
		e, err := p.read()
		if err != nil {
			break
		}
		if e.id == 5 {
			t.Error(e)
		}
	}
	// One without a stream closes after the round trip.
	if why, _, said := idle.last(); !said || why != codeNone {
		t.Error(why)
	}
	// One that comes now is told at once.
	late := r.wire()
	if e := late.next(); e.typ != http2.FrameGoAway {
		t.Error(e)
	}
	if why, _, _ := late.last(); why != codeNone {
		t.Error(why)
	}
	r.want(counts{"200": 3}, nil, 0)
}

// A server that ends its connections after so many requests, as nginx does,
// loses no call: 5,000 of 16 clients, of every method.
func TestEndpointThatLeavesOften(t *testing.T) {
	const calls, clients, perConn = 5000, 16, 100
	var conns atomic.Int32
	type state struct {
		n    int
		last uint32
		body map[uint32]int
	}
	var mu sync.Mutex
	states := map[*wire]*state{}
	backend := scripted(t, []uint32{settingStreams, 32}, func(p *wire, e event) {
		mu.Lock()
		s := states[p]
		if s == nil {
			s = &state{body: map[uint32]int{}}
			states[p] = s
			conns.Add(1)
		}
		mu.Unlock()
		if s.last != 0 && e.id > s.last {
			return // not looked at
		}
		s.body[e.id] += len(e.data)
		if !e.end {
			return
		}
		p.answer(e.id, "200", fmt.Sprint(s.body[e.id])+" ")
		if s.n++; s.n >= perConn && s.last == 0 {
			// At a boundary of its own: what it has seen will be answered.
			s.last = e.id
			for id := range s.body {
				s.last = max(s.last, id)
			}
			p.goAway(s.last, codeNone)
		}
	})
	r := newRig(t, options{route: resource.Route{Retry: resource.Retry{BufferBytes: 64 << 10}}}, backend)
	c := r.client()
	var work sync.WaitGroup
	var bad atomic.Int32
	for range clients {
		work.Go(func() {
			for i := range calls / clients {
				method := []string{"GET", "POST", "PUT", "DELETE"}[i%4]
				size := 0
				if i%2 == 1 {
					size = i * 5
				}
				req, _ := http.NewRequest(method, "http://test/", strings.NewReader(strings.Repeat("x", size)))
				res, err := c.Do(req)
				if err != nil {
					bad.Add(1)
					t.Error(err)
					return
				}
				body, err := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if err != nil || res.StatusCode != 200 || string(body) != fmt.Sprint(size)+" " {
					bad.Add(1)
					t.Errorf("%s: %s, %q, %v, %q", method, res.Status, body, err, res.Header.Get("Proxy-Status"))
					return
				}
			}
		})
	}
	work.Wait()
	r.want(counts{"200": calls / clients * clients}, nil, r.snapshot().IdleResets)
	t.Logf("%d connections, %d calls moved", conns.Load(), r.snapshot().IdleResets)
	if n := conns.Load(); n < calls/perConn*3/4 {
		t.Errorf("%d connections", n)
	}
}

func TestPingIsAnswered(t *testing.T) {
	r := newRig(t, options{})
	p := r.wire()
	p.send(appendPing(nil, false, 0x1234))
	for {
		e, err := p.read()
		if err != nil {
			t.Fatal(err)
		}
		if e.typ == http2.FramePing {
			if !e.flags.Has(http2.FlagPingAck) || binary.BigEndian.Uint64(e.data) != 0x1234 {
				t.Error(e)
			}
			return
		}
	}
}

// A silent connection with streams is asked whether it lives, once; when it
// does not say so, its calls go elsewhere.
func TestSilentEndpoint(t *testing.T) {
	limits := Limits{Quiet: time.Millisecond, PingTimeout: time.Millisecond}
	t.Run("dead", func(t *testing.T) {
		var pings atomic.Int32
		dead := scripted(t, nil, func(p *wire, e event) {
			p.mute = true
			if e.typ == http2.FramePing {
				pings.Add(1)
			}
		})
		o := retrying(2)
		o.limits = limits
		r := newRig(t, o, dead, answering(t, "good"))
		p := r.wire()
		for id := uint32(1); r.cluster.Endpoints()[0].Requests.Load() == 0; id += 2 {
			p.get(id, "/")
			if h, _, _ := p.whole(id); h.status() != "200" {
				t.Error(h)
			}
		}
		r.settled()
		if n := r.snapshot().Retries["reset"]; n == 0 || int32(n) != pings.Load() {
			t.Errorf("%d retries, %d PINGs", n, pings.Load())
		}
	})
	t.Run("slow", func(t *testing.T) {
		var pings atomic.Int32
		var slow *wire
		var id atomic.Uint32
		r := newRig(t, options{limits: Limits{Quiet: time.Millisecond}}, scripted(t, nil, func(p *wire, e event) {
			switch e.typ {
			case http2.FrameHeaders:
				slow = p
				id.Store(e.id)
			case http2.FramePing:
				if pings.Add(1) == 1 {
					slow.answer(id.Load(), "200", "after all")
				}
			}
		}))
		p := r.wire()
		p.get(1, "/")
		if h, body, _ := p.whole(1); h.status() != "200" || body != "after all" {
			t.Error(h, body)
		}
		r.want(counts{"200": 1}, nil, 0)
	})
}

func TestIdleClient(t *testing.T) {
	r := newRig(t, options{limits: Limits{Idle: time.Millisecond}}, answering(t, "good"))
	p := r.wire()
	p.get(1, "/")
	p.whole(1)
	if why, _, said := p.last(); why != codeNone || !said {
		t.Error(why, said)
	}
}

func TestIdleEndpoint(t *testing.T) {
	var closed atomic.Int32
	good := answering(t, "good")
	r := newRig(t, options{}, accepting(t, func(c net.Conn) {
		up, err := net.Dial("tcp", good)
		if err != nil {
			return
		}
		go func() { _, _ = io.Copy(c, up); _ = up.Close() }()
		_, _ = io.Copy(up, c)
		_ = up.Close()
		closed.Add(1)
	}))
	p := r.wire()
	p.get(1, "/")
	p.whole(1)
	r.settled()
	ep := r.cluster.Endpoints()[0]
	if s := PoolStats(ep); s.Open != 1 || s.Idle != 1 {
		t.Errorf("%+v", s)
	}
	Sweep(ep, time.Hour)
	if s := PoolStats(ep); s.Open != 1 {
		t.Errorf("%+v", s)
	}
	Sweep(ep, 0)
	eventually(t, "the connection is closed", func() bool { return closed.Load() == 1 })
	if s := PoolStats(ep); s.Open != 0 {
		t.Errorf("%+v", s)
	}
	// The next call gets a new one, and an endpoint that has left its cluster
	// keeps none.
	p.get(3, "/")
	p.whole(3)
	Retire(ep)
	eventually(t, "the connection is closed", func() bool { return closed.Load() == 2 })
	r.want(counts{"200": 2}, nil, 0)
}

// An endpoint that accepts and says nothing is a connect timeout.
func TestSettingsThatDoNotCome(t *testing.T) {
	silent := accepting(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	o := retrying(1)
	o.cluster.ConnectTimeout = 10 * time.Millisecond
	r := newRig(t, o, silent, answering(t, "good"))
	p := r.wire()
	for id := uint32(1); r.cluster.Endpoints()[0].Requests.Load() == 0; id += 2 {
		p.get(id, "/")
		if h, _, _ := p.whole(id); h.status() != "200" {
			t.Error(h)
		}
	}
	r.settled()
	if n := r.snapshot().Retries["connect-failure"]; n != 1 {
		t.Errorf("%v", r.snapshot().Retries)
	}
	alone := newRig(t, options{cluster: resource.Cluster{ConnectTimeout: 10 * time.Millisecond}}, silent)
	p = alone.wire()
	p.get(1, "/")
	if h, _, _ := p.whole(1); h.status() != "504" || !strings.Contains(h.field("proxy-status"), "connection_timeout") {
		t.Error(h)
	}
	alone.want(counts{"504 connection_timeout": 1}, nil, 0)
}

// An endpoint that lets nobody have a stream, and leaves, is dialled once an
// attempt, not for ever.
func TestEndpointThatTakesNoStream(t *testing.T) {
	var conns atomic.Int32
	r := newRig(t, retrying(2), scripted(t, []uint32{settingStreams, 0}, func(p *wire, e event) {
		if e.typ == 0xff {
			conns.Add(1)
			p.goAway(0, codeNone)
		}
	}))
	p := r.wire()
	p.get(1, "/")
	if h, _, _ := p.whole(1); h.status() != "502" || !strings.Contains(h.field("proxy-status"), "connection_terminated") {
		t.Error(h)
	}
	r.want(counts{"502 connection_terminated": 1}, counts{"connect-failure": 2}, 0)
	if n := conns.Load(); n != 3 {
		t.Errorf("%d connections for 3 attempts", n)
	}
}

// What answers in HTTP/1.1 where HTTP/2 is configured says so in an error.
func TestEndpointOfAnotherProtocol(t *testing.T) {
	r := newRig(t, options{cluster: resource.Cluster{Protocol: resource.ProtocolHTTP2}}, accepting(t, func(c net.Conn) {
		b := make([]byte, len(preface))
		_, _ = io.ReadFull(c, b)
		_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	}))
	p := r.wire()
	p.get(1, "/")
	h, body, _ := p.whole(1)
	if h.status() != "502" || !strings.Contains(h.field("proxy-status"), "http_protocol_error") || !strings.Contains(body, "HTTP/2") {
		t.Error(h, body)
	}
	r.want(counts{"502 http_protocol_error": 1}, nil, 0)
}

// A peer's limit of streams is respected; what is more goes on further
// connections as far as they go, and then waits, as far as that goes.
func TestStreamsOfAnEndpoint(t *testing.T) {
	const perConn, conns, pending = 10, 3, 5
	var mu sync.Mutex
	open := map[*wire]map[uint32]bool{}
	most := 0
	release := make(chan struct{})
	backend := scripted(t, []uint32{settingStreams, perConn}, func(p *wire, e event) {
		mu.Lock()
		defer mu.Unlock()
		if open[p] == nil {
			open[p] = map[uint32]bool{}
		}
		if e.typ != http2.FrameHeaders {
			return
		}
		open[p][e.id] = true
		if most = max(most, len(open[p])); most > perConn {
			t.Errorf("%d streams", most)
		}
		go func() {
			<-release
			mu.Lock()
			defer mu.Unlock()
			delete(open[p], e.id)
			p.answer(e.id, "200", "")
		}()
	})
	r := newRig(t, options{limits: Limits{Connections: conns}, cluster: resource.Cluster{Limits: resource.Limits{Pending: pending}}}, backend)
	p := r.wire()
	streams := func() (n, on int) {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range open {
			n += len(c)
			if len(c) > 0 {
				on++
			}
		}
		return n, on
	}
	id := uint32(1)
	for want := 1; want <= perConn*conns; want++ { // one after the other, so that none is turned away by Pending
		p.get(id, "/")
		id += 2
		eventually(t, "a stream more is open", func() bool { n, _ := streams(); return n == want })
	}
	if _, on := streams(); on != conns {
		t.Errorf("%d connections", on)
	}
	for range pending {
		p.get(id, "/")
		id += 2
	}
	eventually(t, "they wait", func() bool { _, n := r.cluster.InUse(); return n == pending })
	p.get(id, "/")
	if h, _, _ := p.whole(id); h.status() != "503" || !strings.Contains(h.field("proxy-status"), "connection_limit_reached") {
		t.Error(h)
	}
	if s := PoolStats(r.cluster.Endpoints()[0]); s.Open != conns || s.Waiting != pending {
		t.Errorf("%+v", s)
	}
	close(release)
	for range perConn*conns + pending {
		if e := p.next(); e.status() != "200" {
			t.Error(e)
		}
	}
	r.want(counts{"200": perConn*conns + pending, "503 connection_limit_reached": 1}, nil, 0)
}

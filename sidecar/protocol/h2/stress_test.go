package h2

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/meshd/meshd/xds/resource"
)

// pieces are cut from it: content that shows where it came from.
var stressContent = bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog. 0123456789abcdef"), 1<<15)

// chaotic is an endpoint that sums what it gets and answers as much as it is
// asked for, and now and then refuses, resets, answers early, leaves or is gone.
func chaotic(t testing.TB, seed uint64) string {
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(seed, 1))
	dice := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rnd.IntN(n)
	}
	type call struct {
		sum  uint32
		size int // of the answer
		from int
		left int
		win  int
		end  bool
		rpc  bool
	}
	type state struct {
		conn  int
		calls map[uint32]*call
		gone  uint32
	}
	states := map[*wire]*state{}
	var smu sync.Mutex
	return scripted(t, []uint32{settingStreams, 100, settingWindow, 70000}, func(p *wire, e event) {
		smu.Lock()
		s := states[p]
		if s == nil {
			s = &state{conn: defaultWindow, calls: map[uint32]*call{}}
			states[p] = s
		}
		smu.Unlock()
		c := s.calls[e.id]
		switch e.typ {
		case http2.FrameHeaders:
			if c == nil {
				if s.gone != 0 && e.id > s.gone {
					return
				}
				switch d := dice(1000); {
				case d == 0:
					_ = p.c.Close()
					return
				case d == 1:
					_ = p.c.SetLinger(0)
					_ = p.c.Close()
					return
				case d < 6:
					p.reset(e.id, codeRefused)
					return
				case d < 12:
					p.reset(e.id, codeInternal)
					return
				case d < 18:
					p.answer(e.id, "503", "")
					return
				case d == 18 && s.gone == 0:
					s.gone = e.id
					p.goAway(e.id, codeNone)
				}
				c = &call{win: p.window, rpc: e.field("content-type") != ""}
				_, _ = fmt.Sscanf(e.field(":path"), "/%d/%d", &c.from, &c.size)
				c.left = c.size
				s.calls[e.id] = c
			}
		case http2.FrameData:
			if c == nil {
				return
			}
			c.sum = crc32.Update(c.sum, crc32.IEEETable, e.data)
		case http2.FrameWindowUpdate:
			if e.id == 0 {
				s.conn += int(e.n)
			} else if c != nil {
				c.win += int(e.n)
			}
		case http2.FrameSettings:
			for _, c := range s.calls {
				c.win += e.more
			}
		case http2.FrameRSTStream:
			delete(s.calls, e.id)
		default:
			return
		}
		if c != nil && e.end {
			c.end = true
			p.headers(e.id, c.size == 0 && !c.rpc, ":status", "200", "x-sum", fmt.Sprint(c.sum))
			if c.size == 0 && c.rpc {
				p.headers(e.id, true, "grpc-status", "0")
			}
			if c.size == 0 {
				delete(s.calls, e.id)
			}
		}
		for more := true; more; {
			more = false
			for id, c := range s.calls {
				n := min(c.left, c.win, s.conn, frameSize)
				if !c.end || n <= 0 {
					continue
				}
				switch dice(10000) {
				case 0: // breaks off
					p.reset(id, codeInternal)
					delete(s.calls, id)
					continue
				case 1:
					_ = p.c.Close()
					return
				}
				more = true
				at := c.from + c.size - c.left
				c.left, c.win, s.conn = c.left-n, c.win-n, s.conn-n
				p.data(id, string(stressContent[at:at+n]), c.left == 0 && !c.rpc)
				if c.left == 0 {
					if c.rpc {
						p.headers(id, true, "grpc-status", "0")
					}
					delete(s.calls, id)
				}
			}
		}
	})
}

// A stressClient has up to 16 streams at a time on one connection after the
// other, and gives some of them up. It checks what it gets.
type stressClient struct {
	t    *testing.T
	rig  *rig
	rnd  *rand.Rand
	done func() bool

	p       *wire
	next    uint32
	conn    int
	streams map[uint32]*stressCall
	whole   *atomic.Int64
}

type stressCall struct {
	send       []byte
	sum        uint32
	from, size int
	win        int
	got        int
	head       bool
}

func (k *stressClient) run(addr string) {
	for !k.done() {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			k.t.Error(err)
			return
		}
		k.p = newWire(k.t, c)
		k.next, k.conn, k.streams = 1, defaultWindow, map[uint32]*stressCall{}
		k.p.send([]byte(preface), appendSettings(nil, settingWindow, uint32(1+k.rnd.IntN(100000))))
		limit := 20 + k.rnd.IntN(200)
		hard := k.rnd.IntN(4) // how it leaves
		for !k.done() && (int(k.next/2) < limit || hard > 1 && len(k.streams) > 0) {
			for len(k.streams) < 16 && int(k.next/2) < limit {
				k.begin()
			}
			if k.pour(); len(k.streams) == 0 {
				continue // it gave all of them up
			}
			e, err := k.p.read()
			if err != nil {
				if ne, ok := err.(net.Error); ok && ne.Timeout() || !k.done() {
					k.t.Errorf("the relay ended a connection: %v; it has\n%s", err, k.rig.dump())
					for id, c := range k.streams {
						k.t.Logf("%d: %d to send in a window of %d, %d of %d came; %d of the connection", id, len(c.send), c.win, c.got, c.size, k.conn)
					}
				}
				break
			}
			if !k.take(e) {
				break
			}
		}
		if hard == 0 {
			_ = k.p.c.SetLinger(0)
		}
		_ = c.Close()
	}
}

func (k *stressClient) begin() {
	id := k.next
	k.next += 2
	c := &stressCall{win: k.p.window}
	if k.rnd.IntN(3) > 0 {
		n := k.rnd.IntN(1 << k.rnd.IntN(21))
		c.send = stressContent[:n]
	}
	c.sum = crc32.ChecksumIEEE(c.send)
	c.size = k.rnd.IntN(1 << k.rnd.IntN(21))
	c.from = k.rnd.IntN(1000)
	path := fmt.Sprintf("/%d/%d", c.from, c.size)
	var more []string
	method := "PUT"
	if len(c.send) == 0 {
		method = "GET"
	}
	if k.rnd.IntN(3) == 0 {
		method, more = "POST", []string{"content-type", "application/grpc"}
	}
	k.streams[id] = c
	k.p.request(id, len(c.send) == 0, method, path, more...)
}

// pour sends content as windows allow, and now and then gives a call up.
func (k *stressClient) pour() {
	for id, c := range k.streams {
		if k.rnd.IntN(300) == 0 {
			k.p.reset(id, codeCancel)
			delete(k.streams, id)
			continue
		}
		for n := min(len(c.send), c.win, k.conn, frameSize); n > 0; n = min(len(c.send), c.win, k.conn, frameSize) {
			k.p.data(id, string(c.send[:n]), n == len(c.send))
			c.send, c.win, k.conn = c.send[n:], c.win-n, k.conn-n
		}
	}
}

func (k *stressClient) take(e event) bool {
	c := k.streams[e.id]
	switch e.typ {
	case http2.FrameGoAway:
		if !k.done() {
			k.t.Errorf("the relay said %v %s", e, e.data)
		}
		return false
	case http2.FrameSettings:
		for _, c := range k.streams {
			c.win += e.more
		}
	case http2.FrameWindowUpdate:
		if e.id == 0 {
			k.conn += int(e.n)
		} else if c != nil {
			c.win += int(e.n)
		}
	case http2.FrameRSTStream:
		delete(k.streams, e.id)
	case http2.FrameHeaders:
		if c == nil {
			break
		}
		if !c.head {
			c.head = true
			if e.status() != "200" {
				c.size = -1 // an answer of the relay's, or 503
			} else if s := e.field("x-sum"); s != "" && s != fmt.Sprint(c.sum) {
				k.t.Errorf("the endpoint got something else than was sent")
			} else if s == "" {
				c.size = -1
			}
		} else if e.field("grpc-status") != "0" {
			c.size = -1 // broken off
		}
	case http2.FrameData:
		if c == nil {
			break
		}
		if c.size >= 0 {
			at := c.from + c.got
			if c.got+len(e.data) > c.size || !bytes.Equal(e.data, stressContent[at:at+len(e.data)]) {
				k.t.Errorf("stream %d: the wrong content at %d of %d", e.id, c.got, c.size)
			}
		}
		c.got += len(e.data)
	}
	if c != nil && e.end {
		if c.size >= 0 && c.got != c.size {
			k.t.Errorf("stream %d: %d bytes of %d look whole", e.id, c.got, c.size)
		}
		if c.size >= 0 {
			k.whole.Add(1)
		}
		if len(c.send) > 0 {
			k.p.reset(e.id, codeNone)
		}
		delete(k.streams, e.id)
	}
	return true
}

// Whatever clients and endpoints do, content is whole or seen to be broken
// off, nothing is left behind, and every call has one outcome.
func TestStress(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	o := retrying(2)
	o.trace = 0.1
	o.cluster.Limits = resource.Limits{Pending: 500, Requests: 900}
	o.cluster.Breaker = resource.Breaker{ConsecutiveFailures: 50, OpenFor: 5 * time.Millisecond, HalfOpenRequests: 3}
	o.route.Hedge = resource.Hedge{Share: 0.3, Delay: 2 * time.Millisecond}
	r := newRig(t, o, chaotic(t, seed), chaotic(t, seed+1), chaotic(t, seed+2))
	r.change(func() { r.route.Init(nil, r.cluster.Now) })
	var over atomic.Bool
	timer := time.AfterFunc(5*time.Second, func() { over.Store(true) })
	defer timer.Stop()
	var whole atomic.Int64
	var work sync.WaitGroup
	for i := range 64 {
		work.Go(func() {
			k := &stressClient{t: t, rig: r, rnd: rand.New(rand.NewPCG(seed, uint64(i)+10)), done: over.Load, whole: &whole}
			k.run(r.addr)
		})
	}
	work.Wait()
	r.settled()
	eventually(t, "the clients' connections are gone", func() bool {
		r.srv.mu.Lock()
		defer r.srv.mu.Unlock()
		for l := range r.srv.links {
			c, ok := l.k.(*conn)
			if !ok || !c.client {
				return false
			}
			if c.held != 0 || len(c.streams) != 0 || len(c.waiting) != 0 {
				t.Fatalf("%d bytes, %d streams and %d legs are left on a connection", c.held, len(c.streams), len(c.waiting))
			}
		}
		return true
	})
	for _, ep := range r.cluster.Endpoints() {
		if s := PoolStats(ep); s.Open != s.Idle || s.Waiting != 0 {
			t.Errorf("%s: %+v", ep.Address, s)
		}
	}
	r.stop() // compares the calls that began with the outcomes
	t.Log(whole.Load(), "whole;", r.outcomes(), r.snapshot().Retries, r.snapshot().IdleResets, "moved")
	if whole.Load() < 100 {
		t.Errorf("only %d calls went well", whole.Load())
	}
}

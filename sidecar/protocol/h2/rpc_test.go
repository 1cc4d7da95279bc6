package h2

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/meshd/meshd/sidecar/protocol/grpc"
	"github.com/meshd/meshd/xds/resource"
)

// message is a length-prefixed gRPC message.
func message(text string) string {
	return "\x00\x00\x00" + string([]byte{byte(len(text) >> 8), byte(len(text))}) + text
}

// rpcHead is the head of an answer that has messages.
func (p *wire) rpcHead(id uint32) {
	p.headers(id, false, ":status", "200", "content-type", "application/grpc")
}

// trailersOnly is an answer that is nothing but an outcome.
func (p *wire) trailersOnly(id uint32, status string, more ...string) {
	p.headers(id, true, append([]string{":status", "200", "content-type", "application/grpc", "grpc-status", status}, more...)...)
}

func TestRPCOutcomes(t *testing.T) {
	for name, c := range map[string]struct {
		answer   func(p *wire, id uint32)
		outcome  string
		failures uint64
	}{
		"ok": {func(p *wire, id uint32) {
			p.rpcHead(id)
			p.data(id, message("m"), false)
			p.headers(id, true, "grpc-status", "0")
		}, "200 OK", 0},
		"not found": {func(p *wire, id uint32) {
			p.rpcHead(id)
			p.headers(id, true, "grpc-status", "5")
		}, "200 NOT_FOUND", 0},
		"internal": {func(p *wire, id uint32) {
			p.rpcHead(id)
			p.data(id, message("m"), false)
			p.headers(id, true, "grpc-status", "13")
		}, "200 INTERNAL", 1},
		"trailers-only":    {func(p *wire, id uint32) { p.trailersOnly(id, "14") }, "200 UNAVAILABLE", 1},
		"trailers-only ok": {func(p *wire, id uint32) { p.trailersOnly(id, "0") }, "200 OK", 0},
		"no status": {func(p *wire, id uint32) {
			p.rpcHead(id)
			p.data(id, message("m"), true)
		}, "200 UNKNOWN", 1},
		"trailers without status": {func(p *wire, id uint32) {
			p.rpcHead(id)
			p.headers(id, true, "x-other", "1")
		}, "200 UNKNOWN", 1},
		"not gRPC":     {func(p *wire, id uint32) { p.answer(id, "404", "what?") }, "404", 0},
		"no such code": {func(p *wire, id uint32) { p.trailersOnly(id, "99") }, "200 UNKNOWN", 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, options{}, failing(t, func(p *wire, e event) { c.answer(p, e.id) }))
			p := r.wire()
			p.rpc(1, false)
			p.data(1, message("hello"), true)
			p.whole(1)
			r.want(counts{c.outcome: 1}, nil, 0)
			r.attempts(1, c.failures)
		})
	}
}

func TestRPCRetries(t *testing.T) {
	for name, c := range map[string]struct {
		fail    func(p *wire, id uint32)
		status  string
		retries counts
	}{
		"unavailable":        {func(p *wire, id uint32) { p.trailersOnly(id, "14") }, "0", counts{"unavailable": 1}},
		"cancelled":          {func(p *wire, id uint32) { p.trailersOnly(id, "1") }, "0", counts{"cancelled": 1}},
		"resource exhausted": {func(p *wire, id uint32) { p.trailersOnly(id, "8") }, "0", counts{"resource-exhausted": 1}},
		"not found":          {func(p *wire, id uint32) { p.trailersOnly(id, "5") }, "5", nil},
		"after the head": {func(p *wire, id uint32) {
			p.rpcHead(id)
			p.headers(id, true, "grpc-status", "14")
		}, "14", nil},
		"after a message": {func(p *wire, id uint32) {
			p.rpcHead(id)
			p.data(id, message("m"), false)
			p.headers(id, true, "grpc-status", "14")
		}, "14", nil},
		"503": {func(p *wire, id uint32) { p.answer(id, "503", "no") }, "0", counts{"503": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			var tries atomic.Int32
			backend := func() string {
				return failing(t, func(p *wire, e event) {
					if tries.Add(1) == 1 {
						c.fail(p, e.id)
						return
					}
					p.rpcHead(e.id)
					p.data(e.id, message("m"), false)
					p.headers(e.id, true, "grpc-status", "0")
				})
			}
			r := newRig(t, retrying(2), backend(), backend())
			p := r.wire()
			p.rpc(1, false)
			p.data(1, message("hello"), true)
			h, _, trailers := p.whole(1)
			if s := trailers.field("grpc-status"); s != c.status {
				t.Errorf("grpc-status %q, not %q: %v", s, c.status, h)
			}
			r.settled()
			if got := r.snapshot().Retries; fmt.Sprint(got) != fmt.Sprint(c.retries) {
				t.Errorf("retries %v, not %v", got, c.retries)
			}
		})
	}
}

// Every attempt is told what is left of the caller's time.
func TestRPCTimeoutTravelsOn(t *testing.T) {
	var told [2]atomic.Int64
	var tries atomic.Int32
	backend := func() string {
		return failing(t, func(p *wire, e event) {
			d, ok := grpc.ParseTimeout(e.field("grpc-timeout"))
			if !ok {
				t.Errorf("grpc-timeout %q", e.field("grpc-timeout"))
			}
			n := tries.Add(1)
			told[n-1].Store(int64(d))
			if n == 1 {
				<-time.NewTimer(20 * time.Millisecond).C // as long as the work takes
				p.trailersOnly(e.id, "14")
				return
			}
			p.trailersOnly(e.id, "0")
		})
	}
	r := newRig(t, retrying(1), backend(), backend())
	p := r.wire()
	p.rpc(1, true, "grpc-timeout", "5S")
	p.whole(1)
	first, second := time.Duration(told[0].Load()), time.Duration(told[1].Load())
	if first > 5*time.Second || first < 3*time.Second || first-second < 20*time.Millisecond || second < 3*time.Second {
		t.Errorf("told %v, then %v", first, second)
	}
}

func TestRPCDeadline(t *testing.T) {
	var cancelled atomic.Int32
	silent := scripted(t, nil, func(p *wire, e event) {
		if e.typ == http2.FrameRSTStream && e.code == http2.ErrCodeCancel {
			cancelled.Add(1)
		}
	})
	r := newRig(t, retrying(2), silent)
	p := r.wire()
	p.rpc(1, true, "grpc-timeout", "50m")
	h, _, _ := p.whole(1)
	if h.status() != "200" || h.field("grpc-status") != "4" || !strings.Contains(h.field("proxy-status"), "http_response_timeout") ||
		h.field("content-type") != "application/grpc" || h.field("grpc-message") == "" {
		t.Error(h)
	}
	eventually(t, "the endpoint is told", func() bool { return cancelled.Load() == 1 })
	r.want(counts{"200 DEADLINE_EXCEEDED http_response_timeout": 1}, nil, 0)
}

// The caller's deadline ends a stream that has begun; the route's does not.
func TestRPCStreamDeadlines(t *testing.T) {
	for name, timeout := range map[string]string{"caller's": "150m", "route's": ""} {
		t.Run(name, func(t *testing.T) {
			var cancelled atomic.Int32
			backend := scripted(t, nil, func(p *wire, e event) {
				switch {
				case e.typ == http2.FrameHeaders:
					p.rpcHead(e.id)
					p.data(e.id, message("m"), false)
				case e.typ == http2.FrameData && e.end:
					p.headers(e.id, true, "grpc-status", "0")
				case e.typ == http2.FrameRSTStream:
					cancelled.Add(1)
				}
			})
			r := newRig(t, options{route: resource.Route{Timeout: 100 * time.Millisecond}}, backend)
			p := r.wire()
			if timeout != "" {
				p.rpc(1, false, "grpc-timeout", timeout)
				if _, body, trailers := p.whole(1); body != message("m") || trailers.field("grpc-status") != "4" {
					t.Errorf("%q %v", body, trailers)
				}
				eventually(t, "the endpoint is told", func() bool { return cancelled.Load() == 1 })
				r.want(counts{"200 DEADLINE_EXCEEDED http_response_timeout": 1}, nil, 0)
				return
			}
			p.rpc(1, false)
			p.next()
			begun := time.Now()
			eventually(t, "twice the timeout has passed", func() bool { return time.Since(begun) > 200*time.Millisecond })
			p.data(1, message("end"), true)
			p.next()
			if e := p.next(); e.field("grpc-status") != "0" {
				t.Error(e)
			}
			r.want(counts{"200 OK": 1}, nil, 0)
		})
	}
}

func TestRPCEndpointLost(t *testing.T) {
	for name, lose := range map[string]func(p *wire, id uint32){
		"connection": func(p *wire, id uint32) { _ = p.c.Close() },
		"reset":      func(p *wire, id uint32) { p.reset(id, codeInternal) },
	} {
		t.Run(name, func(t *testing.T) {
			backend := scripted(t, nil, func(p *wire, e event) {
				switch e.typ {
				case http2.FrameHeaders:
					p.rpcHead(e.id)
					p.data(e.id, message("m"), false)
				case http2.FrameData:
					lose(p, e.id)
				}
			})
			r := newRig(t, retrying(2), backend)
			p := r.wire()
			p.rpc(1, false)
			p.next()
			if e := p.next(); string(e.data) != message("m") {
				t.Error(e)
			}
			p.data(1, message("go"), false)
			e := p.next()
			if e.typ != http2.FrameHeaders || !e.end || e.field("grpc-status") != "14" || e.field("grpc-message") == "" {
				t.Errorf("trailers: %v", e)
			}
			if code := p.wantReset(1); code != http2.ErrCodeNo {
				t.Errorf("the rest of the request is refused with %v", code)
			}
			r.want(counts{"200 UNAVAILABLE http_response_incomplete": 1}, nil, 0)
			r.attempts(1, 1)
		})
	}
}

func TestRPCAnswersOfTheProxy(t *testing.T) {
	want := func(t *testing.T, p *wire, id uint32, why string) {
		t.Helper()
		h, _, _ := p.whole(id)
		if h.status() != "200" || !h.end || h.field("grpc-status") != "14" || !strings.Contains(h.field("proxy-status"), why) ||
			!strings.HasPrefix(grpc.DecodeMessage(h.field("grpc-message")), "meshd: ") {
			t.Error(h)
		}
	}
	t.Run("no endpoint", func(t *testing.T) {
		r := newRig(t, options{})
		p := r.wire()
		p.rpc(1, true)
		want(t, p, 1, "destination_unavailable")
		r.want(counts{"200 UNAVAILABLE destination_unavailable": 1}, nil, 0)
	})
	t.Run("nobody listens", func(t *testing.T) {
		r := newRig(t, options{}, closedPort(t))
		p := r.wire()
		p.rpc(1, true)
		want(t, p, 1, "connection_refused")
		r.want(counts{"200 UNAVAILABLE connection_refused": 1}, nil, 0)
	})
	t.Run("limit", func(t *testing.T) {
		silent := scripted(t, nil, func(p *wire, e event) {})
		r := newRig(t, options{cluster: resource.Cluster{Limits: resource.Limits{Requests: 1}}}, silent)
		p := r.wire()
		p.rpc(1, true)
		p.rpc(3, true)
		want(t, p, 3, "connection_limit_reached")
		p.reset(1, codeCancel)
		r.want(counts{"200 UNAVAILABLE connection_limit_reached": 1, "200 CANCELLED client_closed": 1}, nil, 0)
	})
}

// Message by message: each side waits for the other's before it sends the next.
func TestRPCLockstep(t *testing.T) {
	backend := scripted(t, nil, func(p *wire, e event) {
		switch {
		case e.typ == http2.FrameHeaders:
			p.rpcHead(e.id)
		case e.end:
			p.headers(e.id, true, "grpc-status", "0")
		case e.typ == http2.FrameData:
			p.data(e.id, string(e.data), false)
		}
	})
	r := newRig(t, options{}, backend)
	p := r.wire()
	p.rpc(1, false)
	p.next()
	for i := range 1000 {
		m := message(fmt.Sprint(i))
		p.data(1, m, false)
		if e := p.next(); string(e.data) != m {
			t.Fatalf("%d: %v", i, e)
		}
	}
	p.data(1, "", true)
	if e := p.next(); !e.end || e.field("grpc-status") != "0" {
		t.Error(e)
	}
	r.want(counts{"200 OK": 1}, nil, 0)
}

func TestLoadReports(t *testing.T) {
	for name, answer := range map[string]func(p *wire, id uint32){
		"head": func(p *wire, id uint32) {
			p.trailersOnly(id, "0", "endpoint-load-metrics", "TEXT cpu_utilization=0.5, rps_fractional=10")
		},
		"trailers": func(p *wire, id uint32) {
			p.rpcHead(id)
			p.data(id, message("m"), false)
			p.headers(id, true, "grpc-status", "0", "endpoint-load-metrics", `JSON {"cpu_utilization":0.5,"rps_fractional":10}`)
		},
		"http": func(p *wire, id uint32) {
			p.headers(id, true, ":status", "204", "endpoint-load-metrics", "TEXT cpu_utilization=0.5, rps_fractional=10")
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, options{}, failing(t, func(p *wire, e event) { answer(p, e.id) }))
			p := r.wire()
			p.rpc(1, true)
			p.whole(1)
			r.settled()
			load, _, ok := r.cluster.Endpoints()[0].Reported.Get(0)
			if !ok || load.CPU != 0.5 || load.RPS != 10 {
				t.Errorf("%+v, %v", load, ok)
			}
		})
	}
}

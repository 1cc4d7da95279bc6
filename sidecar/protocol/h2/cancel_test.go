package h2

import (
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
)

// A client that cancels takes the attempt with it, and the call counts once.
func TestClientCancels(t *testing.T) {
	for name, c := range map[string]struct {
		stage   string
		outcome string
	}{
		"before the answer": {"", "499 client_closed"},
		"within it":         {"head", "200 client_closed"},
		"by leaving":        {"", "499 client_closed"},
	} {
		t.Run(name, func(t *testing.T) {
			got := make(chan http2.ErrCode, 10)
			begun := make(chan struct{}, 1)
			backend := scripted(t, nil, func(p *wire, e event) {
				switch e.typ {
				case http2.FrameHeaders:
					if c.stage == "head" {
						p.headers(e.id, false, ":status", "200")
					}
					begun <- struct{}{}
				case http2.FrameRSTStream:
					got <- e.code
				}
			})
			r := newRig(t, retrying(2), backend)
			p := r.wire()
			p.request(1, false, "POST", "/")
			<-begun
			if c.stage == "head" {
				p.next()
			}
			if name == "by leaving" {
				_ = p.c.Close()
			} else {
				p.reset(1, codeCancel)
			}
			if code := <-got; code != http2.ErrCodeCancel {
				t.Error(code)
			}
			r.want(counts{c.outcome: 1}, nil, 0)
			r.attempts(1, 0)
			if len(got) > 0 {
				t.Error("reset twice")
			}
		})
	}
}

// While a client's call waits for a connection, its leave ends it all the same.
func TestClientCancelsWhileWaiting(t *testing.T) {
	dialled := make(chan struct{}, 10)
	silent := accepting(t, func(c net.Conn) {
		dialled <- struct{}{}
		_, _ = io.Copy(io.Discard, c) // it never says SETTINGS
	})
	r := newRig(t, retrying(2), silent)
	p := r.wire()
	p.get(1, "/")
	<-dialled
	p.reset(1, codeCancel)
	r.want(counts{"499 client_closed": 1}, nil, 0)
	p.get(3, "/")
	eventually(t, "it waits", func() bool { _, pending := r.cluster.InUse(); return pending == 1 })
	_ = p.c.Close()
	r.want(counts{"499 client_closed": 2}, nil, 0)
}

// The code with which an endpoint breaks off its answer reaches the client.
func TestEndpointResets(t *testing.T) {
	for _, c := range []struct{ sent, want code }{
		{codeInternal, codeInternal}, {codeCancel, codeCancel}, {codeCalm, codeCalm}, {code(77), code(77)},
		{codeNone, codeInternal}, // it was not whole: not to be taken for that
	} {
		t.Run(c.sent.String(), func(t *testing.T) {
			r := newRig(t, retrying(2), failing(t, func(p *wire, e event) {
				p.headers(e.id, false, ":status", "200")
				p.data(e.id, "part", false)
				p.reset(e.id, c.sent)
			}))
			p := r.wire()
			p.get(1, "/")
			if got := p.wantReset(1); code(got) != c.want {
				t.Error(got)
			}
			r.want(counts{"200 http_response_incomplete": 1}, nil, 0)
			r.attempts(1, 1)
		})
	}
}

// A whole answer reaches a client that has not said all of its request; then
// nobody wants the rest.
func TestEarlyAnswer(t *testing.T) {
	for name, body := range map[string]string{"with content": "that is enough", "head only": ""} {
		t.Run(name, func(t *testing.T) {
			var cancelled atomic.Int32
			backend := scripted(t, nil, func(p *wire, e event) {
				switch e.typ {
				case http2.FrameHeaders:
					p.answer(e.id, "413", body)
				case http2.FrameRSTStream:
					cancelled.Add(1)
				}
			})
			r := newRig(t, options{}, backend)
			p := r.wire()
			p.request(1, false, "POST", "/")
			p.data(1, strings.Repeat("x", 20000), false)
			h, got, _ := p.whole(1)
			if h.status() != "413" || got != body {
				t.Errorf("%v, %q", h, got)
			}
			if code := p.wantReset(1); code != http2.ErrCodeNo {
				t.Error(code)
			}
			// What was on its way is no error, and the connection goes on.
			p.data(1, strings.Repeat("x", 20000), true)
			p.get(3, "/")
			if h, _, _ := p.whole(3); h.status() != "413" {
				t.Error(h)
			}
			r.want(counts{"413": 2}, nil, 0)
			eventually(t, "the endpoint is told", func() bool { return cancelled.Load() >= 1 })
			r.attempts(2, 0)
		})
	}
}

// An endpoint may say that it wants no more of a request after its answer.
func TestEarlyAnswerWithReset(t *testing.T) {
	r := newRig(t, options{}, scripted(t, nil, func(p *wire, e event) {
		if e.typ == http2.FrameHeaders {
			p.answer(e.id, "200", "whole")
			p.reset(e.id, codeNone)
		}
	}))
	p := r.wire()
	for id := uint32(1); id < 21; id += 2 {
		p.request(id, false, "POST", "/")
		if h, body, _ := p.whole(id); h.status() != "200" || body != "whole" {
			t.Errorf("%v %q", h, body)
		}
		if code := p.wantReset(id); code != http2.ErrCodeNo {
			t.Error(code)
		}
	}
	r.want(counts{"200": 10}, nil, 0)
	r.attempts(10, 0)
}

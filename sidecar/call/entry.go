package call

import (
	"strings"
	"sync"
	"time"

	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/tracing"
)

// An Entry is what there is to say of a call at its end, whether it is kept or
// not. It is made only for those who ask: see Tracer. What it points to may be
// of buffers that are used again, so that nothing of it outlives its receiver.
type Entry struct {
	Time    time.Time // when the call began
	Took    time.Duration
	Service string // default/checkout:8080
	Route   string
	Inbound bool

	Method, Path  string // Path without its query
	Peer, Version string // as Subject has them
	RPC           bool

	// TCP says that it is a connection whose bytes nobody looks at, which has no
	// status; Sent and Received are its bytes, as EndConnection has them.
	TCP            bool
	Sent, Received int64

	Status  int // as End has it; 0: none was sent
	Error   stats.ErrorType
	Failed  bool   // the service could not serve, or the sidecar answered in its place
	Refusal string // why it was not made

	Parts    [stats.Parts]time.Duration
	Attempts int
	// The endpoint of the last attempt, and the instance there; empty: none.
	Endpoint, Instance string

	Context tracing.SpanContext // zero where the call has no trace
	Kept    string              // error, slow, sampled or joined; empty: it is not kept
	Headers []Header            // that a Tap asks for, of the request
}

// A Header is a field of the request, its name in lower case.
type Header struct{ Name, Value string }

// A Tap is somebody who looks at calls as they end.
type Tap struct {
	// Headers are the names of those that are wanted, in lower case.
	Headers []string
	// End gets each call, with its owner's lock held: it must neither block nor
	// keep the Entry.
	End func(*Entry)
}

// Most of a header's value that a Tap gets, in bytes.
const maxTapped = 256

// Looks reports whether somebody looks at headers now: Said.Request is then needed.
func (t *Tracer) Looks() bool {
	tap := t.Tap.Load()
	return tap != nil && len(tap.Headers) > 0
}

// heads takes what a Tap asks for of a request.
func (c *Call) heads(in Request) {
	tap := c.tracer.Tap.Load()
	if tap == nil {
		return
	}
	for _, name := range tap.Headers {
		if v := in.Header(name); v != nil {
			c.headers = append(c.headers, Header{name, short(string(v), maxTapped)})
		}
	}
}

// A LogFilter says which calls a Tracer's Log gets.
type LogFilter uint8

// The filters. LogKept are those of which spans or a Record are kept.
const (
	LogAll LogFilter = iota
	LogFailed
	LogKept
)

// logs reports whether a call that ends is for Log.
func (t *Tracer) logs(failed, kept bool) bool {
	if t.Log == nil {
		return false
	}
	switch t.LogOnly {
	case LogFailed:
		return failed
	case LogKept:
		return kept
	}
	return true
}

// bytesMoved are those of a connection.
type bytesMoved struct{ sent, received int64 }

var entries = sync.Pool{New: func() any { return new(Entry) }}

// tell makes the call's Entry for those who look, if anybody does. moved is
// nil but for a connection.
func (c *Call) tell(now int64, status int, e stats.ErrorType, parts *[stats.Parts]int64, moved *bytesMoved) {
	tap := c.tracer.Tap.Load()
	log := c.tracer.logs(failed(status, e), c.keep < kinds || c.span != nil)
	if tap == nil && !log {
		return
	}
	out := entries.Get().(*Entry)
	*out = c.entry(now, status, e, parts)
	if moved != nil {
		out.TCP, out.Sent, out.Received = true, moved.sent, moved.received
	}
	if tap != nil {
		tap.End(out)
	}
	if log {
		c.tracer.Log(out)
	}
	*out = Entry{}
	entries.Put(out)
}

// failed reports whether the service could not serve a call, or the sidecar
// answered in its place; who went away has not failed.
func failed(status int, e stats.ErrorType) bool {
	return e != stats.ErrNone && e != stats.ErrClientClosed || failure(status)
}

// entry says what there is to say of a call that ends.
func (c *Call) entry(now int64, status int, e stats.ErrorType, parts *[stats.Parts]int64) Entry {
	out := Entry{
		Time: c.tracer.time(c.Start), Took: time.Duration(now - c.Start),
		Service: c.Route.Service.Name(), Route: c.Route.Name, Inbound: c.Route.Server,
		Status: status, Error: e, Failed: failed(status, e),
		Refusal: c.refusal.Detail, Attempts: c.attempts, Context: c.Context, Headers: c.headers,
	}
	if c.span != nil {
		out.Context = c.span.call // not that of its newest attempt
	}
	if c.keep < kinds {
		out.Kept = c.keep.String()
	}
	for i, ns := range parts {
		out.Parts[i] = time.Duration(ns)
	}
	if c.owner != nil {
		s := c.owner.Subject()
		out.Method, out.Peer, out.Version, out.RPC = s.Method, s.Peer, s.Version, s.RPC
		out.Path, _, _ = strings.Cut(s.Path, "?")
	}
	if c.ep != nil {
		out.Endpoint, out.Instance = c.ep.Address, c.ep.ID
	}
	return out
}

package show

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/meshd/meshd/ctl/api"
)

// A spanTree is a trace's spans, each below what made it.
type spanTree struct {
	start time.Time
	total float64     // ms
	order []*spanNode // as they are drawn
}

type spanNode struct {
	span     *api.TraceSpan
	parent   *spanNode // nil: a root, or one whose parent is not there
	children []*spanNode
	depth    int
	attempt  int  // which one of its call, from 1; 0: it is none
	wasted   bool // it is an attempt after which there was another, or below one
}

// newSpanTree orders spans: children by their start. A span whose parents form
// a circle, as no tracer makes them, is a root.
func newSpanTree(spans []api.TraceSpan) *spanTree {
	t := &spanTree{}
	byID := make(map[string]*spanNode, len(spans))
	nodes := make([]*spanNode, len(spans))
	for i := range spans {
		n := &spanNode{span: &spans[i]}
		nodes[i] = n
		if byID[n.span.ID] == nil {
			byID[n.span.ID] = n
		}
	}
	var end time.Time
	for _, n := range nodes {
		if p := byID[n.span.Parent]; p != nil && n.span.Parent != "" && !below(p, n) {
			n.parent = p
			p.children = append(p.children, n)
		}
		if t.start.IsZero() || n.span.Start.Before(t.start) {
			t.start = n.span.Start
		}
		if e := n.end(); e.After(end) {
			end = e
		}
	}
	t.total = max(float64(end.Sub(t.start))/1e6, 0.001)
	var walk func(of []*spanNode, depth int)
	walk = func(of []*spanNode, depth int) {
		slices.SortStableFunc(of, func(a, b *spanNode) int { return a.span.Start.Compare(b.span.Start) })
		attempts := 0
		for _, n := range of {
			n.depth = depth
			n.wasted = n.parent != nil && n.parent.wasted
			if n.isAttempt() {
				attempts++
				n.attempt = attempts
			}
		}
		for _, n := range of {
			n.wasted = n.wasted || n.attempt > 0 && n.attempt < attempts
			t.order = append(t.order, n)
			walk(n.children, depth+1)
		}
	}
	walk(slices.DeleteFunc(slices.Clone(nodes), func(n *spanNode) bool { return n.parent != nil }), 0)
	return t
}

// below reports whether n is somewhere above p, or p itself.
func below(p, n *spanNode) bool {
	for ; p != nil; p = p.parent {
		if p == n {
			return true
		}
	}
	return false
}

func (n *spanNode) end() time.Time {
	return n.span.Start.Add(time.Duration(n.span.DurationMs * float64(time.Millisecond)))
}

// isAttempt reports whether a span is one try of the call above it.
func (n *spanNode) isAttempt() bool {
	p := n.parent
	return p != nil && n.span.Kind == "client" && p.span.Kind == "client" &&
		n.span.Service == p.span.Service && n.span.Namespace == p.span.Namespace
}

// where is the service, or the instance, that a span is of.
func (n *spanNode) where() string {
	return Printable(cmp.Or(n.span.Instance, Name(n.span.Namespace, n.span.Service), "?"))
}

func (n *spanNode) service() string {
	return Printable(cmp.Or(Name(n.span.Namespace, n.span.Service), n.span.Instance, "?"))
}

// called is the service that a client's span calls.
func (n *spanNode) called() string {
	if s := attribute(n.span, "meshd.service"); s != "" {
		s, _, _ = strings.Cut(strings.TrimPrefix(s, "default/"), ":")
		return s
	}
	return cmp.Or(attribute(n.span, "server.address"), "?")
}

// label is a span in words.
func (t *spanTree) label(n *spanNode) string {
	name := Printable(n.span.Name)
	switch {
	case n.attempt > 0:
		what := "attempt"
		switch reason := attribute(n.span, "meshd.retry.reason"); {
		case attribute(n.span, "meshd.hedge") == "true":
			what = "hedge"
		case reason != "":
			what = "retry: " + reason
		}
		return what + " → " + cmp.Or(attribute(n.span, "meshd.endpoint.id"), attribute(n.span, "network.peer.address"), "?")
	case n.span.Kind == "client":
		return n.service() + " → " + n.called() + ": " + name
	case n.span.Kind == "server":
		return n.where() + ": " + name
	}
	return name + " (" + n.where() + ")"
}

// bar is a span on the trace's time, and whether some of it was waiting, which
// comes first.
func (t *spanTree) bar(n *spanNode, width int, colour bool) (line string, waited bool) {
	cell := func(ms float64) int { return min(max(int(ms/t.total*float64(width)), 0), width) }
	at := float64(n.span.Start.Sub(t.start)) / 1e6
	from := min(cell(at), width-1)
	to := min(max(cell(at+n.span.DurationMs), from+1), width)
	wait := milliseconds(n.span, "meshd.held_ms") + milliseconds(n.span, "meshd.queued_ms")
	until := min(max(cell(at+min(wait, n.span.DurationMs)), from), to)
	with := low
	if n.span.Failed {
		with = high
	}
	return strings.Repeat(" ", from) + paint(strings.Repeat("░", until-from), faint, colour) +
		paint(strings.Repeat("█", to-until), with, colour), until > from
}

// services counts those that have reported spans.
func (t *spanTree) services() int {
	seen := map[string]bool{}
	for _, n := range t.order {
		seen[n.span.Namespace+"/"+n.span.Service] = true
	}
	return len(seen)
}

// failed is the deepest failed span that says why: what is above it has failed
// for its sake. Where none does it is any of them; nil: none has failed.
func (t *spanTree) failed() (s *api.TraceSpan) {
	deepest := -1
	for _, n := range t.order {
		switch {
		case !n.span.Failed:
		case n.depth > deepest && whyFailed(n.span) != "":
			deepest, s = n.depth, n.span
		case s == nil:
			s = n.span
		}
	}
	return s
}

// shares are what a span's time went to, but for what is below it.
func (t *spanTree) shares(n *spanNode) (out []share) {
	add := func(what string, ms float64) {
		if ms > 0 {
			out = append(out, share{what, ms})
		}
	}
	s := n.span
	switch {
	case n.wasted: // it is in its call's retried
	case n.attempt > 0:
		// What no span below it has is between the sidecars.
		if len(n.children) > 0 {
			add("between "+n.service()+" and "+n.called(), n.self())
		}
	case s.Kind == "client" && s.Attributes["meshd.service"] != nil:
		to := n.service() + " → " + n.called()
		add(to+" held", milliseconds(s, "meshd.held_ms"))
		add(to+" connect", milliseconds(s, "meshd.connect_ms"))
		add(to+" retried", milliseconds(s, "meshd.retried_ms"))
		if n.leaf() {
			rest := s.DurationMs - milliseconds(s, "meshd.held_ms") - milliseconds(s, "meshd.connect_ms") - milliseconds(s, "meshd.retried_ms")
			add(n.called()+", which reports no spans,", rest)
		}
	case s.Kind == "server":
		queued := milliseconds(s, "meshd.queued_ms")
		add(n.where()+" queued", queued)
		add(n.where()+" own work", n.self()-queued)
	default:
		add(Printable(s.Name)+" of "+n.where(), n.self())
	}
	return out
}

// leaf reports whether nobody but the caller's sidecar says something of a call.
func (n *spanNode) leaf() bool {
	for _, c := range n.children {
		if len(c.children) > 0 || c.attempt == 0 {
			return false
		}
	}
	return true
}

// self is a span's time, ms, in which nothing below it was under way.
func (n *spanNode) self() float64 {
	self, until, end := time.Duration(0), n.span.Start, n.end()
	for _, c := range n.children { // by their start
		if c.span.Start.After(until) {
			self += min(c.span.Start.Sub(until), max(end.Sub(until), 0))
		}
		if e := c.end(); e.After(until) {
			until = e
		}
	}
	if end.After(until) {
		self += end.Sub(until)
	}
	return float64(self) / 1e6
}

package show

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshd/meshd/ctl/api"
)

// Traces is a list of traces.
func Traces(all []api.TraceSummary, zone *time.Location) []string {
	rows := [][]string{{"TRACE", "WHEN", ">TOOK", "SERVICE", "WHAT", ">SPANS", "RESULT"}}
	for _, t := range all {
		result := "ok"
		if t.Failed {
			result = cmp.Or(Printable(t.Message), "failed")
		}
		took := t.ServiceMs
		if took == 0 {
			took = t.DurationMs
		}
		rows = append(rows, []string{Printable(t.ID), t.Start.In(zone).Format(time.TimeOnly), Milliseconds(took),
			Printable(Name(t.Service.Namespace, t.Service.Name)), cut(Printable(t.Name), 30), strconv.Itoa(t.Spans), cut(result, 30)})
	}
	return Columns(rows)
}

const (
	maxDepth = 64   // of spans below each other; deeper ones are drawn at that depth
	maxRows  = 2000 // spans drawn
)

// Waterfall draws a trace: a line and a bar for each span, below what made it,
// what is not so with most spans, and what the time went to.
func Waterfall(t api.Trace, size Size) []string {
	tree := newSpanTree(t.Spans)
	lines := traceHead(t, tree, size)
	if len(t.Spans) == 0 {
		return lines
	}
	label := min(max(size.Width*42/100, 24), 60)
	bar := max(size.Width-label-2*9-3, 10)
	lines = append(lines, fmt.Sprintf("%-*s %8s %8s %s", label, "SPAN", "AT", "TOOK", ruler(tree.total, bar)))
	waited := false
	for i, n := range tree.order {
		if i == maxRows {
			lines = append(lines, fmt.Sprintf("… and %d spans more: see -o json", len(tree.order)-maxRows))
			break
		}
		s := n.span
		indent := strings.Repeat("  ", min(n.depth, maxDepth))
		at := float64(s.Start.Sub(tree.start)) / 1e6
		text, waits := tree.bar(n, bar, size.Colour)
		waited = waited || waits
		lines = append(lines, fmt.Sprintf("%s %8s %8s %s", padCut(indent+tree.label(n), label), Milliseconds(at), Milliseconds(s.DurationMs), text))
		if of := spanNotes(s); len(of) > 0 {
			for _, l := range wrap(strings.Join(of, ", "), max(size.Width-len(indent)-4, 40)) {
				lines = append(lines, indent+"    "+paint(l, noteInk(s), size.Colour))
			}
		}
	}
	if waited {
		lines = append(lines, "", "░ waited: for an endpoint, for leave to go, or before the application")
	}
	if of := tree.culprits(); of != "" {
		lines = append(append(lines, ""), wrap("The time went to: "+of, max(size.Width, 40))...)
	}
	return lines
}

func noteInk(s *api.TraceSpan) ink {
	if s.Failed {
		return high
	}
	return faint
}

func traceHead(t api.Trace, tree *spanTree, size Size) []string {
	if len(t.Spans) == 0 {
		return []string{"trace " + Printable(t.ID) + " has no spans"}
	}
	line := fmt.Sprintf("trace %s: %s, %s of %s", Printable(t.ID), Milliseconds(tree.total), countOf(len(t.Spans), "span"), countOf(tree.services(), "service"))
	if s := tree.failed(); s != nil {
		what := ", a part of it failed: "
		if tree.order[0].span.Failed {
			what = ", failed: "
		}
		line += what + cmp.Or(whyFailed(s), "no reason is said")
	}
	lines := []string{line, tree.start.In(size.Zone).Format("2006-01-02 15:04:05.000 MST")}
	if t.Dropped > 0 {
		lines = append(lines, fmt.Sprintf("%s more did not fit and are not kept", countOf(t.Dropped, "span")))
	}
	return append(lines, "")
}

func whyFailed(s *api.TraceSpan) string {
	return cmp.Or(Printable(s.Message), attribute(s, "error.type"))
}

// ruler says how long the bars' room is.
func ruler(totalMs float64, width int) string {
	end := Milliseconds(totalMs)
	return "0" + strings.Repeat(" ", max(width-1-len(end), 1)) + end
}

func padCut(s string, width int) string {
	r := []rune(s)
	if len(r) > width {
		return string(r[:width-1]) + "…"
	}
	return s + strings.Repeat(" ", width-len(r))
}

// attribute is one as text; empty where there is none.
func attribute(s *api.TraceSpan, name string) string {
	v, ok := s.Attributes[name]
	if !ok || v == nil {
		return ""
	}
	if f, ok := v.(float64); ok {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return Printable(fmt.Sprint(v))
}

func milliseconds(s *api.TraceSpan, name string) float64 {
	v, _ := s.Attributes[name].(float64)
	return max(v, 0)
}

// spanNotes are what is not so with most spans.
func spanNotes(s *api.TraceSpan) (out []string) {
	status := cmp.Or(attribute(s, "rpc.response.status_code"), attribute(s, "http.response.status_code"))
	switch e := attribute(s, "error.type"); {
	case s.Failed && e != "" && status != "" && e != status:
		out = append(out, "failed: "+status+" "+e)
	case s.Failed:
		out = append(out, "failed: "+cmp.Or(status, e, Printable(s.Message), "no reason is said"))
	}
	if r := attribute(s, "meshd.refusal"); r != "" {
		out = append(out, r)
	}
	for _, name := range partOrder {
		if v := milliseconds(s, "meshd."+name+"_ms"); v > 0 && v >= s.DurationMs/100 {
			out = append(out, name+" "+Milliseconds(v))
		}
	}
	for _, e := range s.Events {
		if e.Name != "retry" { // those are attempts, which have lines of their own
			out = append(out, fmt.Sprintf("%s at %s", Printable(e.Name), Milliseconds(float64(e.Time.Sub(s.Start))/1e6)))
		}
		if len(out) > 12 {
			break
		}
	}
	if p := attribute(s, "meshd.priority"); p != "" {
		out = append(out, "priority "+p)
	}
	return out
}

// A share is a part of what a trace's time went to.
type share struct {
	what string
	ms   float64
}

// culprits are the largest shares.
func (t *spanTree) culprits() string {
	var all []share
	for _, n := range t.order {
		all = append(all, t.shares(n)...)
	}
	slices.SortStableFunc(all, func(a, b share) int { return cmp.Compare(b.ms, a.ms) })
	var out []string
	for _, s := range all {
		if len(out) == 4 || s.ms < 0.03*t.total {
			break
		}
		out = append(out, fmt.Sprintf("%s %s (%.0f%%)", s.what, Milliseconds(s.ms), 100*s.ms/t.total))
	}
	return strings.Join(out, ", ")
}

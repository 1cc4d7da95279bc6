package dashboard

import (
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshd/meshd/dashboard/chart"
	"github.com/meshd/meshd/telemetry"
)

// traceBody is the view of one trace.
type traceBody struct {
	ID, Start, Duration string
	Services            int
	Dropped             int
	Rows                []spanRow
	Chosen              *spanDetails
}

// spanRow is a span of the waterfall.
type spanRow struct {
	Link             string
	Depth            int // 0 to maxDepth: how far it is set in
	Name, Who        string
	Duration, Offset string
	Bar              template.HTML
	Badges           []badge
	Failed, Chosen   bool
}

// badge is something worth seeing at once: an attempt, a hold, a retry.
type badge struct {
	Kind, Text string // Kind is a class of page.css
}

// spanDetails are all that a span says.
type spanDetails struct {
	Name       string
	Decisions  []pair // the mesh's own attributes
	Attributes []pair
	Events     []pair
}

type pair struct{ Name, Value string }

const (
	maxDepth = 12
	// maxSpans bounds the waterfall; the store keeps fewer of a trace.
	maxSpans = 2000
)

func (d *Dashboard) trace(r *http.Request, s state) (page, error) {
	id := r.PathValue("id")
	t, ok := d.cfg.Reader.Trace(id)
	if !ok || len(t.Spans) == 0 {
		return page{}, missing(fmt.Sprintf("No trace %q is kept here. The oldest go when memory is full, and calls that neither failed nor were slow are kept only by the sampling ratio.", id))
	}
	b := traceBody{ID: t.ID, Dropped: t.Dropped}
	begin, end := t.Spans[0].Start, t.Spans[0].Start
	services := map[string]bool{}
	for _, span := range t.Spans {
		if span.Start.Before(begin) {
			begin = span.Start
		}
		if e := spanEnd(span); e.After(end) {
			end = e
		}
		services[span.Namespace+"/"+span.Service] = true
	}
	b.Start, b.Services = begin.UTC().Format("2006-01-02 15:04:05.000")+" UTC", len(services)
	whole := end.Sub(begin)
	b.Duration = chart.Millis(millis(whole))
	chosen := r.URL.Query().Get("span")
	for _, n := range tree(t.Spans) {
		span := n.span
		row := spanRow{
			Link:  s.link("/traces/"+url.PathEscape(t.ID), "span", span.ID) + "#details",
			Depth: min(n.depth, maxDepth), Name: span.Name, Who: span.Service, Failed: span.Failed,
			Duration: chart.Millis(span.DurationMs), Offset: chart.Millis(millis(span.Start.Sub(begin))),
			Badges: badges(span), Bar: spanBar(span, begin, whole), Chosen: span.ID == chosen,
		}
		if span.Instance != "" {
			row.Who = span.Instance
		}
		if row.Chosen {
			b.Chosen = details(span, begin)
		}
		b.Rows = append(b.Rows, row)
	}
	return page{Title: "Trace " + t.ID, Section: "Traces", Timeless: true, Shape: t.ID + chosen, Body: b}, nil
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func spanEnd(s telemetry.TraceSpan) time.Time {
	return s.Start.Add(time.Duration(s.DurationMs * float64(time.Millisecond)))
}

type treeNode struct {
	span  telemetry.TraceSpan
	depth int
}

// tree puts spans below their parents, in the order of their start. One whose
// parent is not there is a root. Circles, which a broken client could send,
// end where they began.
func tree(spans []telemetry.TraceSpan) []treeNode {
	spans = spans[:min(len(spans), maxSpans)]
	there := map[string]bool{}
	for _, s := range spans {
		there[s.ID] = true
	}
	children := map[string][]int{}
	for i, s := range spans {
		parent := s.Parent
		if !there[parent] || parent == s.ID {
			parent = ""
		}
		children[parent] = append(children[parent], i)
	}
	var out []treeNode
	seen := make([]bool, len(spans))
	var walk func(i, depth int)
	walk = func(i, depth int) {
		if seen[i] {
			return
		}
		seen[i] = true
		out = append(out, treeNode{spans[i], depth})
		for _, c := range children[spans[i].ID] {
			walk(c, depth+1)
		}
	}
	for _, i := range children[""] {
		walk(i, 0)
	}
	for i := range spans { // of a circle
		walk(i, 0)
	}
	return out
}

// number reads a number among attributes, whatever its type.
func attributeNumber(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case int:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

func attributeText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

// waits are the parts of a call's time that are marked, as docs/reference/telemetry.md
// names them.
var waits = []struct {
	attribute, text string
	color           int
}{
	{"meshd.held_ms", "held", 4},
	{"meshd.connect_ms", "connect", 5},
	{"meshd.retried_ms", "retried", 2},
	{"meshd.queued_ms", "queued", 7},
}

// badges say what is worth seeing of a span at once.
func badges(s telemetry.TraceSpan) (out []badge) {
	a := s.Attributes
	add := func(kind, text string) { out = append(out, badge{kind, text}) }
	endpoint := attributeText(a["meshd.endpoint.id"])
	reason := attributeText(a["meshd.retry.reason"])
	count, counted := attributeNumber(a["http.request.resend_count"])
	attempt := endpoint != "" || reason != "" || a["network.peer.address"] != nil && s.Kind == "client"
	if attempt {
		text := "attempt"
		if counted {
			text = fmt.Sprintf("attempt %d", int(count)+1)
		}
		if endpoint != "" {
			text += " → " + endpoint
		}
		add("attempt", text)
	} else if counted && count > 0 {
		add("retry", plural(int(count), "retry", "retries"))
	}
	if reason != "" {
		add("retry", "again: "+reason)
	}
	if hedge, ok := a["meshd.hedge"].(bool); ok && hedge {
		add("retry", "hedge")
	}
	for _, w := range waits {
		if ms, ok := attributeNumber(a[w.attribute]); ok && ms > 0 {
			kind := "wait"
			if w.text == "held" {
				kind = "hold"
			}
			add(kind, w.text+" "+chart.Millis(ms))
		}
	}
	if text := attributeText(a["meshd.refusal"]); text != "" {
		add("failed", "refused: "+text)
	}
	if s.Failed {
		text := s.Message
		for _, name := range []string{"error.type", "http.response.status_code", "rpc.response.status_code"} {
			if text == "" {
				text = attributeText(a[name])
			}
		}
		if text == "" {
			text = "failed"
		}
		add("failed", text)
	}
	return out
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// spanBar is a span's place in the whole, with its waits at its beginning, in
// the order in which they come, and its events as lines.
func spanBar(s telemetry.TraceSpan, begin time.Time, whole time.Duration) template.HTML {
	const width = 1000.0
	scale := width / max(millis(whole), 1e-6)
	x, w := millis(s.Start.Sub(begin))*scale, max(s.DurationMs*scale, 2)
	color := "var(--chart-1)"
	switch {
	case s.Failed:
		color = "var(--bad)"
	case s.Kind == "server" || s.Kind == "consumer":
		color = "var(--chart-3)"
	}
	var out strings.Builder
	fmt.Fprintf(&out, `<svg class="bar" viewBox="0 0 %.0f 16" preserveAspectRatio="none" aria-hidden="true"><rect x="%.1f" y="3" width="%.1f" height="10" fill="%s" />`, width, min(x, width-2), w, color)
	at := x
	for _, wait := range waits {
		if ms, ok := attributeNumber(s.Attributes[wait.attribute]); ok && ms > 0 {
			part := min(ms*scale, max(x+w-at, 0))
			fmt.Fprintf(&out, `<rect x="%.1f" y="3" width="%.1f" height="10" fill="var(--chart-%d)" />`, at, part, wait.color)
			at += part
		}
	}
	for _, e := range s.Events[:min(len(s.Events), 50)] {
		fmt.Fprintf(&out, `<path d="M%.1f,0v16" stroke="var(--text)" stroke-width="1.5" vector-effect="non-scaling-stroke" />`, millis(e.Time.Sub(begin))*scale)
	}
	out.WriteString("</svg>")
	return template.HTML(out.String())
}

func details(s telemetry.TraceSpan, begin time.Time) *spanDetails {
	out := &spanDetails{Name: s.Name}
	for _, name := range slices.Sorted(maps.Keys(s.Attributes)) {
		p := pair{name, attributeText(s.Attributes[name])}
		if strings.HasPrefix(name, "meshd.") || name == "http.request.resend_count" {
			out.Decisions = append(out.Decisions, p)
		} else {
			out.Attributes = append(out.Attributes, p)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Resource)) {
		out.Attributes = append(out.Attributes, pair{name, attributeText(s.Resource[name])})
	}
	out.Attributes = append([]pair{{"kind", s.Kind}, {"service", s.Namespace + "/" + s.Service}, {"instance", s.Instance}, {"span", s.ID}, {"parent", s.Parent}}, out.Attributes...)
	out.Attributes = slices.DeleteFunc(out.Attributes, func(p pair) bool { return p.Value == "" })
	for _, e := range s.Events {
		var text []string
		for _, name := range slices.Sorted(maps.Keys(e.Attributes)) {
			text = append(text, name+" "+attributeText(e.Attributes[name]))
		}
		out.Events = append(out.Events, pair{chart.Millis(millis(e.Time.Sub(begin))) + " " + e.Name, strings.Join(text, ", ")})
	}
	return out
}

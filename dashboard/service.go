package dashboard

import (
	"bytes"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshd/meshd/dashboard/chart"
	"github.com/meshd/meshd/telemetry"
)

// serviceBody is the view of one service as it scales.
type serviceBody struct {
	tabs
	Instance string // whose figures alone are shown, if any
	All      string // leads to those of all
	Figures  []number
	Scaling  scaling
	Wide     template.HTML // the same picture for two widths
	Narrow   template.HTML
	Scatter  template.HTML
	Knee     string
	Events   []eventRow
	Rows     []sampleRow
	Over     string
}

// tabs lead from one view of a service to the others.
type tabs struct {
	telemetry.Service
	Tabs []link
}

func newTabs(id telemetry.Service, s state, current string) tabs {
	path := servicePath(id)
	return tabs{id, []link{
		{"Scale", s.link(path), current == "scale"},
		{"Instances", s.link(path + "/instances"), current == "instances"},
		{"Traces", s.link("/traces", "service", id.String(), "kind", string(telemetry.TraceSlow)), false},
	}}
}

// eventRow is an event in words.
type eventRow struct {
	ID, Time, Glyph, Kind, Text string
	Instance, Link              string // whose it is, and its view
}

// sampleRow is a step in numbers.
type sampleRow struct {
	Time, RPS, Success, P50, P90, P99, InFlight, Instances, Mean string
	Parts                                                        []string
	Trace                                                        string // where it leads
}

// maxEvents and maxDots bound what is drawn; the newest are kept of events,
// and an even choice of dots.
const (
	maxEvents = 100
	maxDots   = 1500
)

func (d *Dashboard) service(r *http.Request, s state) (page, error) {
	now, id, err := d.find(r)
	if err != nil {
		return page{}, err
	}
	b := serviceBody{tabs: newTabs(id, s, "scale"), Instance: r.URL.Query().Get("instance"), All: s.link(servicePath(id)), Over: s.over()}
	b.Scaling = d.scaling(now, s, "")
	if b.Instance == "" && !s.fixed {
		b.Figures = d.figures(now)
	}
	whose := telemetry.Selection{Instance: b.Instance}
	samples := d.cfg.Reader.Series(id, whose, s.span(windows[s.window].line))
	if samples == nil && b.Instance != "" {
		return page{}, missing(fmt.Sprintf("Nothing is known of an instance %q of %s.", b.Instance, id))
	}
	events := d.cfg.Reader.Events(id, s.span(0))
	if b.Instance != "" {
		events = slices.DeleteFunc(slices.Clone(events), func(e telemetry.Event) bool { return e.Instance != "" && e.Instance != b.Instance })
	}
	events = events[max(0, len(events)-maxEvents):]
	b.Events = eventRows(events, func(instance string) string { return s.link(servicePath(id), "instance", instance) })
	figure := scaleFigure(id, b.Instance, s, samples, events)
	if b.Wide, err = inline(figure, 860, 860); err != nil {
		return page{}, err
	}
	if b.Narrow, err = inline(figure, 380, 860); err != nil {
		return page{}, err
	}
	dots := d.cfg.Reader.Scatter(id, s.span(0))
	if b.Instance != "" {
		dots = slices.DeleteFunc(slices.Clone(dots), func(d telemetry.Dot) bool { return d.Instance != b.Instance })
	}
	fitted := fitDots(dots)
	if b.Scatter, err = inline(scatterFigure(id, s, dots, fitted), 400, 300); err != nil {
		return page{}, err
	}
	if fitted.ok {
		b.Knee = fmt.Sprintf("The knee is at about %s calls/s of an instance: beyond it, p99 rises faster than load.", chart.Number(fitted.knee))
	}
	rows := d.cfg.Reader.Series(id, whose, s.span(windows[s.window].row))
	for _, sample := range slices.Backward(rows) {
		b.Rows = append(b.Rows, row(sample))
	}
	return page{Title: id.String(), Section: "Services", Shape: id.String(), Body: b}, nil
}

func inline(f chart.Figure, width, height int) (template.HTML, error) {
	f.Width, f.Height = width, height
	var out bytes.Buffer
	err := f.Inline(&out)
	return template.HTML(out.String()), err
}

// parts are what the mean latency is made of, from below: what is the
// service's own at the bottom, then what is nearer to its callers.
var parts = []struct {
	Name  string
	color int
	value func(telemetry.Sample) float64
}{
	{"own", 1, func(s telemetry.Sample) float64 { return s.OwnMs }},
	{"downstream", 3, func(s telemetry.Sample) float64 { return s.DownstreamMs }},
	{"queue", 7, func(s telemetry.Sample) float64 { return s.QueuedMs }},
	{"network", 6, func(s telemetry.Sample) float64 { return s.NetworkMs }},
	{"connect", 5, func(s telemetry.Sample) float64 { return s.ConnectMs }},
	{"retried", 2, func(s telemetry.Sample) float64 { return s.RetriedMs }},
	{"held", 4, func(s telemetry.Sample) float64 { return s.HeldMs }},
}

func row(s telemetry.Sample) sampleRow {
	out := sampleRow{
		Time: s.Time.UTC().Format(time.TimeOnly), RPS: chart.Number(s.RPS), InFlight: chart.Number(s.InFlight),
		Instances: strconv.Itoa(s.Instances), Success: "–", P50: "–", P90: "–", P99: "–", Mean: "–",
	}
	if s.Trace != "" {
		out.Trace = "/traces/" + s.Trace
	}
	quiet := s.RPS == 0
	if !quiet {
		out.Success, out.Mean = percent(s.Success), chart.Millis(s.MeanMs)
		out.P50, out.P90, out.P99 = chart.Millis(s.P50Ms), chart.Millis(s.P90Ms), chart.Millis(s.P99Ms)
	}
	for _, p := range parts {
		text := "–"
		if !quiet {
			text = chart.Millis(p.value(s))
		}
		out.Parts = append(out.Parts, text)
	}
	return out
}

// glyphs are the signs of events in pictures and lists.
var glyphs = map[telemetry.EventKind]struct {
	sign, text string
	color      int
}{
	telemetry.EventScaled:        {"▲", "scaled", 3},
	telemetry.EventJoined:        {"+", "joined", 3},
	telemetry.EventLeft:          {"−", "left", 6},
	telemetry.EventBreakerOpen:   {"○", "breaker open", 2},
	telemetry.EventBreakerClosed: {"●", "breaker closed", 6},
	telemetry.EventEjected:       {"✕", "ejected", 2},
	telemetry.EventRejected:      {"!", "rejected", 2},
	telemetry.EventDeployed:      {"◆", "deployed", 4},
}

func eventRows(events []telemetry.Event, link func(instance string) string) []eventRow {
	var out []eventRow
	ids := eventIDs(events)
	for i, e := range slices.Backward(events) {
		g := glyphs[e.Kind]
		if g.text == "" {
			g.sign, g.text = "·", string(e.Kind)
		}
		row := eventRow{ID: ids[i], Time: e.Time.UTC().Format(time.TimeOnly), Glyph: g.sign, Kind: g.text, Text: e.Text, Instance: e.Instance}
		if e.Instance != "" {
			row.Link = link(e.Instance)
			if rest, ok := strings.CutPrefix(e.Text, e.Instance); ok { // it is named there
				row.Text = strings.TrimLeft(rest, ": ")
			}
		}
		out = append(out, row)
	}
	return out
}

// eventIDs name events for links: by their time, so that the names stay as time
// passes.
func eventIDs(events []telemetry.Event) []string {
	var out []string
	same, last := 0, int64(0)
	for _, e := range events {
		at := e.Time.UnixMilli()
		if same++; at != last {
			same, last = 0, at
		}
		out = append(out, fmt.Sprintf("event-%d-%d", at, same))
	}
	return out
}

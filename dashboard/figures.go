package dashboard

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/meshd/meshd/dashboard/chart"
	"github.com/meshd/meshd/telemetry"
)

// scaleFigure is latency, success, load, what is in flight, instances and the
// parts of the mean latency, on one axis, with what happened marked. Points of
// p99 lead to a trace where one is kept.
func scaleFigure(id telemetry.Service, instance string, s state, samples []telemetry.Sample, events []telemetry.Event) chart.Figure {
	step := windows[s.window].line
	at := make([]float64, len(samples))     // where the step began
	middle := make([]float64, len(samples)) // of what is measured over it
	p99 := chart.Series{Name: "p99", Color: 2}
	for i, sample := range samples {
		at[i] = sample.Time.Sub(s.to).Seconds()
		middle[i] = min(at[i]+step.Seconds()/2, 0)
		link, title := "", ""
		if sample.Trace != "" {
			link = "/traces/" + sample.Trace
			title = fmt.Sprintf("p99 %s at %s: trace of such a call", chart.Millis(sample.P99Ms), sample.Time.UTC().Format(time.TimeOnly))
		}
		p99.Links, p99.Titles = append(p99.Links, link), append(p99.Titles, title)
	}
	line := func(name string, color int, calls bool, value func(telemetry.Sample) float64) chart.Series {
		return chart.Series{Name: name, Color: color, X: middle, Y: values(samples, calls, value)}
	}
	p99.X, p99.Y = middle, values(samples, true, func(s telemetry.Sample) float64 { return s.P99Ms })
	success := line("", 3, true, func(s telemetry.Sample) float64 { return 100 * s.Success })
	instances := chart.Series{Kind: chart.Step, Color: 3, X: at, Y: values(samples, false, func(s telemetry.Sample) float64 { return float64(s.Instances) })}
	failed := func(s telemetry.Sample) float64 { return s.RPS * (1 - s.Success) }
	of := id.String()
	panels := []chart.Panel{
		{Title: "Latency", Weight: 2, Y: chart.Axis{Format: chart.Millis}, Series: []chart.Series{
			line("p50", 1, true, func(s telemetry.Sample) float64 { return s.P50Ms }),
			line("p90", 5, true, func(s telemetry.Sample) float64 { return s.P90Ms }), p99}},
		{Title: "Success", Weight: 0.65, Y: successAxis(success.Y), Series: []chart.Series{success}},
		{Title: "Calls/s", Series: []chart.Series{
			line("offered", 1, false, func(s telemetry.Sample) float64 { return s.RPS }), line("failed", 2, false, failed),
			line("retries", 4, false, func(s telemetry.Sample) float64 { return s.Retries }),
			line("shed", 5, false, func(s telemetry.Sample) float64 { return s.Shed })}},
		{Title: "In flight", Weight: 0.8, Series: []chart.Series{
			line("calls", 1, false, func(s telemetry.Sample) float64 { return s.InFlight }),
			line("held", 4, false, func(s telemetry.Sample) float64 { return s.Held })}},
		{Title: "Instances", Weight: 0.65, Y: chart.Axis{Whole: true}, Series: []chart.Series{instances}},
	}
	if instance != "" { // its own sidecar knows nothing of the number of others
		panels = panels[:4]
		of = "instance " + instance + " of " + of
	}
	share := chart.Panel{Title: "Mean latency by part", Weight: 1.4, Y: chart.Axis{Format: chart.Millis}}
	for _, p := range parts {
		a := line(p.Name, p.color, true, p.value)
		a.Kind = chart.Area
		share.Series = append(share.Series, a)
	}
	f := chart.Figure{
		Title:       "Latency as " + of + " scales",
		Description: "latency, success, calls a second, calls in flight, instances and the parts of mean latency " + s.over() + "; the table below has the numbers",
		X:           s.axis(),
		Panels:      append(panels, share),
	}
	ids := eventIDs(events)
	for i, e := range events {
		g := glyphs[e.Kind]
		f.Marks = append(f.Marks, chart.Mark{
			X: e.Time.Sub(s.to).Seconds(), Glyph: g.sign, Color: g.color, Link: "#" + ids[i],
			Title: e.Time.UTC().Format(time.TimeOnly) + " " + g.text + ": " + named(e),
		})
	}
	return f
}

// named is an event's text, with the instance that it is of.
func named(e telemetry.Event) string {
	if e.Instance == "" || strings.Contains(e.Text, e.Instance) {
		return e.Text
	}
	return e.Instance + " " + e.Text
}

// axis is the time of a picture, in seconds from the state's end.
func (s state) axis() chart.Axis {
	a := chart.Axis{Min: -s.length().Seconds(), Max: 0, Time: true, Format: chart.Ago}
	if s.fixed {
		a.Format = func(v float64) string {
			return s.to.Add(time.Duration(v * float64(time.Second))).UTC().Format(time.TimeOnly)
		}
	}
	return a
}

// successAxis ends at 100 % and begins where something is to be seen.
func successAxis(percents []float64) chart.Axis {
	least := 100.0
	for _, v := range percents {
		if !math.IsNaN(v) {
			least = min(least, v)
		}
	}
	a := chart.Axis{Min: 0, Max: 100, Format: func(v float64) string { return chart.Number(v) + " %" }}
	for _, from := range []float64{99, 98, 95, 90, 80, 50} {
		if least >= from {
			a.Min = from
			break
		}
	}
	return a
}

// scatterFigure is p99 against the load of an instance, a dot for each 10 s of
// each, in its colour, with what is fitted to them.
func scatterFigure(id telemetry.Service, s state, dots []telemetry.Dot, f fit) chart.Figure {
	every := (len(dots) + maxDots - 1) / maxDots
	var names []string
	byInstance := map[string]*chart.Series{}
	for i, d := range dots {
		if i%max(every, 1) != 0 {
			continue
		}
		one := byInstance[d.Instance]
		if one == nil {
			one = &chart.Series{Kind: chart.Dots}
			byInstance[d.Instance] = one
			names = append(names, d.Instance)
		}
		one.X, one.Y = append(one.X, d.RPS), append(one.Y, d.P99Ms)
		one.Titles = append(one.Titles, fmt.Sprintf("%s at %s: %s calls/s, p99 %s", d.Instance, d.Time.UTC().Format(time.TimeOnly), chart.Number(d.RPS), chart.Millis(d.P99Ms)))
	}
	slices.Sort(names)
	p := chart.Panel{Title: "p99 against load", Y: chart.Axis{Format: chart.Millis}}
	greatest := 0.0
	for i, name := range names {
		one := byInstance[name]
		one.Color = 1 + i%7
		greatest = max(greatest, slices.Max(one.X))
		p.Series = append(p.Series, *one)
	}
	out := chart.Figure{
		Title:       "p99 against load of each instance of " + id.String(),
		Description: "a dot for 10 s of an instance, " + s.over(),
		X:           chart.Axis{Label: "calls/s of an instance", Min: 0, Max: max(greatest*1.05, 1)},
	}
	if len(f.load) > 0 {
		p.Series = append(p.Series, chart.Series{Name: "trend", X: f.load, Y: f.p99, Color: 6})
	}
	if f.ok {
		out.Marks = []chart.Mark{{X: f.knee, Glyph: "knee", Title: "the knee: " + chart.Number(f.knee) + " calls/s", Color: 2}}
	}
	out.Panels = []chart.Panel{p}
	return out
}

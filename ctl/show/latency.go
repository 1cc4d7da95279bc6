package show

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/meshd/meshd/ctl/api"
)

// A Scale is what the scale view of a service shows: latency and the number of
// instances on one axis of time.
type Scale struct {
	Service api.ServiceName
	Samples []api.Sample // oldest first
	Events  []api.Event  // oldest first
	From    time.Time
	Window  time.Duration
	Step    time.Duration // between two samples
}

// A Size is the room that there is for a picture, and whether it has colours.
type Size struct {
	Width, Height int
	Colour        bool
	Zone          *time.Location // of times of day
}

// The parts of the picture, in columns and rows.
const (
	gutter    = 10 // to the left of the plot: numbers, and the axis
	leastPlot = 20
	instRows  = 3
	loadRows  = 2
	maxEvents = 5
)

// PlotWidth is how many cells a picture of this size has for its plot: there are
// two samples in one.
func (s Size) PlotWidth() int { return max(s.Width-gutter, leastPlot) }

// Latency draws p99 and p50, instances and load, and marks what has happened.
func Latency(v Scale, size Size) []string {
	lines := []string{headline(v), ""}
	if len(v.Samples) == 0 {
		return append(lines[:1], "no calls in the last "+ShortDuration(v.Window))
	}
	events := append(eventLines(v, size), worst(v, size)...)
	// Two lines of the head, three titles, the axis and what is below it.
	high := min(max(size.Height-2-3-instRows-loadRows-3-len(events), 4), 16)
	lines = append(lines, latencyPanel(v, size, high)...)
	lines = append(lines, barPanel(v, size, "instances", instRows, func(s api.Sample) float64 { return float64(s.Instances) })...)
	lines = append(lines, barPanel(v, size, "calls a second", loadRows, func(s api.Sample) float64 { return s.RPS })...)
	return append(append(lines, axis(v, size)...), events...)
}

// headline is the newest sample in words.
func headline(v Scale) string {
	name := Name(v.Service.Namespace, v.Service.Name)
	if len(v.Samples) == 0 {
		return name
	}
	s := v.Samples[len(v.Samples)-1]
	m := api.ServiceMetrics{RPS: s.RPS, Success: s.Success}
	line := fmt.Sprintf("%s: p50 %s, p99 %s, %s calls/s, success %s, %s", name,
		ms(m, s.P50Ms), ms(m, s.P99Ms), number(s.RPS), success(m), countOf(s.Instances, "instance"))
	if of := partsOf(s); of != "" {
		line += "; " + of
	}
	return line
}

// partsOf names what a mean call's time went to, but for less than a tenth.
func partsOf(s api.Sample) string {
	values := map[string]float64{
		"held": s.HeldMs, "connect": s.ConnectMs, "retried": s.RetriedMs, "network": s.NetworkMs,
		"queued": s.QueuedMs, "downstream": s.DownstreamMs, "own": s.OwnMs,
	}
	var of []string
	for _, name := range partOrder {
		if v := values[name]; s.MeanMs > 0 && v >= 0.1*s.MeanMs {
			of = append(of, fmt.Sprintf("%s %.0f%%", name, 100*v/s.MeanMs))
		}
	}
	if len(of) == 0 {
		return ""
	}
	return "mean " + Milliseconds(s.MeanMs) + ": " + strings.Join(of, ", ")
}

func countOf(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// dot is where a time is on the plot, in dots.
func (v Scale) dot(t time.Time, width int) int {
	return int(float64(t.Sub(v.From)) / float64(v.Window) * float64(2*width))
}

func latencyPanel(v Scale, size Size, height int) []string {
	width := size.PlotWidth()
	sc := latencyScale(v.Samples)
	c := newCanvas(width, height)
	for _, curve := range []struct {
		of   func(api.Sample) float64
		with ink
	}{
		{func(s api.Sample) float64 { return s.P99Ms }, high},
		{func(s api.Sample) float64 { return s.P50Ms }, low},
	} {
		last, lastY := -1, 0
		for i, s := range v.Samples {
			if s.RPS == 0 {
				last = -1 // nothing was measured
				continue
			}
			x, y := v.dot(s.Time, width), sc.dot(curve.of(s), 4*height)
			if last >= 0 && s.Time.Sub(v.Samples[i-1].Time) <= 2*v.Step {
				c.line(last, lastY, x, y, curve.with)
			} else {
				c.set(x, y, curve.with)
			}
			last, lastY = x, y
		}
	}
	title := paint("p99", high, size.Colour) + " above " + paint("p50", low, size.Colour)
	if sc.log {
		title += ", on a logarithmic scale"
	}
	return append([]string{title}, labelled(c.rows(size.Colour), sc.labels(height))...)
}

// barPanel is a panel of columns from 0 up.
func barPanel(v Scale, size Size, title string, height int, of func(api.Sample) float64) []string {
	width := size.PlotWidth()
	values := make([]float64, width)
	top := 0.0
	for i, s := range v.Samples {
		from, to := v.dot(s.Time, width)/2, v.dot(s.Time.Add(v.Step), width)/2
		if i+1 < len(v.Samples) && v.Samples[i+1].Time.Sub(s.Time) <= 2*v.Step {
			to = v.dot(v.Samples[i+1].Time, width) / 2
		}
		for x := max(from, 0); x <= min(max(to-1, from), width-1); x++ {
			values[x] = max(values[x], of(s))
		}
		top = max(top, of(s))
	}
	labels := make([]string, height)
	if top == math.Trunc(top) && top > 0 {
		labels[0] = strconv.FormatFloat(top, 'f', 0, 64)
	} else if top > 0 {
		labels[0] = number(top)
	}
	labels[height-1] = "0"
	return append([]string{title}, labelled(bars(values, top, height), labels)...)
}

// labelled puts the gutter before rows.
func labelled(rows, labels []string) []string {
	for i := range rows {
		tick := "│"
		if labels[i] != "" {
			tick = "┤"
		}
		rows[i] = strings.TrimRight(padLeft(labels[i], gutter-2)+" "+tick+rows[i], " ")
	}
	return rows
}

// axis are the line of time, and below it when that is and what happened.
func axis(v Scale, size Size) []string {
	width := size.PlotWidth()
	marks := []rune(strings.Repeat(" ", width))
	line := []rune(strings.Repeat("─", width))
	for _, e := range v.Events {
		if x := v.dot(e.Time, width) / 2; x >= 0 && x < width {
			line[x] = '┴'
			marks[x] = mark(e.Kind)
		}
	}
	from, to := "-"+ShortDuration(v.Window), "now"
	blank := strings.Repeat(" ", gutter-1)
	out := []string{blank + "└" + string(line)}
	if m := strings.TrimRight(string(marks), " "); m != "" {
		out = append(out, blank+" "+m)
	}
	return append(out, blank+" "+from+strings.Repeat(" ", max(width-len(from)-len(to), 1))+to)
}

// marks are the signs of events, the same as on the page.
var marks = map[string]rune{
	"scaled": '▲', "instance-joined": '+', "instance-left": '−', "breaker-open": '○', "breaker-closed": '●',
	"ejected": '✕', "rejected": '!', "deployed": '◆',
}

func mark(kind string) rune {
	if r, ok := marks[kind]; ok {
		return r
	}
	return '?'
}

// eventLines are the newest events.
func eventLines(v Scale, size Size) (out []string) {
	of := v.Events
	if n := len(of) - maxEvents; n > 0 {
		out = append(out, "… and "+strconv.Itoa(n)+" before")
		of = of[n:]
	}
	for _, e := range of {
		what := e.Text
		if what == "" {
			what = e.Kind
		}
		if e.Instance != "" && !strings.Contains(what, e.Instance) {
			what += " (" + e.Instance + ")"
		}
		out = append(out, string(mark(e.Kind))+" "+e.Time.In(size.Zone).Format(time.TimeOnly)+" "+Printable(what))
	}
	return out
}

// worst leads from the highest p99 that has a kept call behind it to that.
func worst(v Scale, size Size) []string {
	var at *api.Sample
	for i := range v.Samples {
		if s := &v.Samples[i]; s.Trace != "" && (at == nil || s.P99Ms > at.P99Ms) {
			at = s
		}
	}
	if at == nil {
		return nil
	}
	return []string{fmt.Sprintf("p99 %s at %s: meshctl trace %s", Milliseconds(at.P99Ms), at.Time.In(size.Zone).Format(time.TimeOnly), Printable(at.Trace))}
}

// A valueScale says where values are on an axis from bottom to top.
type valueScale struct {
	bottom, top float64
	log         bool
}

// latencyScale holds all p50 and p99. Where they are a factor of 20 apart it is
// logarithmic; else it begins at 0.
func latencyScale(samples []api.Sample) valueScale {
	least, most := math.Inf(1), 0.0
	for _, s := range samples {
		if s.RPS == 0 {
			continue
		}
		most = max(most, s.P99Ms, s.P50Ms)
		if s.P50Ms > 0 {
			least = min(least, s.P50Ms)
		}
	}
	if most == 0 {
		return valueScale{top: 1}
	}
	top := roundUp(most)
	if least >= most/20 {
		return valueScale{top: top}
	}
	return valueScale{bottom: roundDown(least), top: top, log: true}
}

// roundUp is the next of 1, 2 and 5 times a power of ten.
func roundUp(v float64) float64 {
	p := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{1, 2, 5} {
		if v <= f*p*1.0001 {
			return f * p
		}
	}
	return 10 * p
}

// roundDown is the one before it.
func roundDown(v float64) float64 {
	p := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{5, 2} {
		if v >= f*p*0.9999 {
			return f * p
		}
	}
	return p
}

// dot is the row of a value, of so many from the top.
func (s valueScale) dot(v float64, rows int) int {
	at := (v - s.bottom) / (s.top - s.bottom)
	if s.log {
		at = math.Log(max(v, s.bottom)/s.bottom) / math.Log(s.top/s.bottom)
	}
	return min(max(int(math.Round((1-at)*float64(rows-1))), 0), rows-1)
}

// labels are what stands before the rows.
func (s valueScale) labels(height int) []string {
	out := make([]string, height)
	ticks := []float64{s.top, s.bottom}
	if s.log {
		for p := math.Pow(10, math.Ceil(math.Log10(s.bottom))); p < s.top; p *= 10 {
			ticks = append(ticks, p)
		}
	} else {
		ticks = append(ticks, s.top/2)
	}
	for _, t := range ticks {
		if r := s.dot(t, 4*height) / 4; out[r] == "" {
			out[r] = tickLabel(t)
		}
	}
	return out
}

func tickLabel(v float64) string {
	if v == 0 {
		return "0"
	}
	unit := "ms"
	if v >= 1000 {
		v, unit = v/1000, "s"
	}
	return strconv.FormatFloat(v, 'g', 3, 64) + unit
}

// ShortDuration leaves out what is zero: "5m", not "5m0s".
func ShortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

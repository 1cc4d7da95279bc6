package dashboard

import (
	"bytes"
	"fmt"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/meshd/meshd/dashboard/chart"
	"github.com/meshd/meshd/telemetry"
)

// maxPoints is the most points of a line.
const maxPoints = 300

// charts are the pictures of a service, by file name.
var charts = map[string]func(service string, s series) chart.Figure{
	"latency.svg":    latency,
	"throughput.svg": throughput,
	"instances.svg":  instances,
}

// series is a service's history as columns over x, seconds before now.
type series struct {
	span                              time.Duration
	x, p50, p99, rps, failed, retries []float64
	instances, inFlight               []float64
}

// columns thins points out to at most maxPoints, all in stretches of equal
// length that keep their place as time passes: rates are averaged, and the
// others keep their worst second, so that no peak is lost. A stretch without
// calls has no latency.
func columns(points []telemetry.Point, now time.Time, span time.Duration) series {
	s := series{span: span}
	stride := int64((span/time.Second + maxPoints - 1) / maxPoints)
	var n float64
	last := int64(math.MinInt64)
	for _, p := range points {
		if at := p.Time.Unix() / stride; at != last {
			last, n = at, 0
			s.x = append(s.x, time.Unix(at*stride, 0).Sub(now).Seconds())
			for _, column := range s.all() {
				*column = append(*column, 0)
			}
			s.p50[len(s.p50)-1], s.p99[len(s.p99)-1] = math.NaN(), math.NaN()
		}
		i := len(s.x) - 1
		mean := func(column []float64, v float64) { column[i] += (v - column[i]) / (n + 1) }
		mean(s.rps, p.RPS)
		mean(s.failed, p.RPS*(1-p.Success))
		mean(s.retries, p.Retries)
		s.instances[i] = max(s.instances[i], float64(p.Instances))
		s.inFlight[i] = max(s.inFlight[i], p.InFlight)
		if p.RPS > 0 {
			s.p50[i] = worst(s.p50[i], p.P50)
			s.p99[i] = worst(s.p99[i], p.P99)
		}
		n++
	}
	return s
}

func (s *series) all() []*[]float64 {
	return []*[]float64{&s.p50, &s.p99, &s.rps, &s.failed, &s.retries, &s.instances, &s.inFlight}
}

func worst(ms float64, d time.Duration) float64 {
	v := float64(d) / float64(time.Millisecond)
	if math.IsNaN(ms) {
		return v
	}
	return max(ms, v)
}

func (s series) figure(title, description string, panels ...chart.Panel) chart.Figure {
	return chart.Figure{
		Title: title, Description: description + fmt.Sprintf(" over the last %s", textOf(s.span)),
		X:      chart.Axis{Min: -s.span.Seconds(), Max: 0, Time: true, Format: chart.Ago},
		Panels: panels,
	}
}

func (s series) line(name string, color int, y []float64) chart.Series {
	return chart.Series{Name: name, X: s.x, Y: y, Color: color}
}

func (s series) step(name string, color int, y []float64) chart.Series {
	return chart.Series{Name: name, Kind: chart.Step, X: s.x, Y: y, Color: color}
}

func latency(service string, s series) chart.Figure {
	return s.figure("Latency", "p50 and p99 of calls to "+service+" above its number of instances",
		chart.Panel{Weight: 2, Y: chart.Axis{Format: chart.Millis},
			Series: []chart.Series{s.line("p50", 1, s.p50), s.line("p99", 2, s.p99)}},
		chart.Panel{Weight: 0.6, Y: chart.Axis{Whole: true},
			Series: []chart.Series{s.step("instances", 3, s.instances)}})
}

func throughput(service string, s series) chart.Figure {
	return s.figure("Calls per second", "calls, failed calls and retries a second to "+service,
		chart.Panel{Series: []chart.Series{
			s.line("calls", 1, s.rps), s.line("failed", 2, s.failed), s.line("retries", 4, s.retries)}})
}

func instances(service string, s series) chart.Figure {
	return s.figure("Instances", "instances of "+service+" and calls in flight",
		chart.Panel{Weight: 1, Y: chart.Axis{Whole: true}, Series: []chart.Series{s.step("instances", 3, s.instances)}},
		chart.Panel{Weight: 1, Series: []chart.Series{s.line("in flight", 1, s.inFlight)}})
}

// chartKey names a picture.
type chartKey struct {
	service telemetry.Service
	chart   string
	window  int
	dark    bool
}

// chartCache keeps the pictures of one second, so that a picture is drawn once
// a second however many look at it. Drawing is serialised: it must not take
// the cores from those who measure.
type chartCache struct {
	mu      sync.Mutex
	version int64 // of the store, that they were drawn of
	drawn   map[chartKey][]byte
}

func (d *Dashboard) serveChart(w http.ResponseWriter, r *http.Request) {
	key := chartKey{
		service: telemetry.Service{Namespace: r.PathValue("namespace"), Name: r.PathValue("service")},
		chart:   r.PathValue("chart"),
		window:  windowOf(r),
		dark:    r.URL.Query().Get("theme") == "dark",
	}
	figure, ok := charts[key.chart]
	if !ok {
		http.Error(w, fmt.Sprintf("no chart %q: there are latency.svg, throughput.svg and instances.svg", key.chart), http.StatusNotFound)
		return
	}
	svg, err := d.draw(key, figure)
	switch {
	case err != nil:
		d.cfg.Logger.Error("dashboard: drawing", "chart", key.chart, "service", key.service.String(), "error", err,
			"next", "report it with the error; other pictures work")
		http.Error(w, err.Error(), http.StatusInternalServerError)
	case svg == nil:
		http.Error(w, fmt.Sprintf("no service %q: nobody has called it and it has no instance", key.service), http.StatusNotFound)
	default:
		h := w.Header()
		h.Set("Content-Type", "image/svg+xml")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		w.Write(svg)
	}
}

// draw returns the picture, from the cache if it was drawn this second; nil
// for a service that is not known.
func (d *Dashboard) draw(key chartKey, figure func(string, series) chart.Figure) ([]byte, error) {
	c := &d.charts
	c.mu.Lock()
	defer c.mu.Unlock()
	now := d.cfg.Store.Now()
	if version := d.cfg.Store.Version(); version != c.version || c.drawn == nil {
		c.version, c.drawn = version, map[chartKey][]byte{}
	}
	if svg, ok := c.drawn[key]; ok {
		return svg, nil
	}
	span := windows[key.window].Span
	points := d.cfg.Store.History(key.service, now.Add(-span))
	if points == nil {
		return nil, nil
	}
	var svg bytes.Buffer
	if err := figure(key.service.String(), columns(points, now.Truncate(time.Second), span)).SVG(&svg, themeOf(key.dark)); err != nil {
		return nil, err
	}
	c.drawn[key] = svg.Bytes()
	return svg.Bytes(), nil
}

func themeOf(dark bool) chart.Theme {
	if dark {
		return chart.Dark()
	}
	return chart.Light()
}

// textOf is a window's length to people.
func textOf(d time.Duration) string {
	for _, w := range windows {
		if w.Span == d {
			return w.Text
		}
	}
	return d.String()
}

package dashboard

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"time"

	"github.com/meshd/meshd/dashboard/chart"
	"github.com/meshd/meshd/telemetry"
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
	//go:embed page.js
	pageJS string

	page = template.Must(template.New("page").Parse(pageHTML))

	// policy lets the page run its own script and style and nothing else.
	policy = "default-src 'none'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; " +
		"style-src " + hashOf(pageCSS) + "; script-src " + hashOf(pageJS)
)

// maxReplicas is the most instances that the buttons ask for.
const maxReplicas = 1000

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// view is what page.html shows.
type view struct {
	CSS      template.CSS
	JS       template.JS
	Window   string
	Windows  []windowLink
	Services []card
	Scale    bool
	Problem  string
	Overflow string
	Now      string
}

type windowLink struct {
	Text, Param string
	Current     bool
}

// card is one service.
type card struct {
	Namespace, Name string
	Charts          []chartView
	Figures         []number
	Instances       string
	Fewer, More     int // what the buttons ask for; Fewer is negative when there are none to take away
	Endpoints       []endpointRow
}

type chartView struct{ File, Alt string }

// number is one figure of a card. Key names it for the script.
type number struct {
	Key, Text, Label, Value string
	Bad                     bool
}

type endpointRow struct {
	ID, Address, RPS string
	Share            int // percent of the busiest
}

func (d *Dashboard) servePage(w http.ResponseWriter, r *http.Request) { d.renderPage(w, r, 200, "") }

func (d *Dashboard) renderPage(w http.ResponseWriter, r *http.Request, status int, problem string) {
	current := windowOf(r)
	v := view{
		CSS: template.CSS(pageCSS), JS: template.JS(pageJS),
		Window: windowParam(windows[current].Span), Scale: d.cfg.Scale != nil, Problem: problem,
		Now: d.cfg.Store.Now().Format(time.TimeOnly),
	}
	for i, win := range windows {
		v.Windows = append(v.Windows, windowLink{win.Text, windowParam(win.Span), i == current})
	}
	for _, s := range d.cfg.Store.Snapshot(telemetry.DefaultWindow).Services {
		v.Services = append(v.Services, d.card(s, windows[current].Text))
	}
	if st := d.cfg.Store.Stats(); st.Overflow() > 0 {
		v.Overflow = fmt.Sprintf("meshd refused reports because it keeps too much already: %d for further services, %d for further series, %d for further endpoints.",
			st.OverflowServices, st.OverflowSeries, st.OverflowEndpoints)
	}
	var out bytes.Buffer
	if err := page.Execute(&out, v); err != nil {
		d.cfg.Logger.Error("dashboard: page", "error", err)
		http.Error(w, "the page could not be made: "+err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", policy)
	w.WriteHeader(status)
	w.Write(out.Bytes())
}

func (d *Dashboard) card(s telemetry.ServiceSnapshot, window string) card {
	quiet := s.RPS == 0
	ms := func(v float64) string {
		if quiet {
			return "–"
		}
		return chart.Millis(v)
	}
	wanted := s.Instances
	instances := strconv.Itoa(s.Instances)
	if d.cfg.Replicas != nil {
		if n, ok := d.cfg.Replicas(s.Namespace, s.Name); ok {
			wanted = n
			if n != s.Instances {
				instances = fmt.Sprintf("%d of %d", s.Instances, n)
			}
		}
	}
	success := "–"
	if !quiet {
		success = percent(s.Success)
	}
	full := s.Namespace + "/" + s.Name
	c := card{
		Namespace: s.Namespace, Name: s.Name, Instances: instances,
		Fewer: wanted - 1, More: min(wanted+1, maxReplicas),
		Charts: []chartView{
			{"latency.svg", "p50 and p99 latency of " + full + " and its number of instances over the last " + window},
			{"throughput.svg", "calls, failed calls and retries a second to " + full + " over the last " + window},
			{"instances.svg", "instances of " + full + " and calls in flight over the last " + window},
		},
		Figures: []number{
			{"rps", "Calls", "calls per second", chart.Number(s.RPS) + "/s", false},
			{"success", "Success", "share of calls that did not fail", success, !quiet && s.Success < 0.99},
			{"p50", "p50", "median latency", ms(s.P50Ms), false},
			{"p90", "p90", "90th percentile of latency", ms(s.P90Ms), false},
			{"p99", "p99", "99th percentile of latency", ms(s.P99Ms), false},
			{"instances", "Instances", "instances", instances, s.Instances == 0},
			{"inflight", "In flight", "calls in flight", chart.Number(s.InFlight), false},
			{"retries", "Retries", "retries per second", chart.Number(s.RetriesPerSecond) + "/s", s.DeniedPerSecond > 0},
			{"breakers", "Open breakers", "endpoints whose circuit breaker is open, over all callers", chart.Number(s.OpenBreakers), s.OpenBreakers > 0},
		},
	}
	busiest := 0.0
	for _, e := range s.Endpoints {
		busiest = max(busiest, e.RPS)
	}
	for _, e := range s.Endpoints {
		c.Endpoints = append(c.Endpoints, endpointRow{e.ID, e.Address, chart.Number(e.RPS) + "/s", int(100*e.RPS/busiest + 0.5)})
	}
	return c
}

// percent never rounds a failure away: 99.996 % is not 100 %.
func percent(share float64) string {
	p := 100 * share
	text := strconv.FormatFloat(p, 'f', 2, 64)
	switch {
	case share >= 1:
		text = "100"
	case p > 99.99:
		text = "> 99.99"
	}
	return text + " %"
}

func windowText(d time.Duration) string {
	for _, w := range windows {
		if w.Span == d {
			return w.Text
		}
	}
	return d.String()
}

package dashboard

import (
	"cmp"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/meshd/meshd/dashboard/chart"
	"github.com/meshd/meshd/telemetry"
)

// sparkPoints is how many points a small line has.
const sparkPoints = 60

// failing is the success below which a service, or whoever calls it, is shown
// as in trouble.
const failing = 0.99

// servicesBody is the view of all services.
type servicesBody struct {
	Services []serviceRow
}

type serviceRow struct {
	telemetry.Service
	Link    string
	Figures []number
	Scaling scaling
	rank    []float64
}

// scaling is what the buttons of a service show and ask for.
type scaling struct {
	telemetry.Service
	Action      string
	Instances   string // as text: 3, or 3 of 5
	Fewer, More int    // Fewer is negative when there are none to take away
}

// number is one figure. Key names it for the script.
type number struct {
	Key, Text, Label, Value string
	Bad                     bool
	Spark                   template.HTML
	Color                   int // of the spark
}

// maxReplicas is the most instances that the buttons ask for.
const maxReplicas = 1000

func (d *Dashboard) services(_ *http.Request, s state) (page, error) {
	var b servicesBody
	for _, snap := range d.snapshot().Services {
		id := telemetry.Service{Namespace: snap.Namespace, Name: snap.Name}
		row := serviceRow{Service: id, Link: s.link(servicePath(id)), Scaling: d.scaling(snap, s, "all"), rank: trouble(snap)}
		row.Figures = d.figures(snap)
		samples := d.cfg.Reader.Series(id, telemetry.Selection{}, s.span(s.length()/sparkPoints))
		for i, f := range row.Figures {
			if line, ok := sparks[f.Key]; ok {
				row.Figures[i].Spark = template.HTML(chart.Spark(values(samples, line.calls, line.value), line.low))
				row.Figures[i].Color = line.color
			}
		}
		// What has no line is on the service's own page.
		row.Figures = slices.DeleteFunc(row.Figures, func(f number) bool { return f.Spark == "" })
		b.Services = append(b.Services, row)
	}
	slices.SortStableFunc(b.Services, func(a, b serviceRow) int { return slices.Compare(a.rank, b.rank) })
	var shape strings.Builder
	for _, row := range b.Services {
		shape.WriteString(row.Service.String() + " ")
	}
	return page{Title: "Services", Section: "Services", Shape: shape.String(), Body: b}, nil
}

func (d *Dashboard) snapshot() telemetry.Snapshot {
	return d.cfg.Store.Snapshot(telemetry.DefaultWindow)
}

// trouble ranks services, the worst with the least: those that fail, then
// those whose callers have given up on instances of it, then by p99. It is
// coarse, so that rows do not change places all the time.
func trouble(s telemetry.ServiceSnapshot) []float64 {
	failed, open, slow := 0.0, 0.0, 0.0
	if s.RPS > 0 && s.Success < failing {
		failed = 1 + math.Floor((failing-s.Success)*20)
	}
	if s.OpenBreakers > 0 {
		open = 1
	}
	if s.RPS > 0 && s.P99Ms > 0 {
		slow = math.Round(math.Log2(1 + s.P99Ms))
	}
	return []float64{-failed, -open, -slow}
}

// sparks are the figures with a line, by key. low: it need not begin at 0.
var sparks = map[string]struct {
	color int
	low   bool
	value func(telemetry.Sample) float64
	calls bool // there is none where there were no calls
}{
	"rps":       {1, false, func(s telemetry.Sample) float64 { return s.RPS }, false},
	"success":   {3, true, func(s telemetry.Sample) float64 { return s.Success }, true},
	"p50":       {1, false, func(s telemetry.Sample) float64 { return s.P50Ms }, true},
	"p99":       {2, false, func(s telemetry.Sample) float64 { return s.P99Ms }, true},
	"instances": {3, false, func(s telemetry.Sample) float64 { return float64(s.Instances) }, false},
}

// values are a line's.
func values(samples []telemetry.Sample, calls bool, value func(telemetry.Sample) float64) []float64 {
	out := make([]float64, len(samples))
	for i, s := range samples {
		out[i] = value(s)
		if calls && s.RPS == 0 {
			out[i] = math.NaN()
		}
	}
	return out
}

func (d *Dashboard) scaling(s telemetry.ServiceSnapshot, st state, from string) scaling {
	out := scaling{Service: telemetry.Service{Namespace: s.Namespace, Name: s.Name}, Instances: strconv.Itoa(s.Instances)}
	wanted := s.Instances
	if d.cfg.Replicas != nil {
		if n, ok := d.cfg.Replicas(s.Namespace, s.Name); ok {
			wanted = n
			if n != s.Instances {
				out.Instances = fmt.Sprintf("%d of %d", s.Instances, n)
			}
		}
	}
	out.Fewer, out.More = wanted-1, min(wanted+1, maxReplicas)
	out.Action = st.link("/scale"+strings.TrimPrefix(servicePath(out.Service), "/services"), "from", from)
	return out
}

// figures are a service's numbers of the moment.
func (d *Dashboard) figures(s telemetry.ServiceSnapshot) []number {
	quiet := s.RPS == 0
	ms := func(v float64) string {
		if quiet {
			return "–"
		}
		return chart.Millis(v)
	}
	success := "–"
	if !quiet {
		success = percent(s.Success)
	}
	return []number{
		{Key: "rps", Text: "Calls", Label: "calls per second", Value: chart.Number(s.RPS) + "/s"},
		{Key: "success", Text: "Success", Label: "share of calls that did not fail", Value: success, Bad: !quiet && s.Success < failing},
		{Key: "p50", Text: "p50", Label: "median latency", Value: ms(s.P50Ms)},
		{Key: "p90", Text: "p90", Label: "90th percentile of latency", Value: ms(s.P90Ms)},
		{Key: "p99", Text: "p99", Label: "99th percentile of latency", Value: ms(s.P99Ms)},
		{Key: "instances", Text: "Instances", Label: "instances", Value: d.scaling(s, state{}, "").Instances, Bad: s.Instances == 0},
		{Key: "inflight", Text: "In flight", Label: "calls in flight", Value: chart.Number(s.InFlight)},
		{Key: "retries", Text: "Retries", Label: "retries per second", Value: chart.Number(s.RetriesPerSecond) + "/s", Bad: s.DeniedPerSecond > 0},
		{Key: "breakers", Text: "Open breakers", Label: "endpoints whose circuit breaker is open, over all callers", Value: chart.Number(s.OpenBreakers), Bad: s.OpenBreakers > 0},
	}
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

// known are the services that there are, by namespace and name.
func (d *Dashboard) known() []telemetry.Service {
	var out []telemetry.Service
	for _, s := range d.snapshot().Services {
		out = append(out, telemetry.Service{Namespace: s.Namespace, Name: s.Name})
	}
	slices.SortFunc(out, func(a, b telemetry.Service) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// find is the newest of a service, or what to say where it is not known.
func (d *Dashboard) find(r *http.Request) (telemetry.ServiceSnapshot, telemetry.Service, error) {
	id := telemetry.Service{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}
	for _, s := range d.snapshot().Services {
		if s.Namespace == id.Namespace && s.Name == id.Name {
			return s, id, nil
		}
	}
	return telemetry.ServiceSnapshot{}, id, missing(fmt.Sprintf("There is no service %q: nobody has called it in the last hour, and it has no instance.", id))
}

package dashboard

import (
	"fmt"
	"html/template"
	"net/http"
	"slices"

	"github.com/meshd/meshd/dashboard/chart"
)

// instancesBody is the view of a service's instances.
type instancesBody struct {
	tabs
	Rows   []instanceRow
	Spread string // how uneven calls are
	Over   string
	At     string // when weights are of
}

type instanceRow struct {
	ID, Address, Link            string
	Share, Weight, Equal         string
	RPS, Success, P50, P90, P99  string
	InFlight, Attempts, Failures string
	Uneven, Slow, Failing        bool
	Bar                          template.HTML
}

const (
	// uneven is how far from an equal share an instance is before it is said.
	uneven = 1.5
	// slowest is how many times the median p99 of all an instance's is before it
	// is said.
	slowest = 2.0
)

func (d *Dashboard) instances(r *http.Request, s state) (page, error) {
	_, id, err := d.find(r)
	if err != nil {
		return page{}, err
	}
	b := instancesBody{tabs: newTabs(id, s, "instances"), Over: s.over(), At: "now"}
	if s.fixed {
		b.At = "then"
	}
	stats := d.cfg.Reader.Instances(id, s.span(0))
	var p99 []float64
	most, widest := 0.0, 0.0
	for _, i := range stats {
		most, widest = max(most, i.Share), max(widest, i.Share)
		if i.Weight != nil {
			widest = max(widest, *i.Weight)
		}
		if i.P99Ms > 0 {
			p99 = append(p99, i.P99Ms)
		}
	}
	slices.Sort(p99)
	equal := 1 / float64(max(len(stats), 1))
	for _, i := range stats {
		row := instanceRow{
			ID: i.ID, Address: i.Address, Link: s.link(servicePath(id), "instance", i.ID),
			Share: percent(i.Share), Weight: "–", Equal: fmt.Sprintf("%.2f ×", i.Share/equal),
			RPS: chart.Number(i.RPS) + "/s", InFlight: chart.Number(i.InFlight),
			Attempts: chart.Number(i.Attempts) + "/s", Failures: chart.Number(i.Failures) + "/s",
			Success: "–", P50: "–", P90: "–", P99: "–",
			Uneven: i.Share > uneven*equal || i.Share*uneven < equal,
			Bar:    shareBar(i.Share, i.Weight, equal, max(widest, equal)),
		}
		if i.Weight != nil {
			row.Weight = percent(*i.Weight)
		}
		if i.RPS > 0 {
			row.Success, row.Failing = percent(i.Success), i.Success < failing
			row.P50, row.P90, row.P99 = chart.Millis(i.P50Ms), chart.Millis(i.P90Ms), chart.Millis(i.P99Ms)
			row.Slow = i.P99Ms > slowest*p99[len(p99)/2]
		}
		b.Rows = append(b.Rows, row)
	}
	if len(stats) > 1 && most > 0 {
		b.Spread = fmt.Sprintf("The busiest of %d has %.2f times an equal share.", len(stats), most/equal)
	}
	return page{Title: "Instances of " + id.String(), Section: "Services", Shape: id.String(), Body: b}, nil
}

// shareBar is a bar for a share, as wide as the greatest one at most, above a
// thin one for the weight, with a line where an equal share would end. What it
// says is in the row in words.
func shareBar(share float64, weight *float64, equal, greatest float64) template.HTML {
	bar := func(y, height, part float64, color int) string {
		return fmt.Sprintf(`<rect x="0" y="%g" width="%.1f" height="%g" fill="var(--chart-%d)" />`, y, 98*part/greatest, height, color)
	}
	out := bar(1, 8, share, 1)
	if weight != nil {
		out += bar(10, 4, *weight, 2)
	}
	return template.HTML(fmt.Sprintf(`<svg class="share" viewBox="0 0 100 14" preserveAspectRatio="none" aria-hidden="true">%s`+
		`<path d="M%.1f,0v14" stroke="var(--text)" stroke-width="1.5" vector-effect="non-scaling-stroke" /></svg>`, out, 98*equal/greatest))
}

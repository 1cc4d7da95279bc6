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
}

type instanceRow struct {
	ID, Address, Link                         string
	Share, Equal, RPS, Success, P50, P90, P99 string
	InFlight, Attempts, Failures              string
	Uneven, Slow, Failing                     bool
	Bar                                       template.HTML
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
	b := instancesBody{tabs: newTabs(id, s, "instances"), Over: s.over()}
	stats := d.cfg.Reader.Instances(id, s.span(0))
	var p99 []float64
	most := 0.0
	for _, i := range stats {
		most = max(most, i.Share)
		if i.P99Ms > 0 {
			p99 = append(p99, i.P99Ms)
		}
	}
	slices.Sort(p99)
	equal := 1 / float64(max(len(stats), 1))
	for _, i := range stats {
		row := instanceRow{
			ID: i.ID, Address: i.Address, Link: s.link(servicePath(id), "instance", i.ID),
			Share: percent(i.Share), Equal: fmt.Sprintf("%.2f ×", i.Share/equal),
			RPS: chart.Number(i.RPS) + "/s", InFlight: chart.Number(i.InFlight),
			Attempts: chart.Number(i.Attempts) + "/s", Failures: chart.Number(i.Failures) + "/s",
			Success: "–", P50: "–", P90: "–", P99: "–",
			Uneven: i.Share > uneven*equal || i.Share*uneven < equal,
			Bar:    shareBar(i.Share, equal, max(most, equal)),
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

// shareBar is a bar for a share, as wide as the greatest one at most, with a
// line where an equal share would end.
func shareBar(share, equal, greatest float64) template.HTML {
	return template.HTML(fmt.Sprintf(`<svg class="share" viewBox="0 0 100 14" preserveAspectRatio="none" aria-hidden="true">`+
		`<rect x="0" y="2" width="%.1f" height="10" fill="var(--chart-1)" /><path d="M%.1f,0v14" stroke="var(--text)" stroke-width="1.5" vector-effect="non-scaling-stroke" /></svg>`,
		98*share/greatest, 98*equal/greatest))
}

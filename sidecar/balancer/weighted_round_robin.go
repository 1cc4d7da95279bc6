package balancer

import (
	"time"

	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/xds/resource"
)

// weighted is round robin whose weights are what the endpoints' reports say
// that they can do, as long as at least two of them say so: calls a second
// served for each part of utilisation, errors counted as utilisation (gRFC
// A58). An endpoint without a usable report has the mean weight of the others.
type weighted struct {
	*roundRobin
	cfg      resource.Reports
	next     int64
	reported []float64 // scratch of look: by member, 0 if not usable
}

func newWeightedRoundRobin(cfg *Config, g group) chooser {
	w := &weighted{roundRobin: roundRobinOf(cfg, g), cfg: cfg.Reports, reported: make([]float64, len(g))}
	w.look(cfg.Now)
	return w
}

func (w *weighted) look(now int64) {
	if now < w.next {
		return
	}
	w.next = now + int64(w.cfg.Update)
	var sum, n float64
	for i := range w.group {
		r := reportedWeight(&w.group[i].state.Reported, now, &w.cfg)
		w.reported[i] = r
		if r > 0 {
			sum, n = sum+r, n+1
		}
	}
	if n < 2 {
		w.weigh(func(i int) float64 { return w.group[i].weight })
		return
	}
	w.weigh(func(i int) float64 {
		if w.reported[i] > 0 {
			return w.reported[i]
		}
		return sum / n
	})
}

// reportedWeight is 0 where there is no report, or too old a one, or where
// they have only begun to come.
func reportedWeight(r *endpoint.Reported, now int64, cfg *resource.Reports) float64 {
	report, age, ok := r.Get(now)
	if !ok {
		return 0
	}
	if age >= cfg.Expiration {
		r.Forget()
		return 0
	}
	u := used(&report)
	if u <= 0 || report.RPS <= 0 || r.Reporting(now) < cfg.Blackout {
		return 0
	}
	if report.EPS > 0 {
		u += report.EPS / report.RPS * cfg.ErrorPenalty
	}
	return report.RPS / u
}

// used is application_utilization, or else cpu_utilization (gRFC A58).
func used(r *endpoint.LoadReport) float64 {
	if r.Application > 0 {
		return r.Application
	}
	return r.CPU
}

// utilisation is what an endpoint has said of late.
func utilisation(r *endpoint.Reported, now int64, expiration time.Duration) (float64, bool) {
	report, age, ok := r.Get(now)
	u := used(&report)
	return u, ok && age < expiration && u > 0
}

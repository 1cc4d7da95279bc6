package sidecar

import (
	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/health"
	"github.com/meshd/meshd/sidecar/stats"
)

// clusterFigures is what holds, checks and ejections tell of a route's
// clusters at export time; nothing of what never happened.
func clusterFigures(clusters []*call.Cluster, look func(cluster string) health.Stats) (out []stats.Figure) {
	var held breaker.HoldStats
	var well health.Stats
	for _, c := range clusters {
		h, s := c.Held(), look(c.Name)
		held.Waiting += h.Waiting
		held.Served += h.Served
		held.Expired += h.Expired
		held.Full += h.Full
		held.Wait += h.Wait
		well.ChecksPassed += s.ChecksPassed
		well.ChecksFailed += s.ChecksFailed
		well.Unhealthy += s.Unhealthy
		well.Ejected += s.Ejected
		for i, n := range s.Ejections {
			well.Ejections[i] += n
		}
	}
	add := func(m *stats.Metric, v float64, word string) {
		out = append(out, stats.Figure{Metric: m, Value: v, Word: word})
	}
	if held != (breaker.HoldStats{}) {
		add(stats.Held, float64(held.Waiting), "")
		add(stats.HeldDone, float64(held.Served), "served")
		add(stats.HeldDone, float64(held.Expired), "expired")
		add(stats.HeldDone, float64(held.Full), "full")
		add(stats.HeldTime, held.Wait.Seconds(), "")
	}
	if well.ChecksPassed+well.ChecksFailed > 0 {
		add(stats.Checks, float64(well.ChecksPassed), "success")
		add(stats.Checks, float64(well.ChecksFailed), "failure")
		add(stats.Unhealthy, float64(well.Unhealthy), "")
	}
	var ejections uint64
	for i, n := range well.Ejections {
		if ejections += n; n > 0 {
			add(stats.Ejections, float64(n), health.Rule(i).String())
		}
	}
	if ejections > 0 {
		add(stats.Ejected, float64(well.Ejected), "")
	}
	return out
}

// gateFigures is what stands before the application.
func gateFigures(g *call.Gateway) (out []stats.Figure) {
	s, ok := g.Stats()
	if !ok {
		return nil
	}
	out = []stats.Figure{
		{Metric: stats.GateLimit, Value: float64(s.Limit)},
		{Metric: stats.GateInFlight, Value: float64(s.InFlight)},
		{Metric: stats.GateWaiting, Value: float64(s.Waiting)},
		{Metric: stats.GateWait, Value: s.Wait.Seconds()},
	}
	for v, n := range s.Shed {
		if v := breaker.Verdict(v); v.Shed() {
			out = append(out, stats.Figure{Metric: stats.GateShed, Value: float64(n), Word: v.String()})
		}
	}
	return out
}

// joinFigures is how many of the application's own calls are known to be for
// some call that it serves.
func joinFigures(j *call.Joins) (out []stats.Figure) {
	joined, strangers := j.Joined.Value(), j.Strangers.Value()
	if joined+strangers > 0 {
		out = []stats.Figure{
			{Metric: stats.CallsOut, Value: float64(joined), Word: "true"},
			{Metric: stats.CallsOut, Value: float64(strangers), Word: "false"},
		}
	}
	return out
}

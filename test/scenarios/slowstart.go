package main

import (
	"math"
	"time"
)

func slowStartScenario() scenario {
	return scenario{
		name: "slowstart",
		title: "calls that a new 11th instance gets in two seconds, of what is its part, by how old it is; " +
			"another one leaves 5 s after it came",
		seconds: 16,
		columns: []column{
			figure("calls", ""), atMost("failed", "", 0), atMost("0–2 s", "%", 75), figure("2–4 s", "%"), figure("4–6 s", "%"),
			figure("6–8 s", "%"), figure("8–10 s", "%"), atLeast("older", "%", 75),
		},
		run: func(r *run) []row {
			host := r.host(backendSpec{names: names(service, 11), behaviour: work})
			st := r.up(r.proxy, meshSpec{envoy: envoySpec{SlowStart: true}}, host.all[:10])
			young := host.all[10]
			// The others are over their own slow start when it joins.
			const joins, leaves, s = 11 * time.Second, 16 * time.Second, time.Second
			lasts := max(joins+r.length, 24*s)
			res := r.during(loadOf(st, 600, lasts), []step{
				{joins, func() { st.add(young, false) }},
				{leaves, func() { st.drain(host.all[2]) }},
			})
			from := res.first(young.name)
			// Of its calls and of those that would be its part.
			part := func(a, b time.Duration) float64 {
				got, due := 0.0, 0.0
				for _, c := range res.between(from+a, from+b) {
					if c.Instance == young.name {
						got++
					}
					if c.Due < leaves {
						due += 1.0 / 11
					} else {
						due += 1.0 / 10
					}
				}
				return 100 * got / due
			}
			return []row{{Proxy: r.proxy, Note: res.causes(), Values: values(float64(len(res)), float64(res.failed()),
				part(0, 2*s), part(2*s, 4*s), part(4*s, 6*s), part(6*s, 8*s), part(8*s, 10*s), part(10*s, lasts))}}
		},
	}
}

// first is when an instance's first call was due.
func (r result) first(instance string) time.Duration {
	for _, c := range r {
		if c.Instance == instance {
			return c.Due
		}
	}
	return math.MaxInt64 / 2
}

package main

import (
	"time"
)

func zeroScenario() scenario {
	return scenario{
		name:    "zero",
		title:   "500 calls/s of a service without an instance; the first one takes 3 s to start",
		seconds: 8,
		columns: []column{
			figure("calls", ""), atMost("failed", "", 0), figure("p50", "ms"), figure("p99", "ms"), figure("longest", "ms"),
		},
		run: func(r *run) []row {
			spec := meshSpec{envoy: envoySpec{NoCheck: true, Retries: 20, BackOff: "1s", MaxBackOff: "2s", Budget: 100, MinRetries: 100000}}
			st := r.up(r.proxy, spec, nil)
			h := r.plan(backendSpec{names: names(service, 1), behaviour: work, delay: 3 * time.Second})
			st.expect(h.all[0])
			res := r.during(loadOf(st, 500, r.length), []step{{time.Second / 2, func() {
				h.start(r.scope)
				st.add(h.all[0], false)
			}}})
			return []row{{Proxy: r.proxy, Note: res.causes(), Values: values(float64(len(res)), float64(res.failed()),
				res.quantile(0.5), res.quantile(0.99), res.quantile(1))}}
		},
	}
}

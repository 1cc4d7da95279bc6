package main

import (
	"time"
)

func metastableScenario() scenario {
	const (
		from    = 5 * time.Second
		trigger = 5 * time.Second
	)
	return scenario{
		name: "metastable",
		title: "an instance at 70 % of what it can do stands still for 5 s; when is it back? " +
			"(off: 3 retries of each call, no budget)",
		seconds: 30,
		columns: []column{
			figure("calls", ""), figure("before", "%"), figure("while it stands", "%"), atMost("back after", "s", 10),
			figure("last 5 s", "%"), figure("attempts", "x"),
		},
		run: func(r *run) []row {
			well := behaviour{Mean: 50 * time.Millisecond, Workers: 10}
			stands := well
			stands.Fault = stopped
			spec := meshSpec{
				policy:  object{"timeout": object{"attempt": "1s", "request": "4s"}},
				off:     object{"retry": object{"attempts": 3, "budget": object{"ratio": 1, "minPerSecond": 1000000}}},
				envoy:   envoySpec{PerTry: "1s", Timeout: "4s", Adaptive: true, MaxInbound: 20, NoCheck: true},
				inbound: true,
			}
			host := r.host(backendSpec{names: names(service, 1), behaviour: well})
			st := r.up(r.proxy, spec, host.all)
			_, before := host.calls(r.scope)
			lasts := max(r.length, from+trigger+12*time.Second)
			res := r.during(loadOf(st, 140, lasts), []step{
				{from, func() { host.all[0].behave(r.scope, stands) }},
				{from + trigger, func() { host.all[0].behave(r.scope, well) }},
			})
			_, after := host.calls(r.scope)
			return []row{{Proxy: r.proxy, Note: res.causes(), Values: values(float64(len(res)), res.between(0, from).success(),
				res.between(from, from+trigger).success(), seconds(res.recovered(from+trigger)),
				res.between(lasts-5*time.Second, lasts).success(), float64(after-before)/float64(len(res)))}}
		},
	}
}

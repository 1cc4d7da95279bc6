package main

import (
	"time"
)

func hedgeScenario() scenario {
	return scenario{
		name:    "hedge",
		title:   "one call of 100 takes 100 times as long, whichever of 10 instances has it",
		seconds: 30,
		columns: []column{
			figure("calls", ""), figure("success", "%"), figure("p50", "ms"), figure("p99", "ms"), figure("p99.9", "ms"),
			figure("without proxy", "ms"), atLeast("cut", "x", 10), atMost("extra calls", "%", 2),
		},
		run: func(r *run) []row {
			b := work
			b.Rare, b.RareFactor = 0.01, 100
			host := r.host(backendSpec{names: names(service, 10), behaviour: b})
			without := r.once("without", func() float64 {
				l := load{Addr: host.all[0].addr, Host: service, Rate: 400, For: r.part(0.5)}
				return l.run(r.ctx).quantile(0.999)
			})
			st := r.up(r.proxy, meshSpec{envoy: envoySpec{Hedge: true, PerTry: "0.05s"}}, host.all)
			loadOf(st, 300, 5*time.Second).run(r.ctx) // until it knows what calls take
			_, before := host.calls(r.scope)
			res := loadOf(st, 300, r.length).run(r.ctx)
			_, after := host.calls(r.scope)
			p999 := res.quantile(0.999)
			return []row{{Proxy: r.proxy, Note: res.causes(), Values: values(float64(len(res)), res.success(), res.quantile(0.5),
				res.quantile(0.99), p999, without, without/p999, percent(int(after-before)-len(res), len(res)))}}
		},
	}
}

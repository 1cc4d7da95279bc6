package main

import (
	"time"
)

// A scenario is one bad thing.
type scenario struct {
	name, title string
	seconds     int // of its main load
	columns     []column
	run         func(*run) []row
}

// scenarios are all of them, in the order in which they run.
func scenarios() []scenario {
	return []scenario{
		stuckScenario(), slowScenario(), fastfailScenario(), hedgeScenario(),
		overloadScenario(), prioritiesScenario(), metastableScenario(), outageScenario(),
		faultsScenario(), zeroScenario(), sessionsScenario(), slowStartScenario(),
	}
}

// work is what calls take in most scenarios: 10 ms on average.
var work = behaviour{Mean: 10 * time.Millisecond}

// attempt1s bounds attempts by 1 s, and calls by 3 s.
func attempt1s() meshSpec {
	return meshSpec{
		policy: object{"timeout": object{"attempt": "1s", "request": "3s"}},
		envoy:  envoySpec{PerTry: "1s", Timeout: "3s"},
	}
}

func stuckScenario() scenario {
	return scenario{
		name:    "stuck",
		title:   "one of 11 instances takes calls and answers none for half of the time; attempts may take 1 s",
		seconds: 60,
		columns: []column{
			figure("calls", ""), atLeast("success", "%", 99.99), atMost("extra calls", "%", 2),
			figure("p50", "ms"), figure("p99", "ms"), figure("p99.9", "ms"),
		},
		run: func(r *run) []row {
			host := r.host(backendSpec{names: names(service, 11), behaviour: work})
			st := r.up(r.proxy, attempt1s(), host.all)
			_, before := host.calls(r.scope)
			res := r.during(loadOf(st, 300, r.length), []step{
				{r.part(0.25), func() { host.all[3].behave(r.scope, behaviour{Mean: work.Mean, Fault: stuck}) }},
				{r.part(0.75), func() { host.all[3].behave(r.scope, work) }},
			})
			_, after := host.calls(r.scope)
			return []row{{Proxy: r.proxy, Note: res.causes(), Values: values(float64(len(res)), res.success(),
				percent(int(after-before)-len(res), len(res)), res.quantile(0.5), res.quantile(0.99), res.quantile(0.999))}}
		},
	}
}

// A step is something done while a load runs.
type step struct {
	at time.Duration // from its beginning
	do func()
}

// during runs a load, and does the steps meanwhile.
func (r *run) during(l load, steps []step) result {
	done := make(chan result, 1)
	began := time.Now()
	go func() { done <- l.run(r.ctx) }()
	for _, s := range steps {
		if r.until(began.Add(s.at)) {
			s.do()
		}
	}
	return <-done
}

// until waits for a moment; false if the program is to end.
func (r *run) until(t time.Time) bool {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.ctx.Done():
		return false
	}
}

package main

import (
	"time"
)

// What the overloaded service can do: two instances that work on eight calls
// each, of 20 ms: 800 calls a second, at the most.
const (
	overInstances = 2
	overWorkers   = 8
	overTime      = 20 * time.Millisecond
	overCapacity  = overInstances * overWorkers * float64(time.Second) / float64(overTime)
)

var overloaded = behaviour{Mean: overTime, Workers: overWorkers}

// overload1s bounds calls by 1 s: of those without protection no more are
// under way than this machine can hold.
func overload1s(e envoySpec) meshSpec {
	e.Timeout, e.NoCheck = "1s", true
	return meshSpec{policy: object{"timeout": object{"request": "1s"}}, envoy: e, inbound: true}
}

// overPeak is what both instances do at most, without any proxy.
func (r *run) overPeak(host *backendHost) float64 {
	return r.once("peak", func() float64 {
		const lasts = 3 * time.Second
		sums := make([]int, len(host.all))
		var each []func()
		for i, b := range host.all {
			l := load{Addr: b.addr, Host: service, For: lasts, Patience: 10 * time.Second}
			each = append(each, func() {
				sums[i] = len(l.closed(2 * overWorkers).where(func(c record) bool { return c.Due+c.Latency <= lasts }))
			})
		}
		both(each...)
		sum := 0
		for _, n := range sums {
			sum += n
		}
		return float64(sum) / lasts.Seconds()
	})
}

func overloadScenario() scenario {
	return scenario{
		name:    "overload",
		title:   "twice as many calls as 2 instances of 8 workers can do; p99 is of the calls that were admitted",
		seconds: 60,
		columns: []column{
			figure("calls", ""), figure("peak /s", ""), figure("served /s", ""), atLeast("goodput", "%", 95),
			figure("p99 unloaded", "ms"), figure("p99", "ms"), atMost("of unloaded", "x", 2),
		},
		run: func(r *run) []row {
			host := r.host(backendSpec{names: names(service, overInstances), behaviour: overloaded})
			peak := r.overPeak(host)
			st := r.up(r.proxy, overload1s(envoySpec{Adaptive: true}), host.all)
			unloaded := loadOf(st, overCapacity/5, 6*time.Second).run(r.ctx).between(time.Second, time.Hour)
			res := loadOf(st, 2*overCapacity, r.length).run(r.ctx)
			// The first tenth is for finding out.
			from := r.part(0.1)
			late := res.between(from, r.length)
			served := float64(len(late.ok())) / (r.length - from).Seconds()
			normal, p99 := unloaded.ok().quantile(0.99), late.ok().quantile(0.99)
			return []row{{Proxy: r.proxy, Note: res.causes(), Values: values(float64(len(res)), peak, served, 100*served/peak,
				normal, p99, p99/normal)}}
		},
	}
}

// priorityClasses are the priorities of calls, the best first, and the share of
// each.
func priorityClasses() []struct {
	name  string
	share int // of ten
} {
	return []struct {
		name  string
		share int
	}{{"critical-plus", 1}, {"critical", 2}, {"sheddable-plus", 3}, {"sheddable", 4}}
}

func prioritiesScenario() scenario {
	return scenario{
		name:    "priorities",
		title:   "three times as many calls as the same service can do: success by meshd-priority, and how many have it",
		seconds: 20,
		columns: []column{
			figure("calls", ""), atLeast("critical-plus, 10 %", "%", 99.9), figure("critical, 20 %", "%"),
			figure("sheddable-plus, 30 %", "%"), figure("sheddable, 40 %", "%"),
		},
		run: func(r *run) []row {
			host := r.host(backendSpec{names: names(service, overInstances), behaviour: overloaded})
			st := r.up(r.proxy, overload1s(envoySpec{MaxInbound: overWorkers, NoOutlier: true}), host.all)
			l := loadOf(st, overCapacity/2, 5*time.Second)
			var lines []string
			var classes []int
			for i, c := range priorityClasses() {
				for range c.share {
					lines, classes = append(lines, "meshd-priority: "+c.name+"\r\n"), append(classes, i)
				}
			}
			l.Headers = func(n int) (string, int) { return lines[n*7%10], classes[n*7%10] }
			l.run(r.ctx)
			l.Rate, l.For = 3*overCapacity, r.length
			res := l.run(r.ctx)
			out := row{Proxy: r.proxy, Values: values(float64(len(res)))}
			for i := range priorityClasses() {
				class := res.where(func(c record) bool { return c.Class == i })
				out.Values = append(out.Values, value(class.success()))
				if i == 0 {
					out.Note = class.causes()
				}
			}
			return []row{out}
		},
	}
}

package main

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

func slowScenario() scenario {
	return scenario{
		name:    "slow",
		title:   "one of 10 instances is ten times as slow as the others",
		seconds: 20,
		columns: []column{
			figure("calls", ""), figure("success", "%"), figure("to the slow one", "%"),
			figure("p50", "ms"), figure("p99", "ms"), figure("p99 of 9 alone", "ms"), atMost("p99 of that", "x", 1.3),
		},
		run: func(r *run) []row {
			var alone, with result
			var share float64
			// In the same way: ten instances, of which nine are in the mesh.
			for n := 9; n <= 10; n++ {
				r.within(fmt.Sprint(n, " instances"), func(s *scope) {
					host := s.host(backendSpec{names: names(service, 10), behaviour: work})
					host.all[9].behave(s, behaviour{Mean: 10 * work.Mean})
					st := s.up(r.proxy, meshSpec{}, host.all[:n])
					loadOf(st, 300, 3*time.Second).run(r.ctx) // until prices are known
					before, _ := host.calls(s)
					res := loadOf(st, 300, r.length).run(r.ctx)
					after, _ := host.calls(s)
					if n == 9 {
						alone = res
					} else {
						with, share = res, percent(int(after[9]-before[9]), len(res))
					}
				})
			}
			return []row{{Proxy: r.proxy, Note: with.causes(), Values: values(float64(len(with)), with.success(), share,
				with.quantile(0.5), with.quantile(0.99), alone.quantile(0.99), with.quantile(0.99)/alone.quantile(0.99))}}
		},
	}
}

func fastfailScenario() scenario {
	return scenario{
		name:    "fastfail",
		title:   "one of 10 instances answers an error at once; shares are of all attempts",
		seconds: 8,
		columns: []column{
			figure("calls", ""), figure("success", "%"), figure("in the first second", "%"), atMost("from then on", "%", 1),
			figure("p99", "ms"),
		},
		run: func(r *run) []row {
			var rows []row
			for _, status := range []int{http.StatusInternalServerError, http.StatusServiceUnavailable} {
				r.within(strconv.Itoa(status), func(s *scope) {
					host := s.host(backendSpec{names: names(service, 10), behaviour: work})
					st := s.up(r.proxy, meshSpec{}, host.all)
					const well = 2 * time.Second
					var at [3][]int64
					var sum [3]int64
					look := func(n int) { at[n], sum[n] = host.calls(s) }
					res := r.during(loadOf(st, 300, well+r.length), []step{
						{well, func() {
							look(0)
							host.all[3].behave(s, behaviour{Status: status})
						}},
						{well + time.Second, func() { look(1) }},
					})
					look(2)
					share := func(n int) float64 { return percent(int(at[n][3]-at[n-1][3]), int(sum[n]-sum[n-1])) }
					failing := res.between(well, well+r.length)
					rows = append(rows, row{Proxy: r.proxy, Case: strconv.Itoa(status), Note: failing.causes(),
						Values: values(float64(len(failing)), failing.success(), share(1), share(2), failing.quantile(0.99))})
				})
			}
			return rows
		},
	}
}

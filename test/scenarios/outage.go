package main

import (
	"net/http"
	"time"

	"github.com/meshd/meshd/test/rig"
)

// tiers are the services of a chain, each of which calls the next.
func tiers() []string { return []string{"a", "b", "c"} }

const tierInstances = 2

func outageScenario() scenario {
	return scenario{
		name: "outage",
		title: "a calls b calls c, 2 instances each; c answers 503 to all for 80 % of the time " +
			"(off: 2 retries a tier, no budget)",
		seconds: 75,
		columns: []column{
			figure("calls", ""), figure("success before", "%"), figure("in it", "%"),
			atMost("load at c, of offered", "x", 1.1), atMost("back after", "s", 10), figure("end", "%"),
		},
		run: func(r *run) []row {
			spec := meshSpec{
				policy: object{"timeout": object{"request": "5s"}},
				off:    object{"retry": object{"attempts": 2, "budget": object{"ratio": 1, "minPerSecond": 1000000}}},
				envoy:  envoySpec{Timeout: "5s", MinRetries: 3}, // the default of it
			}
			ch := r.chain(spec)
			from, to := r.part(0.1), r.part(0.9)
			var at [2]int64
			res := r.during(load{Addr: ch.addr, Host: "a:" + servicePort, Rate: 200, For: r.length}, []step{
				{from, func() {
					for _, b := range ch.last.all {
						b.behave(r.scope, behaviour{Status: http.StatusServiceUnavailable})
					}
					_, at[0] = ch.last.calls(r.scope)
				}},
				{to, func() {
					_, at[1] = ch.last.calls(r.scope)
					for _, b := range ch.last.all {
						b.behave(r.scope, behaviour{Mean: tierTime})
					}
				}},
			})
			during := res.between(from, to)
			return []row{{Proxy: r.proxy, Note: res.causes(), Values: values(float64(len(res)), res.between(0, from).success(),
				during.success(), float64(at[1]-at[0])/float64(len(during)), seconds(res.recovered(to)),
				res.between(r.part(0.96), r.length).success())}}
		},
	}
}

// tierTime is what an application of the chain takes by itself.
const tierTime = 3 * time.Millisecond

// A chain runs: calls go to addr, and end at the instances of last.
type chain struct {
	addr string
	last *backendHost
}

// chain starts applications, from the last tier on, each with a proxy of its
// own for the calls that it makes.
func (r *run) chain(spec meshSpec) chain {
	var out chain
	var mesh *sidecars
	if r.proxy != envoy {
		spec.services = tiers()
		mesh = r.newSidecars(r.proxy, spec)
		out.addr = mesh.addr()
	}
	var below []*backend // instances of the tier below
	all := tiers()
	for i := len(all) - 1; i >= 0; i-- {
		var here []*backend
		if i == len(all)-1 {
			out.last = r.host(backendSpec{service: all[i], names: names(all[i], tierInstances), behaviour: behaviour{Mean: tierTime}})
			here = out.last.all
		} else {
			for _, name := range names(all[i], tierInstances) {
				b := backendSpec{service: all[i], names: []string{name}, behaviour: behaviour{Mean: tierTime}, nextHost: all[i+1] + ":" + servicePort}
				b.nextAddr = r.proxyTo(spec, mesh, all[i+1], below)
				here = append(here, r.host(b).all[0])
			}
		}
		below = here
		if mesh != nil {
			for _, b := range here {
				mesh.add(b, true)
			}
		}
	}
	if mesh == nil {
		out.addr = r.proxyTo(spec, nil, all[0], below)
	}
	r.awaitCalls(load{Addr: out.addr, Host: all[0] + ":" + servicePort}, below)
	return out
}

// proxyTo is where an application calls a service: an Envoy of its own, or the
// outbound port that its sidecar will have.
func (r *run) proxyTo(spec meshSpec, mesh *sidecars, service string, instances []*backend) string {
	if mesh != nil {
		return rig.Addrs(r.scope, 1)[0]
	}
	spec.service = service
	e := r.newEnvoys(spec)
	for _, b := range instances {
		e.add(b, true)
	}
	return e.addr()
}

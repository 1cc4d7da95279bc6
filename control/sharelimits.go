package control

import (
	"time"

	"github.com/meshd/meshd/mesh"
	"github.com/meshd/meshd/registry"
)

// limits returns a function that lists the limits that callers share, of the
// newest picture. One goroutine calls it.
func (a *assembler) limits() func() []sharedLimit {
	var of *picture
	var all []sharedLimit
	return func() []sharedLimit {
		if p := a.current.Load(); p != of {
			of, all = p, sharedLimits(p.state)
		}
		return all
	}
}

// sharedLimits looks at services that a policy with such a limit names, and
// takes the limits of the policy that is in force.
func sharedLimits(state *mesh.State) []sharedLimit {
	named := map[service]bool{}
	for _, o := range state.Objects() {
		if t, ok := o.(*mesh.TrafficPolicy); ok && limitOf(&t.Policy) != (sharedLimit{}) {
			for _, target := range t.Targets {
				named[service{t.Namespace, target.Name}] = true
			}
		}
	}
	if len(named) == 0 {
		return nil
	}
	var all []sharedLimit
	for _, k := range state.Keys() {
		if !named[service{k.Namespace, k.Name}] {
			continue
		}
		b, _ := state.Service(k)
		if l := limitOf(&b.Policy); l != (sharedLimit{}) {
			l.service = k.String()
			all = append(all, l)
		}
	}
	return all
}

func limitOf(p *mesh.Policy) (l sharedLimit) {
	l.requests = p.Limits.SharedRequests
	if p.RateLimit.Shared && p.RateLimit.Per > 0 {
		l.rate = float64(p.RateLimit.Requests) / p.RateLimit.Per.Seconds()
	}
	return l
}

// returning is how long clients may take to come back to a meshd that starts:
// none, if it knows no instance from before.
func returning(reg *registry.Registry) time.Duration {
	if len(reg.Snapshot().Instances) == 0 {
		return 0
	}
	return returnTime
}

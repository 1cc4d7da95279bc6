package balancer

import (
	"fmt"
	"testing"
	"time"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/xds/resource"
)

func BenchmarkPick(b *testing.B) {
	for _, policy := range policies {
		for _, n := range []int{10, 1000} {
			b.Run(fmt.Sprintf("%s/%d", policy, n), func(b *testing.B) {
				p := picker(b, policy, loaded(n))
				b.ReportAllocs()
				for b.Loop() {
					pick(p)
				}
			})
		}
	}
}

// BenchmarkCall is what choosing and accounting add to a call: Pick, Allow,
// Start, and both Dones.
func BenchmarkCall(b *testing.B) {
	for _, policy := range policies {
		b.Run(policy+"/1000", func(b *testing.B) {
			start := time.Now()
			p := picker(b, policy, loaded(1000))
			b.ReportAllocs()
			for b.Loop() {
				now := int64(time.Since(start))
				e, _ := p.Pick(Info{Now: now})
				ticket, _ := e.Breaker.Allow()
				e.Load.Start(now)
				e.Load.Answered(now)
				e.Load.Done(now, time.Millisecond, false)
				e.Breaker.Done(ticket, true)
			}
		})
	}
}

// What a pick costs when most of a cluster, or all of it, is open.
func BenchmarkPickAmongOpen(b *testing.B) {
	for _, policy := range policies {
		for _, ready := range []int{0, 10, 500} {
			b.Run(fmt.Sprintf("%s/%d of 1000 ready", policy, ready), func(b *testing.B) {
				set := cluster(1000, breaker.Config{ConsecutiveFailures: 1, OpenFor: time.Hour}, nil)
				for _, e := range set.Endpoints()[ready:] {
					trip(e)
				}
				p := picker(b, policy, set)
				b.ReportAllocs()
				for b.Loop() {
					pick(p)
				}
			})
		}
	}
}

// loaded is a cluster with history and uneven weights.
func loaded(n int) *endpoint.Set {
	set := cluster(n, breaker.Config{ConsecutiveFailures: 5, ErrorRatio: 0.5, MinRequests: 20},
		func(i int, e *resource.Endpoint) { e.Weight = uint32(1 + i%3) })
	for i, e := range set.Endpoints() {
		e.Load.Start(0)
		e.Load.Answered(0)
		e.Load.Done(0, time.Duration(1+i%7)*time.Millisecond, false)
		if i%2 == 0 {
			e.Load.Start(0)
		}
	}
	return set
}

package main

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/test/rig"
)

// The proxies that are compared.
const (
	ours  = "ours"  // meshd and its sidecars, with its defaults
	off   = "off"   // the same with every protection turned off by name
	envoy = "envoy" // Envoy with the best of its documented configuration
)

// service is what is called, on servicePort.
const (
	service     = "checkout"
	servicePort = "8080"
)

// A meshSpec says what a scenario wants of a proxy: first in the words of all,
// then of each kind.
type meshSpec struct {
	service  string   // the constant if empty
	services []string // of ours, where there are several
	// policy is what the scenario sets of a TrafficPolicy beyond the defaults,
	// such as its timeouts; off is what more it turns off.
	policy, off object
	envoy       envoySpec
	inbound     bool // Envoy stands in front of each instance, too
}

// A stack is a proxy that runs, between a load and instances.
type stack interface {
	// addr is where calls of the service go.
	addr() string
	// expect tells of an instance before there is one, where that is how it
	// is done.
	expect(b *backend)
	// add has an instance take calls; it waits until it does if wait.
	add(b *backend, wait bool)
	// drain takes an instance out as an operator would, and returns when no
	// calls come to it any more.
	drain(b *backend)
	// beside are the processes that live and die with an instance, its
	// application left out.
	beside(b *backend) []*process.Process
	// restart starts what is beside an instance again.
	restart(b *backend)
	// port is where callers' proxies connect, to reach an instance.
	port(b *backend) string
}

// up starts a proxy for these instances, and waits until calls are answered.
func (s *scope) up(proxy string, spec meshSpec, instances []*backend) stack {
	if spec.service == "" {
		spec.service = service
	}
	var st stack
	if proxy == envoy {
		st = s.newEnvoys(spec)
	} else {
		st = s.newSidecars(proxy, spec)
	}
	for _, b := range instances {
		st.add(b, true)
	}
	s.awaitCalls(load{Addr: st.addr(), Host: spec.service + ":" + servicePort}, instances)
	return st
}

// awaitCalls waits until all these instances have answered, and all calls
// succeed.
func (s *scope) awaitCalls(l load, instances []*backend) {
	var callers atomic.Int64
	l.Headers = func(int) (string, int) { return fmt.Sprintf("%s: new-%d\r\n", sessionHeader, callers.Add(1)), 0 }
	seen := map[string]bool{}
	process.Await(s, rig.Patience, func() error {
		for _, c := range l.each(4*len(instances), 4) {
			if c.Err != "" {
				return errors.New(c.Err)
			}
			seen[c.Instance] = true
		}
		for _, b := range instances {
			if !seen[b.name] {
				return fmt.Errorf("%s has no calls", b.name)
			}
		}
		return nil
	})
}

// load is one of the service through a stack.
func loadOf(st stack, rate float64, d time.Duration) load {
	return load{Addr: st.addr(), Host: service + ":" + servicePort, Rate: rate, For: d}
}

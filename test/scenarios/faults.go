package main

import (
	"fmt"
	"net/http"
	"slices"
	"syscall"
	"time"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/test/rig"
)

// A faultCase is something that happens to one of four instances, and how it
// is over.
type faultCase struct {
	name string
	// safe says that a POST may be tried again, too: no instance can have
	// acted on one that the fault hit.
	safe        bool
	begin, over func(*victim)
}

// A victim is the instance that it happens to.
type victim struct {
	*scope
	stack stack
	b     *backend
}

// all are the processes of the instance.
func (v *victim) all() []int {
	pids := []int{v.b.host.PID}
	for _, p := range v.stack.beside(v.b) {
		pids = append(pids, p.PID)
	}
	return pids
}

func (v *victim) signal(sig syscall.Signal) { process.Signal(v.scope, sig, v.all()...) }

func (v *victim) kill() {
	v.signal(syscall.SIGKILL)
	<-v.b.host.Done
	for _, p := range v.stack.beside(v.b) {
		<-p.Done
	}
}

// behaves is a fault of the application alone.
func behaves(b behaviour) func(*victim) {
	if b.Mean == 0 {
		b.Mean = work.Mean
	}
	return func(v *victim) { v.b.behave(v.scope, b) }
}

var wellAgain = behaves(work)

func nothing(*victim) {}

// faultCases are the twelve.
func faultCases() []faultCase {
	return []faultCase{
		{"killed", false, (*victim).kill, nothing},
		{"drained", true, func(v *victim) {
			v.stack.drain(v.b)
			v.b.host.Terminate(v.scope, rig.Patience)
		}, nothing},
		{"frozen", false, func(v *victim) { v.signal(syscall.SIGSTOP) }, func(v *victim) { v.signal(syscall.SIGCONT) }},
		{"black hole", false, (*victim).blackHole, (*victim).noBlackHole},
		{"half a head", false, behaves(behaviour{Fault: halfAnswer}), wellAgain},
		{"reset", false, behaves(behaviour{Fault: resets}), wellAgain},
		{"refused", true, func(v *victim) { v.b.host.Kill() }, func(v *victim) { v.b.host.start(v.scope) }},
		{"late", true, behaves(behaviour{Mean: 500 * time.Millisecond, Constant: true}), wellAgain},
		{"garbage", false, behaves(behaviour{Fault: garbage}), wellAgain},
		{"idle close", false, behaves(behaviour{Fault: closingIdle}), wellAgain},
		{"503", false, behaves(behaviour{Status: http.StatusServiceUnavailable}), wellAgain},
		{"restarted", false, func(v *victim) {
			v.kill()
			v.b.host.start(v.scope)
			v.stack.restart(v.b)
		}, nothing},
	}
}

// blackHole has packets from callers to the instance, and back, vanish.
func (v *victim) blackHole() {
	port := v.stack.port(v.b)
	v.nft("add table inet scenario; add chain inet scenario in { type filter hook input priority 0; }; " +
		"add rule inet scenario in tcp dport " + port + " drop; add rule inet scenario in tcp sport " + port + " drop")
}

func (v *victim) noBlackHole() { v.nft("delete table inet scenario") }

func (v *victim) nft(rules string) {
	process.Output(v.scope, process.Spec{Path: "/usr/sbin/nft", Args: []string{rules}})
}

const faultRate = 40 // of each kind of call

func faultsScenario() scenario {
	clean := func(k kind) column { return atMost(k.String(), "", 0) }
	return scenario{
		name: "faults",
		title: "what happens to one of 4 instances for 2.5 s: failed calls of those that may be tried again + " +
			"of those that may not",
		seconds: 5,
		columns: []column{clean(get), clean(post), clean(unary), clean(stream), figure("calls", "")},
		run: func(r *run) []row {
			var rows []row
			for _, c := range faultCases() {
				if len(r.cases) > 0 && !slices.Contains(r.cases, c.name) {
					continue
				}
				r.within(c.name, func(s *scope) { rows = append(rows, r.fault(s, c)) })
			}
			return rows
		},
	}
}

func (r *run) fault(s *scope, c faultCase) row {
	var instances []*backend
	for _, name := range names(service, 4) {
		instances = append(instances, s.host(backendSpec{names: []string{name}, behaviour: work}).all[0])
	}
	spec := meshSpec{
		policy: object{"timeout": object{"attempt": "1s", "request": "5s"}},
		envoy:  envoySpec{PerTry: "1s", Timeout: "5s"},
	}
	st := s.up(r.proxy, spec, instances)
	v := &victim{s, st, instances[1]}
	kinds := []kind{get, post, unary, stream}
	results := make([]result, len(kinds))
	loads := []func(){func() {
		began := time.Now()
		if r.until(began.Add(r.part(0.2))) {
			c.begin(v)
		}
		if r.until(began.Add(r.part(0.7))) {
			c.over(v)
		}
	}}
	for i, k := range kinds {
		l := loadOf(st, faultRate, r.length)
		l.Kind = k
		loads = append(loads, func() { results[i] = l.run(r.ctx) })
	}
	s.together(loads...)
	out := row{Proxy: r.proxy, Case: c.name}
	calls := 0
	for i, res := range results {
		again := len(res.where(func(x record) bool { return x.Err != "" && mayAgain(kinds[i], x, c.safe) }))
		out.Values = append(out.Values, value(again))
		out.Cells = append(out.Cells, fmt.Sprintf("%d + %d", again, res.failed()-again))
		if why := res.causes(); why != "" {
			out.Note += fmt.Sprintf("%v %s. ", kinds[i], why)
		}
		calls += len(res)
	}
	out.Values = append(out.Values, value(calls))
	out.Cells = append(out.Cells, fmt.Sprint(calls))
	return out
}

// mayAgain says whether a proxy could have made a call again: those that are
// idempotent or of which nobody has seen anything, until an answer has begun.
func mayAgain(k kind, x record, safe bool) bool {
	switch k {
	case post:
		return safe
	case stream:
		return !x.Begun
	}
	return true
}

// together runs the first function here and the others beside it.
func (s *scope) together(fs ...func()) {
	done := make(chan struct{})
	go func() { both(fs[1:]...); close(done) }()
	defer func() { <-done }()
	fs[0]()
}

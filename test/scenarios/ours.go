package main

import (
	"encoding/json"
	"strings"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/test/rig"
)

// An object is a piece of a TrafficPolicy.
type object = map[string]any

// merged is a with b over it.
func merged(a, b object) object {
	out := object{}
	for k, v := range a {
		out[k] = v
	}
	for k, v := range b {
		below, ok1 := out[k].(object)
		above, ok2 := v.(object)
		if ok1 && ok2 {
			v = merged(below, above)
		}
		out[k] = v
	}
	return out
}

// allOff turns every protection off by its name.
func allOff() object {
	return object{
		"balancer":         "random",
		"slowStart":        object{"window": "0s"},
		"panicThreshold":   0,
		"retry":            object{"attempts": 0, "hedge": object{"disabled": true}},
		"breaker":          object{"disabled": true},
		"limits":           object{"connections": 0, "pending": 0, "requests": 0},
		"hold":             object{"calls": 0},
		"outlierDetection": object{"disabled": true},
		"admission":        object{"disabled": true},
	}
}

// sidecars is ours: meshd, one sidecar with the caller, one with each instance.
type sidecars struct {
	s      *scope
	mesh   *rig.Mesh
	client *rig.Sidecar
	each   map[*backend]*rig.Sidecar
}

func (s *scope) newSidecars(proxy string, spec meshSpec) *sidecars {
	m := &sidecars{s: s, mesh: rig.New(s), each: map[*backend]*rig.Sidecar{}}
	policy := merged(object{}, spec.policy)
	if proxy == off {
		policy = merged(merged(policy, allOff()), spec.off)
	}
	if len(spec.services) == 0 {
		spec.services = []string{spec.service}
	}
	for _, name := range spec.services {
		m.apply(object{"apiVersion": "v1", "kind": "Service", "metadata": object{"name": name},
			"spec": object{"ports": []object{{"port": 8080}}}})
		m.policy(name, policy)
	}
	m.client = m.mesh.Sidecar(s, rig.Spec{Service: "caller"})
	return m
}

// policy gives the service one.
func (m *sidecars) policy(service string, spec object) {
	spec = merged(spec, object{"targetRefs": []object{{"kind": "Service", "name": service}}})
	m.apply(object{"apiVersion": "meshd.io/v1alpha1", "kind": "TrafficPolicy", "metadata": object{"name": service}, "spec": spec})
}

// apply gives meshd an object.
func (m *sidecars) apply(o object) {
	body, err := json.Marshal(o)
	m.s.must(err)
	m.mesh.Apply(string(body))
}

func (m *sidecars) addr() string { return m.client.Outbound }

// expect does nothing: instances say themselves that they are there.
func (m *sidecars) expect(*backend) {}

func (m *sidecars) add(b *backend, wait bool) {
	spec := rig.Spec{Service: b.host.spec.service, Instance: b.name, App: b.addr, Port: servicePort}
	if b.host.spec.nextAddr != "" {
		spec.Outbound = b.host.spec.nextAddr
	}
	m.each[b] = m.mesh.Sidecar(m.s, spec)
	if wait {
		m.mesh.AwaitReady(b.name)
	}
}

func (m *sidecars) drain(b *backend) { m.each[b].Terminate(m.s, rig.Patience) }

func (m *sidecars) beside(b *backend) []*process.Process {
	return []*process.Process{m.each[b].Process}
}

func (m *sidecars) restart(b *backend) { m.add(b, false) }

func (m *sidecars) port(b *backend) string {
	_, port, _ := strings.Cut(m.each[b].Inbound, ":")
	return port
}

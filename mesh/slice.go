package mesh

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// ServiceNameLabel is the label by which an EndpointSlice names its Service.
const ServiceNameLabel = "kubernetes.io/service-name"

// WeightAnnotation on an EndpointSlice is the weight of each of its endpoints,
// 1 by default; Kubernetes has no field for it.
const WeightAnnotation = "meshd.io/weight"

// PriorityAnnotation on an EndpointSlice is the priority of each of its
// endpoints, 0 by default, which is the most preferred: the others are used as
// far as those of lower number are not fit.
const PriorityAnnotation = "meshd.io/priority"

// maxWeight keeps the sum of a locality's weights, which is what xDS bounds,
// below 2^32 for 400,000 endpoints.
const maxWeight = 10_000

// An EndpointSlice is discovery.k8s.io/v1 EndpointSlice: where some of a
// service's instances are.
type EndpointSlice struct {
	Meta
	Service   string // the label ServiceNameLabel
	Endpoints []SliceEndpoint
	Ports     []SlicePort
	Weight    uint32
	Priority  uint32
}

// A SliceEndpoint is one of endpoints.
type SliceEndpoint struct {
	Addr   netip.Addr // the first of addresses, which are the same instance
	ID     string     // targetRef.name, or hostname, or empty
	Zone   string
	Health Health
}

// A SlicePort is one of ports. Its name is the one of the Service's port, its
// number the one that instances listen on.
type SlicePort struct {
	Name        string
	Port        uint16 // 0 is all ports
	Protocol    string
	AppProtocol string
}

// Health is what is known of an endpoint's readiness.
type Health uint8

// An endpoint that is Draining serves the calls that it has and takes no new
// ones; one that is Unready is not given to callers.
const (
	Healthy Health = iota
	Draining
	Unready
)

const (
	maxSliceEndpoints = 1000 // as Kubernetes
	maxSlicePorts     = 100
)

func decodeEndpointSlice(meta Meta, root value) Object {
	s := &EndpointSlice{Meta: meta, Weight: 1}
	family := ""
	if t := child(root.n, "addressType"); t == nil {
		root.missing("addressType", "IPv4, IPv6")
	} else {
		oneOf(&family, "IPv4", "IPv6")(root.at("addressType"))
	}
	annotations := s.decode(root, isName, nameForm, fields{
		"addressType": ignore,
		"endpoints": func(v value) {
			v.each(maxSliceEndpoints, func(_ int, v value) { s.decodeEndpoint(v, family) })
		},
		"ports": s.decodePorts,
	})
	metadata := root.at("metadata")
	s.Service = s.Labels[ServiceNameLabel]
	switch _, ok := s.Labels[ServiceNameLabel]; {
	case !ok:
		metadata.missing("labels."+ServiceNameLabel, "the name of a Service")
	case !isLabel(s.Service):
		metadata.at("labels").at(ServiceNameLabel).refuse("the name of a Service")
	}
	if w, ok := annotations[WeightAnnotation]; ok {
		n, err := strconv.ParseUint(w, 10, 32)
		if err != nil || n < 1 || n > maxWeight {
			metadata.at("annotations").at(WeightAnnotation).refuse(`a whole number from "1" to "10000"`)
		}
		s.Weight = uint32(n)
	}
	if p, ok := annotations[PriorityAnnotation]; ok {
		n, err := strconv.ParseUint(p, 10, 32)
		if err != nil || n > maxPriority {
			metadata.at("annotations").at(PriorityAnnotation).refuse(fmt.Sprintf(`a whole number from "0" to "%d"`, maxPriority))
		}
		s.Priority = uint32(n)
	}
	return s
}

func (s *EndpointSlice) decodeEndpoint(v value, family string) {
	var (
		e                           SliceEndpoint
		ready, serving, terminating *bool
		target                      string
	)
	v.fields(fields{
		"addresses": func(v value) {
			v.each(100, func(i int, v value) {
				a, err := netip.ParseAddr(v.n.Value)
				switch {
				case family == "": // is refused itself
				case !isString(v.n) || err != nil || !reachable(a) || a.Is4() != (family == "IPv4"):
					v.refuse("an " + family + " address of one host")
				case i == 0:
					e.Addr = a
				}
			})
		},
		"conditions": func(v value) {
			v.fields(fields{"ready": optionalBool(&ready), "serving": optionalBool(&serving), "terminating": optionalBool(&terminating)})
		},
		"hostname": text(&e.ID, isLabel, labelForm),
		"zone":     text(&e.Zone, isText, textForm),
		"targetRef": func(v value) {
			v.fields(fields{
				"name": text(&target, isText, textForm),
				"kind": ignore, "namespace": ignore, "uid": ignore, "apiVersion": ignore, "resourceVersion": ignore, "fieldPath": ignore,
			})
		},
		"nodeName": ignore, "hints": ignore, "deprecatedTopology": ignore,
	})
	if len(nodesOf(v.n, "addresses")) == 0 {
		v.missing("addresses", "at least one IP address")
	}
	if target != "" {
		e.ID = target
	}
	e.Health = health(ready, serving, terminating)
	s.Endpoints = append(s.Endpoints, e)
}

// health reads the conditions as Kubernetes defines them: ready absent is
// true, serving absent is ready, terminating absent is false.
func health(ready, serving, terminating *bool) Health {
	isReady := ready == nil || *ready
	isServing := isReady
	if serving != nil {
		isServing = *serving
	}
	switch ending := terminating != nil && *terminating; {
	case ending && isServing:
		return Draining
	case ending || !isReady:
		return Unready
	}
	return Healthy
}

func optionalBool(dst **bool) func(value) {
	return func(v value) {
		*dst = new(bool)
		boolean(*dst)(v)
	}
}

func nodesOf(n *yaml.Node, field string) []*yaml.Node {
	if c := child(n, field); c != nil && c.Kind == yaml.SequenceNode {
		return c.Content
	}
	return nil
}

func (s *EndpointSlice) decodePorts(v value) {
	v.each(maxSlicePorts, func(_ int, v value) {
		p := SlicePort{Protocol: "TCP"}
		v.fields(fields{
			"name":        text(&p.Name, func(s string) bool { return s == "" || isLabel(s) }, labelForm),
			"port":        integer(&p.Port, 1, math.MaxUint16),
			"protocol":    oneOf(&p.Protocol, "TCP", "UDP", "SCTP"),
			"appProtocol": text(&p.AppProtocol, isAppProtocol, appProtocolForm),
		})
		s.Ports = append(s.Ports, p)
	})
}

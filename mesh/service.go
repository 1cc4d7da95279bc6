package mesh

import (
	"math"
	"net/netip"
	"strconv"
)

// A Service is the core v1 Service, reduced to what a mesh needs: ClusterIP,
// NodePort, LoadBalancer and headless services are the same to it.
type Service struct {
	Meta
	Ports []ServicePort
	// ClusterIPs are the virtual addresses by which callers may name the
	// service; none of a headless one.
	ClusterIPs []netip.Addr
	// Selector is kept; Kubernetes resolves it into EndpointSlices, and
	// outside Kubernetes nothing does.
	Selector map[string]string
}

// A ServicePort is one of spec.ports.
type ServicePort struct {
	Name       string
	Port       uint16 // what callers name
	TargetPort TargetPort
	Protocol   string // TCP, UDP or SCTP; the mesh carries TCP
	// AppProtocol is what is spoken, such as http or kubernetes.io/h2c; may be
	// empty. Backend.Policy.Protocol is what follows from it.
	AppProtocol string
}

// A TargetPort is a port by number, or by name where Number is 0.
type TargetPort struct {
	Number uint16
	Name   string
}

const maxServicePorts = 100

func decodeService(meta Meta, root value) Object {
	s := &Service{Meta: meta}
	specSeen := false
	var one, all []netip.Addr
	s.decode(root, isLabel, labelForm, fields{"spec": func(v value) {
		specSeen = true
		v.fields(fields{
			"ports":           s.decodePorts,
			"selector":        stringMap(&s.Selector),
			"clusterIP":       virtual(&one),
			"clusterIPs":      func(v value) { v.each(maxClusterIPs, func(_ int, v value) { virtual(&all)(v) }) },
			"type":            oneOf(new(string), "ClusterIP", "NodePort", "LoadBalancer"),
			"sessionAffinity": oneOf(new(string), "None"),
			// How calls come into a cluster or to a node: no matter to the mesh.
			"externalIPs": ignore, "ipFamilies": ignore, "ipFamilyPolicy": ignore,
			"loadBalancerIP": ignore, "loadBalancerSourceRanges": ignore, "loadBalancerClass": ignore,
			"allocateLoadBalancerNodePorts": ignore, "healthCheckNodePort": ignore,
			"externalTrafficPolicy": ignore, "internalTrafficPolicy": oneOf(new(string), "Cluster"),
			// A hint, and one that Kubernetes has already followed in the EndpointSlices.
			"trafficDistribution": ignore, "publishNotReadyAddresses": ignore,
		})
		s.setClusterIPs(v, one, all)
		if len(s.Ports) == 0 && scalar(v.n, "clusterIP") != headless && child(v.n, "ports") == nil {
			v.missing("ports", "at least one port")
		}
	}})
	if !specSeen {
		root.missing("spec", "ports and, in Kubernetes, a selector")
	}
	return s
}

func (s *Service) decodePorts(v value) {
	v.each(maxServicePorts, func(_ int, v value) {
		p := ServicePort{Protocol: "TCP"}
		v.fields(fields{
			"name":        text(&p.Name, isLabel, labelForm),
			"port":        integer(&p.Port, 1, math.MaxUint16),
			"targetPort":  targetPort(&p.TargetPort),
			"protocol":    oneOf(&p.Protocol, "TCP", "UDP", "SCTP"),
			"appProtocol": text(&p.AppProtocol, isAppProtocol, appProtocolForm),
			"nodePort":    ignore,
		})
		if child(v.n, "port") == nil {
			v.missing("port", "a whole number from 1 to 65535")
		}
		for _, o := range s.Ports {
			switch {
			case o.Name == p.Name && p.Name != "":
				v.at("name").wrong("value " + strconv.Quote(p.Name) + ": another port has it: accepted is a name of its own")
			case o.Name == p.Name:
				v.missing("name", "a name for each of several ports")
			case o.Port == p.Port && o.Protocol == p.Protocol:
				v.at("port").wrong("value \"" + strconv.Itoa(int(p.Port)) + "\": another port has it: accepted is each number once")
			}
		}
		s.Ports = append(s.Ports, p)
	})
}

// targetPort decodes a number or the name of a port.
func targetPort(dst *TargetPort) func(value) {
	const accepted = "a whole number from 1 to 65535, or the name of a port"
	return func(v value) {
		if v.n.ShortTag() == "!!int" {
			n, ok := parsePort(v.n.Value)
			if !ok {
				v.refuse(accepted)
			}
			dst.Number = n
			return
		}
		text(&dst.Name, isLabel, accepted)(v)
	}
}

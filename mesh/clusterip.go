package mesh

import (
	"net/netip"
	"slices"
	"strconv"
)

const (
	maxClusterIPs = 2 // one of each family, as Kubernetes
	headless      = "None"
)

// virtual decodes a virtual address and appends it to dst: the zero Addr where
// there is none, or none yet.
func virtual(dst *[]netip.Addr) func(value) {
	return func(v value) {
		a, err := netip.ParseAddr(v.n.Value)
		none := v.n.Value == "" || v.n.Value == headless
		switch {
		case !isString(v.n) || !none && (err != nil || !reachable(a)):
			v.refuse("an IPv4 or IPv6 address of one host, or " + headless)
		case !none && slices.Contains(*dst, a):
			v.wrong("value " + strconv.Quote(v.n.Value) + " is given twice: accepted is each address once")
		default:
			*dst = append(*dst, a)
		}
	}
}

// setClusterIPs takes the addresses of spec, whose clusterIP is one and whose
// clusterIPs are all.
func (s *Service) setClusterIPs(spec value, one, all []netip.Addr) {
	switch {
	case len(all) == 0:
		all = one
	case len(one) > 0 && one[0] != all[0]:
		spec.at("clusterIPs").wrong("does not begin with clusterIP: accepted is " + strconv.Quote(scalar(spec.n, "clusterIP")) + " first")
	}
	s.ClusterIPs = slices.DeleteFunc(all, func(a netip.Addr) bool { return !a.IsValid() })
	if len(s.ClusterIPs) == 0 {
		s.ClusterIPs = nil
	}
}

// address gives o's virtual addresses to it. One that an earlier Service has
// stays with that.
func (s *State) address(o *Service) {
	for _, a := range o.ClusterIPs {
		has, taken := s.addresses[a]
		if !taken {
			s.addresses[a] = serviceName{o.Namespace, o.Name}
			continue
		}
		s.problems = append(s.problems, &Error{
			File: o.File, Line: o.Line, Object: o.Key, Field: "spec.clusterIPs",
			Problem: "value " + strconv.Quote(a.String()) + ": Service " + has.namespace + "/" + has.name + " has it, which counts: accepted is an address of its own",
		})
	}
}

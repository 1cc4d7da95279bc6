package mesh

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// A HealthCheck says how instances are asked whether they are well. At most one
// of HTTP, GRPC and TCP is not nil; none is none.
type HealthCheck struct {
	HTTP *HTTPCheck
	GRPC *GRPCCheck
	TCP  bool // a connection is all

	Timeout           time.Duration
	Interval          time.Duration // while well
	UnhealthyInterval time.Duration // while not; 0: Interval
	NoTrafficInterval time.Duration // while nobody calls the service
	Jitter            float64       // of the interval, at random, on top
	Unhealthy         uint32        // failures in a row
	Healthy           uint32        // successes in a row
}

// An HTTPCheck is a GET.
type HTTPCheck struct {
	Path, Host string
	HTTP2      bool
	Expected   []StatusRange // none: 200
}

// A GRPCCheck calls grpc.health.v1.Health.
type GRPCCheck struct{ Service string }

// A StatusRange is of HTTP statuses, both ends included.
type StatusRange struct{ From, To int }

const maxExpected = 16

func (h *HealthCheck) decode(v value) {
	*h = HealthCheck{
		Timeout: time.Second, Interval: 10 * time.Second, NoTrafficInterval: time.Minute, Jitter: 0.1, Unhealthy: 3, Healthy: 2,
	}
	one(v, fields{
		"http": h.decodeHTTP,
		"grpc": func(v value) {
			h.GRPC = new(GRPCCheck)
			v.fields(fields{"service": text(&h.GRPC.Service, isText, textForm)})
		},
		"tcp": func(v value) {
			h.TCP = true
			v.fields(fields{})
		},
	}, fields{
		"timeout":            duration(&h.Timeout, time.Millisecond, time.Hour),
		"interval":           duration(&h.Interval, 10*time.Millisecond, maxTime),
		"unhealthyInterval":  duration(&h.UnhealthyInterval, 10*time.Millisecond, maxTime),
		"noTrafficInterval":  duration(&h.NoTrafficInterval, 10*time.Millisecond, maxTime),
		"jitter":             number(&h.Jitter, 0, 1),
		"unhealthyThreshold": integer(&h.Unhealthy, 1, 1000),
		"healthyThreshold":   integer(&h.Healthy, 1, 1000),
	})
}

func (h *HealthCheck) decodeHTTP(v value) {
	c := new(HTTPCheck)
	h.HTTP = c
	v.fields(fields{
		"path":             text(&c.Path, isTarget, "a path that begins with /, without blanks"),
		"host":             text(&c.Host, isHost, "a host with or without a port"),
		"http2":            boolean(&c.HTTP2),
		"expectedStatuses": c.decodeExpected,
	})
	if child(v.n, "path") == nil {
		v.missing("path", "a path that begins with /")
	}
}

// decodeExpected takes statuses and ranges of them, such as 204 and 200-299.
func (c *HTTPCheck) decodeExpected(v value) {
	v.each(maxExpected, func(_ int, v value) {
		from, to, _ := strings.Cut(v.n.Value, "-")
		a, errA := strconv.Atoi(from)
		b, errB := strconv.Atoi(cmp.Or(to, from))
		if v.n.Kind != yaml.ScalarNode || errA != nil || errB != nil || a < 100 || b > 599 || b < a {
			v.refuse("a status from 100 to 599, or a range such as 200-299")
			return
		}
		c.Expected = append(c.Expected, StatusRange{a, b})
	})
	slices.SortFunc(c.Expected, func(a, b StatusRange) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
}

// checkable reports where a policy asks ports by gRPC that do not speak it; they
// are not asked.
func (s *State) checkable(p *TrafficPolicy) {
	if p.Policy.Check.GRPC == nil {
		return
	}
	for _, t := range p.Targets {
		svc := s.services[serviceName{p.Namespace, t.Name}]
		if svc == nil {
			continue // it may yet come
		}
		for _, port := range svc.ports {
			speaks := svc.protocol(port)
			if t.Port != 0 && t.Port != port || speaks == ProtocolAuto || speaks == ProtocolHTTP2 {
				continue
			}
			s.problems = append(s.problems, &Error{
				File: p.File, Line: p.Line, Object: p.Key, Field: "spec.healthCheck.grpc",
				Problem: fmt.Sprintf("has no effect on Service %s port %d, which does not speak HTTP/2: accepted is http, tcp, or an appProtocol such as grpc", t.Name, port),
			})
		}
	}
}

// isTarget reports whether s can be a request's target, with or without a query.
func isTarget(s string) bool { return strings.HasPrefix(s, "/") && isVisible(s) }

// isHost reports whether s can be a Host.
func isHost(s string) bool { return s != "" && isVisible(s) && !strings.ContainsAny(s, "/?#@\\\"<>") }

// isVisible reports whether s is short and of visible ASCII.
func isVisible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return len(s) <= maxPath
}

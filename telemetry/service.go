package telemetry

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A Service names what callers call. All ports of a service are one service
// here: a person scales and watches the service, not its ports.
type Service struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// String is NAMESPACE/NAME.
func (s Service) String() string { return s.Namespace + "/" + s.Name }

// ParseService reads the attribute meshd.service: NAMESPACE/NAME or
// NAMESPACE/NAME:PORT.
func ParseService(text string) (Service, error) {
	ns, name, ok := strings.Cut(text, "/")
	if name, port, has := strings.Cut(name, ":"); has {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			ok = false
		}
		return parsed(text, ns, name, ok)
	}
	return parsed(text, ns, name, ok)
}

func parsed(text, ns, name string, ok bool) (Service, error) {
	if !ok || ns == "" || name == "" || strings.Contains(name, "/") || len(text) > 512 {
		if len(text) > 64 {
			text = text[:64] + "…"
		}
		return Service{}, fmt.Errorf("meshd.service %q: want NAMESPACE/SERVICE:PORT, such as default/checkout:8080", text)
	}
	return Service{Namespace: ns, Name: name}, nil
}

// noService reports whether sidecars count under a name what is no service's:
// calls past the mesh, and those beyond their bound of services. It is taken
// and not kept: here one asks how services do.
func noService(text string) bool { return text == "passthrough" || text == "other" }

// step is the width of a slot.
const step = time.Second

// hotSlots is the number of newest slots that keep their histograms. A report
// may still add to them; older ones are kept as finished Points.
const hotSlots = 64

// settle is the number of newest slots that reports have not yet covered: the
// one that time is in, and the one before it, of which a sidecar that exports
// once a second may still say something.
const settle = 2

// traffic is what one side saw of a service in one slot.
type traffic struct {
	requests, failures float64
	latency            Histogram
}

// A slot is one second of a service.
type slot struct {
	client, server  traffic
	retries, denied float64
	gauges          gauges
	instances       int
}

// gauges are the values of the moment, summed over the instances that report.
type gauges struct {
	clientActive, serverActive, openBreakers float64
}

func (s *slot) reset() {
	s.client.latency.reset()
	s.server.latency.reset()
	*s = slot{
		client: traffic{latency: s.client.latency},
		server: traffic{latency: s.server.latency},
	}
}

// service is all that the store knows of one Service. Guarded by Store.mu.
type service struct {
	id        Service
	born      int64          // first slot
	hot       [hotSlots]slot // slot n is at n % hotSlots
	old       []Point        // ring of finished slots
	oldest    int            // index of the oldest Point once the ring is full
	endpoints map[endpointKey]*endpoint

	clientSince int64 // slot since which callers report without a long pause
	lastClient  int64 // newest slot in which a caller reported; 0 is never
	lastSeen    int64 // newest slot in which anything was said of it
}

type endpointKey struct{ address, id string }

// endpoint counts the attempts that callers sent to one endpoint.
type endpoint struct {
	requests [hotSlots]float32
	last     int64 // newest slot with requests
}

func (s *service) slot(n int64) *slot { return &s.hot[n%hotSlots] }

// open finishes slot n-hotSlots and makes its place slot n's.
func (s *service) open(n int64, keep int) {
	if done := n - hotSlots; done >= s.born {
		p := s.point(done)
		if len(s.old) < keep {
			s.old = append(s.old, p)
		} else {
			s.old[s.oldest] = p
			s.oldest = (s.oldest + 1) % len(s.old)
		}
	}
	s.slot(n).reset()
	for key, e := range s.endpoints {
		e.requests[n%hotSlots] = 0
		if n-e.last >= hotSlots {
			delete(s.endpoints, key)
		}
	}
}

// sawClient notes that a caller reported in slot n.
func (s *service) sawClient(n int64) {
	if s.lastClient == 0 || n-s.lastClient >= hotSlots {
		s.clientSince = n
	}
	s.lastClient = n
}

// view is what there is to show of slot sl as of slot n: what callers saw, or
// what the instances themselves saw where no caller of the mesh reports.
func (s *service) view(sl *slot, n int64) (t *traffic, inFlight float64) {
	reporting := s.lastClient > 0 && s.clientSince <= n && n-s.lastClient < hotSlots
	if reporting || sl.client.requests > 0 {
		return &sl.client, sl.gauges.clientActive
	}
	return &sl.server, sl.gauges.serverActive
}

// point sums up slot n.
func (s *service) point(n int64) Point {
	sl := s.slot(n)
	t, inFlight := s.view(sl, n)
	return Point{
		Time:         time.Unix(0, n*int64(step)).UTC(),
		RPS:          t.requests,
		Success:      success(t.requests, t.failures),
		P50:          seconds(t.latency.Quantile(0.50)),
		P90:          seconds(t.latency.Quantile(0.90)),
		P99:          seconds(t.latency.Quantile(0.99)),
		Instances:    sl.instances,
		InFlight:     inFlight,
		Retries:      sl.retries,
		Denied:       sl.denied,
		OpenBreakers: sl.gauges.openBreakers,
	}
}

func success(requests, failures float64) float64 {
	if requests <= 0 {
		return 1
	}
	return max(0, 1-failures/requests)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

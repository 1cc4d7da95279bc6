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
// may still add to them; older ones are kept packed.
const hotSlots = 64

// settle is the number of newest slots that reports have not yet covered: the
// one that time is in, and the one before it, of which a sidecar that exports
// once a second may still say something.
const settle = 2

// A sums is what one side has counted of a service in one slot.
type sums struct {
	requests, failures float32
	seconds            float32 // that the calls took together

	// The slowest kept call.
	slowest float32
	trace   [16]byte
}

// figures are a slot of a service without its distributions.
type figures struct {
	client, server sums
	byServer       bool // no caller reported: server is what there is to show; of finished slots
	instances      int32

	parts                 [numParts]float32 // seconds
	retries, denied, shed float32
	gauges
}

// gauges are the values of the moment, summed over all that report.
type gauges struct {
	clientActive, serverActive, openBreakers, held float32
}

func (g *gauges) add(k kind, v float32) {
	switch k {
	case clientActive:
		g.clientActive += v
	case serverActive:
		g.serverActive += v
	case openBreakers:
		g.openBreakers += v
	case holdWaiting:
		g.held += v
	}
}

// side is what there is to show, and the calls in flight.
func (f *figures) side() (t *sums, inFlight float32) {
	if f.byServer {
		return &f.server, f.serverActive
	}
	return &f.client, f.clientActive
}

// A slot is one second of a service that may still change.
type slot struct {
	figures
	client, server Histogram
}

func (s *slot) reset() {
	s.client.reset()
	s.server.reset()
	s.figures = figures{}
}

// A port is a value of meshd.service.
type port struct {
	text     string
	service  *service
	followed bool // see Store.Follow
	gone     bool // forgotten; see instance
}

// maxPorts bounds the ports of a service.
const maxPorts = 64

// service is all that the store knows of one Service. Guarded by Store.mu.
type service struct {
	id        Service
	born      int64          // first slot
	hot       [hotSlots]slot // slot n is at n % hotSlots
	history   track[figures] // finished slots
	instances map[string]*instance
	ports     []*port
	noted     ring // of Note
	seen      ring // of reports

	now     gauges // being summed up
	open    float32
	ejected [5]float64 // by rule, since the last tick
	outs    []out      // of those, whose endpoints are named

	clientSince int64 // slot since which callers report without a long pause
	lastClient  int64 // newest slot in which a caller reported; 0 is never
	lastSeen    int64 // newest slot in which anything was said of it
	tryAgain    int64 // slot from which there may be room for an instance again
}

func (s *service) slot(n int64) *slot { return &s.hot[n%hotSlots] }

// turn finishes slot n-hotSlots and makes its place slot n's; it returns by
// how many bytes the history grew.
func (s *service) turn(n int64) (grown int) {
	sl := s.slot(n)
	if done := n - hotSlots; done >= s.born {
		sl.byServer = s.byServer(sl, done)
		latency := &sl.client
		if sl.byServer {
			latency = &sl.server
		}
		grown = s.history.add(done, sl.figures, latency)
	}
	sl.reset()
	for _, in := range s.instances {
		grown += in.turn(n)
	}
	return grown
}

// sawClient notes that a caller reported in slot n.
func (s *service) sawClient(n int64) {
	if s.lastClient == 0 || n-s.lastClient >= hotSlots {
		s.clientSince = n
	}
	s.lastClient = n
}

// byServer says whether slot sl shows, as of slot n, what the instances
// themselves saw, since no caller of the mesh reports.
func (s *service) byServer(sl *slot, n int64) bool {
	reporting := s.lastClient > 0 && s.clientSince <= n && n-s.lastClient < hotSlots
	return !reporting && sl.figures.client.requests <= 0
}

// A latencies is a distribution, packed or not.
type latencies struct {
	packed []byte
	live   *Histogram
}

// into adds it to h.
func (l latencies) into(h *Histogram) {
	if l.live != nil {
		h.merge(l.live)
	} else {
		h.mergePacked(l.packed)
	}
}

// each calls do for the known slots first..last, in order; cur is the slot
// that time is in. What do is given is good until it returns.
func (s *service) each(first, last, cur int64, do func(n int64, f *figures, l latencies)) {
	hot := max(cur-hotSlots+1, s.born)
	s.history.each(first, min(last, hot-1), func(n int64, f *figures, packed []byte) { do(n, f, latencies{packed: packed}) })
	for n := max(first, hot); n <= min(last, cur); n++ {
		sl := s.slot(n)
		sl.byServer = s.byServer(sl, n)
		l := latencies{live: &sl.client}
		if sl.byServer {
			l.live = &sl.server
		}
		do(n, &sl.figures, l)
	}
}

// success is the share of requests that did not fail.
func success(requests, failures float64) float64 {
	if requests <= 0 {
		return 1
	}
	return min(max(0, 1-failures/requests), 1)
}

// service finds or makes the service; nil when there is no room. Needs s.mu.
func (s *Store) service(id Service) *service {
	svc := s.services[id]
	if svc == nil {
		if len(s.services) >= s.cfg.MaxServices && !s.evictService() {
			s.stats.OverflowServices++
			return nil
		}
		svc = &service{id: id, born: s.cur - settle, instances: map[string]*instance{}, lastSeen: s.cur}
		svc.history.per, svc.history.sealer = perChunk, &s.sealer
		s.services[id] = svc
	}
	return svc
}

// evictService is evict for services.
func (s *Store) evictService() bool {
	if s.cur < s.noEvictService {
		return false
	}
	var oldest *service
	for _, svc := range s.services {
		if s.cur-svc.lastSeen > int64(minRetention/step) && (oldest == nil || svc.lastSeen < oldest.lastSeen) {
			oldest = svc
		}
	}
	if oldest == nil {
		s.noEvictService = s.cur + 1
		return false
	}
	s.dropService(oldest.id, oldest)
	return true
}

// port finds or makes what meshd.service names, or says why there is none.
// Needs s.mu.
func (s *Store) port(text string) (*port, error) {
	if p := s.ports[text]; p != nil {
		return p, nil
	}
	id, err := ParseService(text)
	if err != nil {
		s.stats.Invalid++
		return nil, err
	}
	svc := s.service(id)
	if svc == nil {
		return nil, fmt.Errorf("meshd.service %q: meshd keeps at most %d services", clip(text, 64), s.cfg.MaxServices)
	}
	if len(svc.ports) >= maxPorts {
		s.stats.OverflowServices++
		return nil, fmt.Errorf("meshd.service %q: meshd knows at most %d ports of a service", clip(text, 64), maxPorts)
	}
	_, followed := s.followed[text]
	p := &port{text: text, service: svc, followed: followed}
	s.ports[text] = p
	svc.ports = append(svc.ports, p)
	return p, nil
}

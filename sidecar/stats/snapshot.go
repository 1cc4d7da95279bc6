package stats

import "time"

// A Snapshot is everything counted so far, for the admin page and for tests.
// Durations are milliseconds.
type Snapshot struct {
	Start       time.Time         `json:"start"`
	Time        time.Time         `json:"time"`
	Connections Connections       `json:"connections"`
	Panics      uint64            `json:"panics"`
	Malformed   uint64            `json:"malformedRequests"`
	Passthrough uint64            `json:"passthrough"`
	Refused     map[string]uint64 `json:"refusedConnections,omitempty"` // by error
	Client      []ServiceSnapshot `json:"client"`
	Server      []ServiceSnapshot `json:"server"`
	Figures     Figures           `json:"figures,omitempty"` // of the process
}

// Connections are open at the time of the snapshot.
type Connections struct {
	Downstream int64 `json:"downstream"`
	Upstream   int64 `json:"upstream"`
}

// A ServiceSnapshot is one service's part of a Snapshot.
type ServiceSnapshot struct {
	Name          string            `json:"name"`
	Active        int64             `json:"active"`
	Retries       map[string]uint64 `json:"retries,omitempty"` // by reason
	RetriesDenied uint64            `json:"retriesDenied"`
	IdleResets    uint64            `json:"idleResets"`
	BreakersOpen  int               `json:"breakersOpen"` // open or half open
	Endpoints     []EndpointStat    `json:"endpoints,omitempty"`
	Series        []Series          `json:"series,omitempty"`
	TCP           *TCPSnapshot      `json:"tcp,omitempty"`
	Figures       Figures           `json:"figures,omitempty"`

	quiet bool // nobody has called it of late
}

// A Series is the calls of one route that ended in one way. Status is 0 when
// none was sent, GRPC is the name of the code of a gRPC call (its Status is
// 200), Error is empty unless the proxy decided the outcome.
type Series struct {
	Route  string  `json:"route"`
	Status int     `json:"status,omitempty"`
	GRPC   string  `json:"grpcStatus,omitempty"`
	Error  string  `json:"error,omitempty"`
	Count  uint64  `json:"count"`
	MeanMs float64 `json:"meanMs"`
	P50Ms  float64 `json:"p50Ms"`
	P90Ms  float64 `json:"p90Ms"`
	P99Ms  float64 `json:"p99Ms"`

	Latency Distribution `json:"-"`
	Buckets *Buckets     `json:"buckets,omitempty"` // of Latency, after AddBuckets
}

// Buckets are those of an exponential histogram as OpenTelemetry has it, in
// seconds: of two snapshots, those of the calls between them are the differences.
type Buckets struct {
	Scale  int      `json:"scale"`
	Offset int      `json:"offset"` // of the first count
	Counts []uint64 `json:"counts"`
}

// AddBuckets puts every Series's Latency into what is written as JSON.
func (s *Snapshot) AddBuckets() {
	for _, services := range [][]ServiceSnapshot{s.Client, s.Server} {
		for _, of := range services {
			for i := range of.Series {
				d := &of.Series[i].Latency
				of.Series[i].Buckets = &Buckets{Scale: Scale, Offset: d.Offset, Counts: d.Counts}
			}
		}
	}
}

// Snapshot reads every counter. The counters go on while it reads, so two of
// them may differ by the calls of that moment.
func (r *Registry) Snapshot() Snapshot {
	r.mu.Lock()
	clients := r.clients.order[:len(r.clients.order):len(r.clients.order)]
	servers := r.servers.order[:len(r.servers.order):len(r.servers.order)]
	r.mu.Unlock()

	now := r.now()
	return Snapshot{
		Start:       r.start,
		Time:        now,
		Connections: Connections{r.Downstream.Value(), r.Upstream.Value()},
		Panics:      r.Panics.Value(),
		Malformed:   r.Malformed.Value(),
		Passthrough: r.Passthrough.Value(),
		Refused:     r.refusals(),
		Client:      snapshots(clients, now),
		Server:      snapshots(servers, now),
		Figures:     r.allFigures(),
	}
}

func snapshots(services []*Service, now time.Time) []ServiceSnapshot {
	out := make([]ServiceSnapshot, 0, len(services))
	for _, s := range services {
		out = append(out, s.snapshot(now))
	}
	return out
}

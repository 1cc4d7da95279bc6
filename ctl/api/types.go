// Package api is meshd's HTTP interface as its callers see it; the contract
// is docs/reference/wire.md. Durations are milliseconds.
package api

import "encoding/json"

// Status is GET /api/v1/status.
type Status struct {
	Version       string      `json:"version"`
	UptimeSeconds float64     `json:"uptimeSeconds"`
	Clients       []XDSClient `json:"clients"`
	Services      []Service   `json:"services"`
	Telemetry     Kept        `json:"telemetry"`
}

// Kept counts, since meshd's start, what was measured and it has not kept, and
// how long it took to keep the rest.
type Kept struct {
	Overflow     uint64 `json:"overflow"`     // points beyond its bounds
	Invalid      uint64 `json:"invalid"`      // points and spans that make no sense
	DroppedSpans uint64 `json:"droppedSpans"` // of traces that are too large

	BusySeconds float64 `json:"busySeconds"`
}

// An XDSClient is one xDS stream.
type XDSClient struct {
	ID               string  `json:"id"`
	Service          string  `json:"service"`
	Namespace        string  `json:"namespace"`
	Admin            string  `json:"admin"`             // of its sidecar; empty: none, or another program
	Version          string  `json:"version,omitempty"` // of its sidecar
	ConnectedSeconds float64 `json:"connectedSeconds"`
	Acked            int     `json:"acked"`
	Nacked           int     `json:"nacked"`
	LastNack         string  `json:"lastNack"`
	Has              []Has   `json:"has,omitempty"`
}

// Has is what a client has of one type of resource.
type Has struct {
	Type      string `json:"type"`
	Resources int    `json:"resources"`
	Rejected  string `json:"rejected,omitempty"` // why it keeps older ones of what it was sent
}

// A Service is one port of one service, with its instances.
type Service struct {
	Name      string     `json:"name"`
	Namespace string     `json:"namespace"`
	Port      int        `json:"port"`
	Protocol  string     `json:"protocol"` // what its instances speak: auto, http1, http2 or tcp
	Source    string     `json:"source"`
	Instances []Instance `json:"instances"`
}

// An Instance is one endpoint of a service.
type Instance struct {
	ID         string  `json:"id"`
	Address    string  `json:"address"`
	Ready      bool    `json:"ready"`
	Draining   bool    `json:"draining"`
	Region     string  `json:"region"`
	Zone       string  `json:"zone"`
	Admin      string  `json:"admin"`
	PID        int     `json:"pid"`
	Version    string  `json:"version,omitempty"` // of its sidecar
	AgeSeconds float64 `json:"ageSeconds"`
}

// Scale is GET and, without Ready, PUT /api/v1/scale/NAMESPACE/SERVICE.
type Scale struct {
	Replicas int `json:"replicas"`
	Ready    int `json:"ready"`
}

// Metrics is GET /api/v1/metrics, and each event of /api/v1/events.
type Metrics struct {
	Time          string           `json:"time"`
	WindowSeconds float64          `json:"windowSeconds"`
	Services      []ServiceMetrics `json:"services"`
}

// ServiceMetrics is what callers saw of one service.
type ServiceMetrics struct {
	Name             string            `json:"name"`
	Namespace        string            `json:"namespace"`
	RPS              float64           `json:"rps"`
	Success          float64           `json:"success"` // 0 to 1
	P50Ms            float64           `json:"p50Ms"`
	P90Ms            float64           `json:"p90Ms"`
	P99Ms            float64           `json:"p99Ms"`
	Instances        int               `json:"instances"`
	RetriesPerSecond float64           `json:"retriesPerSecond"`
	OpenBreakers     int               `json:"openBreakers"`
	InFlight         int               `json:"inFlight"`
	Endpoints        []EndpointMetrics `json:"endpoints"`
}

// EndpointMetrics is one instance's share of the attempts.
type EndpointMetrics struct {
	ID      string  `json:"id"`
	Address string  `json:"address"`
	RPS     float64 `json:"rps"`
}

// An Object is one object that meshd holds, and where it is from.
type Object struct {
	Kind      string          `json:"kind"`
	Namespace string          `json:"namespace"`
	Name      string          `json:"name"`
	Source    string          `json:"source"`
	Object    json.RawMessage `json:"object"`
}

// Applied is the answer to POST /api/v1/objects.
type Applied struct {
	Applied []AppliedObject `json:"applied"`
	Refused []string        `json:"refused"`
}

// An AppliedObject is one object that was taken; Result is created,
// configured or unchanged.
type AppliedObject struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Result    string `json:"result"`
}

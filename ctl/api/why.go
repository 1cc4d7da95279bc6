package api

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// A CallRecord is what a sidecar has kept of a call that failed, was slow, or is
// sampled: GET /why on its admin port. Times are milliseconds since the call began.
type CallRecord struct {
	Sidecar  string    `json:"sidecar,omitempty"` // admin address; meshctl's own addition
	Trace    string    `json:"trace,omitempty"`
	Time     time.Time `json:"time"`
	Service  string    `json:"service"`
	Route    string    `json:"route,omitempty"`
	Cluster  string    `json:"cluster,omitempty"`
	Balancer string    `json:"balancer,omitempty"`
	// The versions of the configuration by which the call went.
	RouteVersion   string `json:"routeVersion,omitempty"`
	ClusterVersion string `json:"clusterVersion,omitempty"`

	Inbound bool   `json:"inbound,omitempty"`
	Kept    string `json:"kept"` // error, slow, sampled or joined

	Method   string  `json:"method,omitempty"`
	Path     string  `json:"path,omitempty"`
	Status   int     `json:"status,omitempty"`
	GRPC     string  `json:"grpc,omitempty"`
	Error    string  `json:"error,omitempty"`
	Refusal  string  `json:"refusal,omitempty"`
	TookMs   float64 `json:"tookMs"`
	HeldMs   float64 `json:"heldMs,omitempty"`
	QueuedMs float64 `json:"queuedMs,omitempty"`

	Priority   string  `json:"priority,omitempty"`
	DeadlineMs float64 `json:"deadlineMs,omitempty"`
	Earlier    int     `json:"earlier,omitempty"`
	Session    string  `json:"session,omitempty"`

	Attempts   []CallAttempt   `json:"attempts,omitempty"`
	Notes      []string        `json:"notes,omitempty"`
	Budget     float64         `json:"budget"`
	Candidates []CallCandidate `json:"candidates,omitempty"`
	Endpoints  int             `json:"endpoints,omitempty"`
}

// A CallAttempt is one attempt of a call.
type CallAttempt struct {
	Endpoint string  `json:"endpoint"`
	Instance string  `json:"instance,omitempty"`
	AtMs     float64 `json:"atMs"`
	TookMs   float64 `json:"tookMs,omitempty"`
	Cost     float64 `json:"cost"` // ns
	Status   int     `json:"status,omitempty"`
	GRPC     string  `json:"grpc,omitempty"`
	Error    string  `json:"error,omitempty"`
	Retry    string  `json:"retry,omitempty"`
	Hedge    bool    `json:"hedge,omitempty"`
	Shed     bool    `json:"shed,omitempty"`
}

// A CallCandidate is an endpoint as it was when the call had ended.
type CallCandidate struct {
	Endpoint string  `json:"endpoint"`
	Instance string  `json:"instance,omitempty"`
	Cost     float64 `json:"cost"` // ns
	InFlight int64   `json:"inFlight"`
	Breaker  string  `json:"breaker"`
	Health   string  `json:"health,omitempty"`
}

// Why asks the sidecar whose admin port is at addr for records; query has
// trace, service, kept and limit.
func Why(ctx context.Context, addr string, query url.Values) ([]CallRecord, error) {
	var out []CallRecord
	if err := callSidecar(ctx, http.MethodGet, addr, "/why", query, &out); err != nil {
		return nil, err
	}
	for i := range out {
		out[i].Sidecar = addr
	}
	return out, nil
}

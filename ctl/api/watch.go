package api

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// A ServiceName names a service; all its ports are one.
type ServiceName struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// A Sample is one step of a service as its callers see it, or of an instance as
// its own sidecar does. Rates are a second. MeanMs is the sum of those below it.
type Sample struct {
	Time         time.Time `json:"time"` // when the step began
	RPS          float64   `json:"rps"`
	Success      float64   `json:"success"` // 0 to 1
	P50Ms        float64   `json:"p50Ms"`
	P90Ms        float64   `json:"p90Ms"`
	P99Ms        float64   `json:"p99Ms"`
	InFlight     float64   `json:"inFlight"`
	Instances    int       `json:"instances"`
	Retries      float64   `json:"retries"`
	Denied       float64   `json:"denied"`
	Shed         float64   `json:"shed"`
	Held         float64   `json:"held"`
	OpenBreakers float64   `json:"openBreakers"`

	MeanMs       float64 `json:"meanMs"`
	HeldMs       float64 `json:"heldMs"`
	ConnectMs    float64 `json:"connectMs"`
	RetriedMs    float64 `json:"retriedMs"`
	NetworkMs    float64 `json:"networkMs"`
	QueuedMs     float64 `json:"queuedMs"`
	DownstreamMs float64 `json:"downstreamMs"`
	OwnMs        float64 `json:"ownMs"`

	Trace string `json:"trace,omitempty"` // of a call at or above its p99
}

// An InstanceStat is an instance over a window.
type InstanceStat struct {
	ID       string  `json:"id"`
	Address  string  `json:"address"`
	RPS      float64 `json:"rps"`
	Share    float64 `json:"share"` // of its service's calls, 0 to 1
	Success  float64 `json:"success"`
	P50Ms    float64 `json:"p50Ms"`
	P90Ms    float64 `json:"p90Ms"`
	P99Ms    float64 `json:"p99Ms"`
	InFlight float64 `json:"inFlight"`
	Attempts float64 `json:"attempts"` // a second, as callers count them
	Failures float64 `json:"failures"` // of these
	// Weight is the part of calls that callers aim at, 0 to 1; nil: nobody has
	// called of late.
	Weight *float64 `json:"weight,omitempty"`
}

// An Edge is the calls of one service to another.
type Edge struct {
	From    ServiceName `json:"from"`
	To      ServiceName `json:"to"`
	RPS     float64     `json:"rps"`
	Success float64     `json:"success"`
	P50Ms   float64     `json:"p50Ms"`
	P99Ms   float64     `json:"p99Ms"`
}

// An Event is something that happened to a service.
type Event struct {
	Time     time.Time   `json:"time"`
	Service  ServiceName `json:"service"`
	Kind     string      `json:"kind"`
	Instance string      `json:"instance,omitempty"`
	Text     string      `json:"text"`
}

// A TraceSummary is a trace in a list.
type TraceSummary struct {
	ID         string      `json:"id"`
	Start      time.Time   `json:"start"`
	DurationMs float64     `json:"durationMs"`
	ServiceMs  float64     `json:"serviceMs"` // the longest span that the service asked for is in
	Name       string      `json:"name"`
	Service    ServiceName `json:"service"`
	Services   int         `json:"services"`
	Spans      int         `json:"spans"`
	Failed     bool        `json:"failed"`
	Message    string      `json:"message,omitempty"`
}

// A Trace is what is kept of one trace, spans by their start.
type Trace struct {
	ID      string      `json:"id"`
	Dropped int         `json:"dropped"`
	Spans   []TraceSpan `json:"spans"`
}

// A TraceSpan is a span, as OpenTelemetry has it.
type TraceSpan struct {
	ID         string         `json:"id"`
	Parent     string         `json:"parent"`
	Name       string         `json:"name"`
	Kind       string         `json:"kind"` // internal, server, client, producer or consumer
	Service    string         `json:"service"`
	Namespace  string         `json:"namespace"`
	Instance   string         `json:"instance"`
	Start      time.Time      `json:"start"`
	DurationMs float64        `json:"durationMs"`
	Failed     bool           `json:"failed"`
	Message    string         `json:"message,omitempty"`
	Attributes map[string]any `json:"attributes"`
	Events     []TraceEvent   `json:"events"`
	Resource   map[string]any `json:"resource,omitempty"` // attributes of whoever reports it, beside its names
}

// A TraceEvent is something that happened at one moment of a span.
type TraceEvent struct {
	Name       string         `json:"name"`
	Time       time.Time      `json:"time"`
	Attributes map[string]any `json:"attributes"`
}

// Series returns a service step by step over the last window; query may have
// instance and step.
func (c *Client) Series(ctx context.Context, s ServiceName, window time.Duration, query url.Values) ([]Sample, error) {
	var out struct {
		Samples []Sample `json:"samples"`
	}
	err := c.watchGet(ctx, servicePath(s)+"/series", window, query, &out)
	return out.Samples, err
}

// Instances returns a service's instances over the last window.
func (c *Client) Instances(ctx context.Context, s ServiceName, window time.Duration) ([]InstanceStat, error) {
	var out struct {
		Instances []InstanceStat `json:"instances"`
	}
	err := c.watchGet(ctx, servicePath(s)+"/instances", window, nil, &out)
	return out.Instances, err
}

// Events returns what happened to a service in the last window, oldest first.
func (c *Client) Events(ctx context.Context, s ServiceName, window time.Duration) ([]Event, error) {
	var out struct {
		Events []Event `json:"events"`
	}
	err := c.watchGet(ctx, servicePath(s)+"/events", window, nil, &out)
	return out.Events, err
}

// Map returns who called whom in the last window.
func (c *Client) Map(ctx context.Context, window time.Duration) ([]Edge, error) {
	var out struct {
		Edges []Edge `json:"edges"`
	}
	err := c.watchGet(ctx, "/api/v1/map", window, nil, &out)
	return out.Edges, err
}

// Traces returns those that are kept; query has service, kind, min and limit.
func (c *Client) Traces(ctx context.Context, query url.Values) ([]TraceSummary, error) {
	var out struct {
		Traces []TraceSummary `json:"traces"`
	}
	err := c.watchGet(ctx, "/api/v1/traces", 0, query, &out)
	return out.Traces, err
}

// Trace returns one by its id, 32 hexadecimal digits.
func (c *Client) Trace(ctx context.Context, id string) (Trace, error) {
	var out Trace
	err := c.watchGet(ctx, "/api/v1/traces/"+url.PathEscape(id), 0, nil, &out)
	return out, err
}

func servicePath(s ServiceName) string {
	return "/api/v1/services/" + url.PathEscape(s.Namespace) + "/" + url.PathEscape(s.Name)
}

func (c *Client) watchGet(ctx context.Context, path string, window time.Duration, query url.Values, out any) error {
	all := url.Values{}
	for name, values := range query {
		all[name] = values
	}
	if window > 0 {
		all.Set("window", window.String())
	}
	if len(all) > 0 {
		path += "?" + all.Encode()
	}
	return c.call(ctx, http.MethodGet, path, "", nil, out)
}

package tap

import (
	"encoding/hex"
	"strings"
	"time"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/stats"
)

// A Line is one call, as a reader gets it. Durations are milliseconds.
type Line struct {
	Time     time.Time `json:"time"` // when it began
	Side     string    `json:"side"` // in, out
	Reporter string    `json:"reporter,omitempty"`
	Service  string    `json:"service"`
	Route    string    `json:"route,omitempty"`

	Method string `json:"method,omitempty"`
	Path   string `json:"path,omitempty"` // without its query
	Peer   string `json:"peer,omitempty"`
	HTTP   string `json:"http,omitempty"` // its version, as the caller speaks it

	Status  int    `json:"status,omitempty"`
	GRPC    string `json:"grpc,omitempty"`
	Error   string `json:"error,omitempty"`
	Failed  bool   `json:"failed,omitempty"`
	Refusal string `json:"refusal,omitempty"`

	TookMs   float64            `json:"tookMs"`
	PartsMs  map[string]float64 `json:"partsMs,omitempty"` // by part: held, connect, retried, queued, downstream
	Attempts int                `json:"attempts,omitempty"`
	Endpoint string             `json:"endpoint,omitempty"`
	Instance string             `json:"instance,omitempty"`

	TCP      bool  `json:"tcp,omitempty"`
	Sent     int64 `json:"sent,omitempty"`
	Received int64 `json:"received,omitempty"`

	Trace   string            `json:"trace,omitempty"`
	Kept    string            `json:"kept,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
}

// A Missed is what a reader was not shown, in all so far.
type Missed struct {
	// Over were more than max-rps; Lost were more than the reader took.
	Over uint64 `json:"over"`
	Lost uint64 `json:"lost"`
}

// Most of a path that a Line has, in bytes.
const maxPath = 512

// line copies what it takes: an Entry's strings live no longer than the call.
func line(e *call.Entry, f *Filter, instance string) Line {
	l := Line{
		Time: e.Time, Side: "out", Reporter: instance, Service: e.Service, Route: e.Route,
		Method: short(e.Method, 32), Path: short(e.Path, maxPath), Peer: strings.Clone(e.Peer), HTTP: e.Version,
		Status: e.Status, Error: e.Error.String(), Failed: e.Failed, Refusal: e.Refusal,
		TookMs: float64(e.Took) / 1e6, Attempts: e.Attempts, Endpoint: e.Endpoint, Instance: e.Instance,
		TCP: e.TCP, Sent: e.Sent, Received: e.Received, Kept: e.Kept,
	}
	if e.Inbound {
		l.Side, l.Instance = "in", instance
	}
	if code, ok := stats.GRPCCode(e.Status); ok {
		l.Status, l.GRPC = 0, stats.GRPCName(code)
	}
	if e.Context.TraceID != [16]byte{} {
		l.Trace = hex.EncodeToString(e.Context.TraceID[:])
	}
	for i, d := range e.Parts {
		if d > 0 {
			if l.PartsMs == nil {
				l.PartsMs = map[string]float64{}
			}
			l.PartsMs[stats.Part(i).String()] = float64(d) / 1e6
		}
	}
	for _, h := range e.Headers {
		for _, name := range f.Headers {
			if name != h.Name {
				continue
			}
			if l.Headers == nil {
				l.Headers = map[string]string{}
			}
			l.Headers[name] = shown(name, h.Value)
		}
	}
	return l
}

func short(s string, most int) string { return strings.Clone(s[:min(len(s), most)]) }

// redacted stands for the value of a header that lets somebody in.
const redacted = "REDACTED"

// secrets are the parts of a header's name by which its value is one.
var secrets = [...]string{
	"auth", "cookie", "token", "secret", "passw", "passphrase", "credential", "session", "signature", "api-key", "apikey",
	"access-key", "private-key", "jwt", "assertion",
}

// shown is the value of a header as it may leave the sidecar.
func shown(name, value string) string {
	for _, s := range secrets {
		if strings.Contains(name, s) {
			return redacted
		}
	}
	return value
}

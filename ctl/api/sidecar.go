package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// askSidecar sends a request to the admin port at addr. What is not 2xx is an
// error with what the sidecar says. The caller closes the body.
func askSidecar(ctx context.Context, method, addr, path string, query url.Values) (*http.Response, error) {
	// No connection is kept, and no proxy used: a sidecar is no service of the mesh.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	u := url.URL{Scheme: "http", Host: addr, Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("sidecar %s: %w", addr, err)
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("sidecar %s: %w", addr, cause(err))
	}
	if res.StatusCode/100 == 2 {
		return res, nil
	}
	defer res.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(res.Body, 4096)) // the status says enough without it
	message := strings.TrimSpace(string(said))
	var inJSON struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(said, &inJSON) == nil && inJSON.Error != "" {
		message = inJSON.Error
	}
	return nil, &SidecarRefused{Addr: addr, Code: res.StatusCode, Message: message}
}

// callSidecar decodes the answer of a sidecar into out.
func callSidecar(ctx context.Context, method, addr, path string, query url.Values, out any) error {
	res, err := askSidecar(ctx, method, addr, path, query)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("sidecar %s: %w", addr, err)
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("sidecar %s: answer of %s: %w", addr, path, err)
	}
	return nil
}

// A logLevel is GET and PUT /log-level of a sidecar, and /api/v1/log-level of meshd.
type logLevel struct {
	Level string `json:"level"`
}

// LogLevel returns meshd's; with set not empty it is set before.
func (c *Client) LogLevel(ctx context.Context, set string) (string, error) {
	method, query := levelRequest(set)
	path := "/api/v1/log-level"
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	var out logLevel
	err := c.call(ctx, method, path, "", nil, &out)
	return out.Level, err
}

// SidecarLogLevel is LogLevel of the sidecar whose admin port is at addr.
func SidecarLogLevel(ctx context.Context, addr, set string) (string, error) {
	method, query := levelRequest(set)
	var out logLevel
	err := callSidecar(ctx, method, addr, "/log-level", query, &out)
	return out.Level, err
}

func levelRequest(set string) (method string, query url.Values) {
	if set == "" {
		return http.MethodGet, nil
	}
	return http.MethodPut, url.Values{"level": {set}}
}

// SidecarStats is GET /stats of a sidecar, as far as meshctl reads it.
type SidecarStats struct {
	Time      time.Time             `json:"time"`
	Panics    uint64                `json:"panics"`
	Malformed uint64                `json:"malformedRequests"`
	Client    []SidecarServiceStats `json:"client"`
	Server    []SidecarServiceStats `json:"server"`
	Figures   Figures               `json:"figures"`
}

// SidecarServiceStats is one service's part of it.
type SidecarServiceStats struct {
	Name    string        `json:"name"`
	Figures Figures       `json:"figures"`
	Series  []RouteSeries `json:"series"`
}

// A RouteSeries is the calls of one route that ended in one way, since the
// sidecar's start.
type RouteSeries struct {
	Route   string   `json:"route"`
	Status  int      `json:"status"`
	GRPC    string   `json:"grpcStatus"`
	Error   string   `json:"error"`
	Count   uint64   `json:"count"`
	MeanMs  float64  `json:"meanMs"`
	Buckets *Buckets `json:"buckets"`
}

// Buckets are those of an exponential histogram of seconds, as OpenTelemetry
// has it.
type Buckets struct {
	Scale  int      `json:"scale"`
	Offset int      `json:"offset"`
	Counts []uint64 `json:"counts"`
}

// Figures are numbers by a metric's name and, where it has an attribute, that
// one's value; the empty one where it has none.
type Figures map[string]map[string]float64

// UnmarshalJSON takes {"NAME": value} and {"NAME": {"WORD": value}}.
func (f *Figures) UnmarshalJSON(b []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	*f = Figures{}
	for name, v := range raw {
		var one float64
		if json.Unmarshal(v, &one) == nil {
			(*f)[name] = map[string]float64{"": one}
			continue
		}
		var words map[string]float64
		if err := json.Unmarshal(v, &words); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		(*f)[name] = words
	}
	return nil
}

// Stats returns what the sidecar whose admin port is at addr has counted, with
// the buckets of its histograms.
func Stats(ctx context.Context, addr string) (SidecarStats, error) {
	var out SidecarStats
	err := callSidecar(ctx, http.MethodGet, addr, "/stats", url.Values{"buckets": {"true"}}, &out)
	return out, err
}

// A SidecarRefused error is a sidecar's answer other than 2xx.
type SidecarRefused struct {
	Addr    string
	Code    int
	Message string
}

func (e *SidecarRefused) Error() string {
	if e.Message == "" {
		e.Message = http.StatusText(e.Code)
	}
	return fmt.Sprintf("sidecar %s: %d: %s", e.Addr, e.Code, e.Message)
}

// SidecarReady asks the sidecar whose admin port is at addr whether it takes calls.
func SidecarReady(ctx context.Context, addr string) error {
	res, err := askSidecar(ctx, http.MethodGet, addr, "/ready", nil)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

package tap

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/stats"
)

// The bounds of what one reader may ask for.
const (
	defaultPerSecond = 100
	maxPerSecond     = 1000
	maxHeaders       = 16
	maxName          = 64 // bytes of a header's name
	maxValue         = 512
)

// A Filter says which calls a reader wants, and what of them. What is empty
// matches all.
type Filter struct {
	Side       string // in, out: calls that the application takes, or makes
	Service    string // "default/checkout:8080", or "checkout" of any namespace and port
	Method     string
	Path       string // its beginning
	Instance   string // the endpoint's, out; this one, in
	Status     []statusRange
	Error      bool // only those that failed
	MinLatency time.Duration
	Headers    []string // of the request, in lower case
	PerSecond  float64  // calls shown, at most
}

// A statusRange are HTTP statuses from low to high, or one gRPC status.
type statusRange struct {
	low, high int
	grpc      string
}

// ParseFilter reads side, service, method, path, instance, status, error,
// min-latency, headers and max-rps. An error names the parameter, its value and
// what is accepted.
func ParseFilter(v url.Values) (f Filter, err error) {
	for name, to := range map[string]*string{
		"side": &f.Side, "service": &f.Service, "method": &f.Method, "path": &f.Path, "instance": &f.Instance,
	} {
		if *to = v.Get(name); len(*to) > maxValue {
			return f, fmt.Errorf("%s: %d bytes: at most %d are accepted", name, len(*to), maxValue)
		}
	}
	if f.Side != "" && f.Side != "in" && f.Side != "out" {
		return f, fmt.Errorf("side %q: want in or out", f.Side)
	}
	if f.Status, err = parseStatuses(v.Get("status")); err != nil {
		return f, err
	}
	if s := v.Get("error"); s != "" {
		if f.Error, err = strconv.ParseBool(s); err != nil {
			return f, fmt.Errorf("error %q: want true or false", s)
		}
	}
	if s := v.Get("min-latency"); s != "" {
		if f.MinLatency, err = time.ParseDuration(s); err != nil || f.MinLatency < 0 {
			return f, fmt.Errorf("min-latency %q: want a duration such as 100ms", s)
		}
	}
	if f.Headers, err = parseHeaders(v.Get("headers")); err != nil {
		return f, err
	}
	f.PerSecond = defaultPerSecond
	if s := v.Get("max-rps"); s != "" {
		if f.PerSecond, err = strconv.ParseFloat(s, 64); err != nil || !(f.PerSecond > 0 && f.PerSecond <= maxPerSecond) {
			return f, fmt.Errorf("max-rps %q: want more than 0 and at most %d", s, maxPerSecond)
		}
	}
	return f, nil
}

// parseStatuses reads "503", "5xx", "400-499", "UNAVAILABLE", or several with
// commas between.
func parseStatuses(s string) (out []statusRange, err error) {
	if s == "" {
		return nil, nil
	}
	if len(s) > maxValue {
		return nil, fmt.Errorf("status: %d bytes: at most %d are accepted", len(s), maxValue)
	}
	for one := range strings.SplitSeq(s, ",") {
		r, ok := parseStatus(strings.TrimSpace(one))
		if !ok {
			return nil, fmt.Errorf("status %q: want such as 503, 5xx, 400-499, or a gRPC status such as UNAVAILABLE", one)
		}
		out = append(out, r)
	}
	return out, nil
}

func parseStatus(s string) (r statusRange, ok bool) {
	if len(s) == 3 && strings.EqualFold(s[1:], "xx") && s[0] >= '1' && s[0] <= '5' {
		low := int(s[0]-'0') * 100
		return statusRange{low: low, high: low + 99}, true
	}
	for code := range uint32(17) {
		if strings.EqualFold(s, stats.GRPCName(code)) {
			return statusRange{grpc: stats.GRPCName(code)}, true
		}
	}
	first, last, isRange := strings.Cut(s, "-")
	low, err := strconv.Atoi(first)
	r = statusRange{low: low, high: low}
	if isRange && err == nil {
		r.high, err = strconv.Atoi(last)
	}
	return r, err == nil && r.low >= 100 && r.low <= r.high && r.high <= 599
}

func parseHeaders(s string) (out []string, err error) {
	if s == "" {
		return nil, nil
	}
	for name := range strings.SplitSeq(s, ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		if name == "" || len(name) > maxName || strings.ContainsFunc(name, notToken) {
			return nil, fmt.Errorf("headers: %.80q is no header's name", name)
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	if len(out) > maxHeaders {
		return nil, fmt.Errorf("headers: %d names: at most %d are accepted", len(out), maxHeaders)
	}
	return out, nil
}

// notToken are the characters that a name may not have (RFC 9110 section 5.6.2).
func notToken(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

// match reports whether a call is wanted by a reader of instance's sidecar.
func (f *Filter) match(e *call.Entry, instance string) bool {
	at := e.Instance
	if e.Inbound {
		at = instance
	}
	switch {
	case f.Side == "in" && !e.Inbound, f.Side == "out" && e.Inbound,
		f.Error && !e.Failed, e.Took < f.MinLatency,
		f.Service != "" && !call.IsService(e.Service, f.Service),
		f.Method != "" && !strings.EqualFold(e.Method, f.Method),
		f.Path != "" && !strings.HasPrefix(e.Path, f.Path),
		f.Instance != "" && at != f.Instance:
		return false
	}
	if len(f.Status) == 0 {
		return true
	}
	status, name := e.Status, ""
	if code, ok := stats.GRPCCode(status); ok {
		status, name = http.StatusOK, stats.GRPCName(code)
	}
	return slices.ContainsFunc(f.Status, func(r statusRange) bool {
		if r.grpc != "" {
			return r.grpc == name
		}
		return status >= r.low && status <= r.high
	})
}

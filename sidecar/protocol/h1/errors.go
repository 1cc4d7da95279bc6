package h1

import (
	"strconv"
	"strings"
	"time"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/stats"
)

// NoRoute is the answer to a call to what is not known and may not pass.
func NoRoute(name string, e stats.ErrorType) (status int, detail string) {
	switch e {
	case stats.ErrHTTPRequestDenied:
		return 403, name + " is not in the mesh, and the outbound policy is deny"
	case stats.ErrProxyLoopDetected:
		return 508, name + " leads back to this sidecar"
	case stats.ErrDestinationNotFound:
		return 503, name + " is not in the mesh and not a host that can be looked up"
	}
	if status = e.Status(); status == 0 {
		status = 503
	}
	return status, name + " could not be resolved"
}

// Detail says in words what failed where, in a call to an endpoint that speaks protocol.
func Detail(c *call.Call, e stats.ErrorType, protocol string) string {
	name := c.Route.Service.Name()
	where := name
	if ep := c.Endpoint(); ep != nil {
		where = name + " at " + ep.Address
	}
	n := c.Attempts()
	tries := ""
	if n > 1 {
		tries = ", " + strconv.Itoa(n) + " attempts"
	}
	switch e {
	case stats.ErrDestinationUnavailable:
		return name + " has no endpoint that takes calls (none ready, or every breaker open)" + tries
	case stats.ErrConnectionLimitReached:
		return name + " is at its limit of requests or connections"
	case stats.ErrConnectionTimeout:
		return "connecting to " + where + " took too long" + tries
	case stats.ErrConnectionRefused:
		return "cannot connect to " + where + tries
	case stats.ErrConnectionTerminated:
		return where + " closed the connection without an answer" + tries
	case stats.ErrHTTPResponseIncomplete:
		return where + " closed the connection within its answer" + tries
	case stats.ErrHTTPResponseTimeout:
		return where + " did not answer in time" + tries
	case stats.ErrHTTPProtocolError:
		return where + " sent a response that is not valid " + protocol + tries
	}
	return where + ": " + e.String() + tries
}

// Refused is the answer to a call that its Begin, Resumed or NoEndpoint has
// refused, whose endpoint speaks protocol.
func Refused(c *call.Call, protocol string) (status int, e stats.ErrorType, detail string, retryAfter time.Duration) {
	r := c.Refusal()
	if status = r.Status; status == 0 {
		status = FailStatus(r.Err)
	}
	if detail = r.Detail; detail == "" {
		detail = Detail(c, r.Err, protocol)
	}
	return status, r.Err, detail, r.RetryAfter
}

// FailStatus is the status of the answer to a call that failed so.
func FailStatus(e stats.ErrorType) int {
	status := e.Status()
	switch {
	case e == stats.ErrConnectionRefused || e == stats.ErrDestinationNotFound:
		return 503
	case status == 0:
		return 502
	}
	return status
}

// ProxyStatus is the value of Proxy-Status (RFC 9209) of an answer of our own;
// detail is what Sanitize makes.
func ProxyStatus(e stats.ErrorType, detail string) string {
	return "meshd; error=" + e.Registered() + `; details="` + strings.ReplaceAll(detail, `"`, `\"`) + `"`
}

// Sanitize makes a text fit for a structured field's string (RFC 8941) and for
// one line.
func Sanitize(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e || r == '\\' {
			return '?'
		}
		return r
	}, s)
}

package h1

import (
	"bytes"
	"strconv"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/tracing"
	"github.com/meshd/meshd/xds/resource"
)

// copyFields appends the header lines of h that keep lets through, in runs.
func (h *head) copyFields(dst, b []byte, keep func(f *field) bool) []byte {
	from, to := int32(0), int32(0)
	for i := range h.fields {
		f := &h.fields[i]
		if !keep(f) {
			continue
		}
		if f.start != to {
			dst = append(dst, b[from:to]...)
			from = f.start
		}
		to = f.end
	}
	return append(dst, b[from:to]...)
}

// upgradeTo is the protocol that a message wants to switch to, or nil. h2c is
// not passed on: it would carry requests past the relay unseen.
func (h *head) upgradeTo(b []byte) []byte {
	if !h.upgrade {
		return nil
	}
	for i := range h.fields {
		if h.fields[i].known == hUpgrade {
			v := h.fields[i].value(b)
			if bytes.Contains(bytes.ToLower(v), []byte("h2c")) {
				return nil
			}
			return v
		}
	}
	return nil
}

// wantsTrailers reports whether TE says that trailers are welcome.
func (h *head) wantsTrailers(b []byte) (yes bool) {
	for i := range h.fields {
		if h.fields[i].known == hTE {
			tokens(h.fields[i].value(b), func(t []byte) { yes = yes || equalFold(t, "trailers") })
		}
	}
	return yes
}

// traceState is the value of tracestate (W3C Trace Context), which is passed
// on as it came.
func (h *head) traceState(b []byte) []byte {
	for i := range h.fields {
		if f := &h.fields[i]; f.known == hOther && equalFold(f.name(b), "tracestate") {
			return f.value(b)
		}
	}
	return nil
}

// hop is what a relay adds to the heads that it passes on.
type hop struct {
	traced    bool // trace replaces what the client says of a trace
	trace     tracing.SpanContext
	propagate tracing.Propagators // where traced: the fields that say it
	newTrace  bool                // the client's tracestate, which belongs to no trace, is dropped
	via       bool
	forwarded resource.Forwarded
	peer      string // the client's address, for forwarded
	tells     bool   // tell replaces what the client says of attempts and time left
	tell      call.Tell
}

// appendRequest appends the request head as the next hop gets it: origin-form,
// HTTP/1.1, without what belongs to one connection (RFC 9110 section 7.6.1).
// traceAt is where in out the lines of the trace begin, or -1, and told
// what hop.tell takes.
func (r *request) appendRequest(dst, b []byte, hop *hop) (out []byte, traceAt int, told span) {
	dst = append(dst, r.name...)
	dst = append(dst, ' ')
	switch {
	case r.absolute && len(r.path) == 0 && r.method == mOptions:
		dst = append(dst, '*')
	case r.absolute && (len(r.path) == 0 || r.path[0] == '?'):
		dst = append(dst, '/')
		fallthrough
	default:
		dst = append(dst, r.path...)
	}
	dst = append(dst, " HTTP/1.1\r\n"...)
	// RFC 9112 section 3.2.2: the authority of the target replaces Host.
	replaceHost := r.absolute || r.hosts == 0
	if replaceHost {
		dst = append(dst, "Host: "...)
		dst = append(dst, r.authority...)
		dst = append(dst, "\r\n"...)
	}
	te := false
	dst = r.copyFields(dst, b, func(f *field) bool {
		switch f.known {
		case hOther:
			if hop.newTrace && equalFold(f.name(b), "tracestate") {
				return false
			}
			return !r.nominated || !r.isNominated(b, f.name(b))
		case hHost:
			return !replaceHost
		case hTE:
			te = true
			return false
		case hAttempt, hTimeout:
			return !hop.tells && (!r.nominated || !r.isNominated(b, f.name(b)))
		case hPriority, hLoad, hLoadBin, hRetryAfter, hProxyStatus, hTraceResponse:
			return !r.nominated || !r.isNominated(b, f.name(b))
		case hTraceparent:
			return !hop.traced || !hop.propagate.TraceContext
		case hB3:
			return !hop.propagate.AnyB3() && (!r.nominated || !r.isNominated(b, f.name(b)))
		case hForwarded:
			return hop.forwarded != resource.ForwardedRFC7239
		case hXForwardedFor, hXForwardedProto:
			return hop.forwarded != resource.ForwardedX
		case hConnection, hKeepAlive, hProxyConnection, hTransferEncoding, hUpgrade,
			hProxyAuthorization, hHTTP2Settings:
			return false
		}
		return true
	})
	traceAt = -1
	if hop.traced {
		traceAt = len(dst)
		dst = hop.propagate.AppendLines(dst, hop.trace)
	}
	if r.chunked {
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	if to := r.upgradeTo(b); to != nil {
		dst = append(dst, "Connection: Upgrade\r\nUpgrade: "...)
		dst = append(dst, to...)
		dst = append(dst, "\r\n"...)
	} else if te && r.wantsTrailers(b) {
		dst = append(dst, "Connection: TE\r\nTE: trailers\r\n"...)
	}
	if hop.via {
		dst = append(dst, viaLine(r.http10)...)
	}
	dst = r.appendForwarded(dst, b, hop)
	told.from = len(dst)
	if hop.tells {
		dst = appendTell(dst, &hop.tell)
	}
	told.to = len(dst)
	return append(dst, "\r\n"...), traceAt, told
}

// appendForwarded adds this hop to the forwarding header of the policy.
func (r *request) appendForwarded(dst, b []byte, hop *hop) []byte {
	before := func(name string, k header) {
		dst = append(dst, name...)
		for i := range r.fields {
			if r.fields[i].known == k {
				dst = append(dst, r.fields[i].value(b)...)
				dst = append(dst, ", "...)
			}
		}
	}
	switch hop.forwarded {
	case resource.ForwardedX:
		before("X-Forwarded-For: ", hXForwardedFor)
		dst = append(dst, hop.peer...)
		dst = append(dst, "\r\nX-Forwarded-Proto: http\r\n"...)
	case resource.ForwardedRFC7239:
		before("Forwarded: ", hForwarded)
		dst = append(dst, "for="...)
		if bytes.IndexByte([]byte(hop.peer), ':') >= 0 {
			dst = append(dst, `"[`...)
			dst = append(dst, hop.peer...)
			dst = append(dst, `]"`...)
		} else {
			dst = append(dst, hop.peer...)
		}
		dst = append(dst, ";host=\""...)
		dst = append(dst, r.authority...)
		dst = append(dst, "\";proto=http\r\n"...)
	}
	return dst
}

// viaLine is RFC 9110 section 7.6.3 with a pseudonym.
func viaLine(http10 bool) string {
	if http10 {
		return "Via: 1.0 meshd\r\n"
	}
	return "Via: 1.1 meshd\r\n"
}

// How a response leaves: what the client's side of the connection does next.
type ending uint8

const (
	endKeep   ending = iota // HTTP/1.1, connection stays
	endKeep10               // HTTP/1.0 client that asked for keep-alive
	endClose
)

// appendResponse appends the response head as the client gets it. chunked
// says whether the content goes out chunked; c, which is nil for interim
// answers, what the call has to say in it.
func (r *response) appendResponse(dst, b []byte, end ending, chunked, via bool, c *call.Call, now int64) []byte {
	var trace tracing.SpanContext
	said := false
	if c != nil {
		trace, said = c.Head(now, r.status)
	}
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(r.status), 10)
	dst = append(dst, ' ')
	dst = append(dst, r.reason...)
	dst = append(dst, "\r\n"...)
	dst = r.copyFields(dst, b, func(f *field) bool {
		switch f.known {
		case hLoad:
			if r.ownLoad {
				return false
			}
			return !r.nominated || !r.isNominated(b, f.name(b))
		case hTraceResponse:
			if said {
				return false
			}
			return !r.nominated || !r.isNominated(b, f.name(b))
		case hOther, hPriority, hAttempt, hTimeout, hLoadBin, hRetryAfter, hProxyStatus, hB3:
			return !r.nominated || !r.isNominated(b, f.name(b))
		case hConnection, hKeepAlive, hProxyConnection, hTransferEncoding, hUpgrade:
			return false
		case hContentLength:
			// RFC 9110 section 8.6: not in these, where a client could take it at its word.
			return r.status >= 200 && r.status != 204
		}
		return true
	})
	if chunked {
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	if via {
		dst = append(dst, viaLine(r.http10)...)
	}
	if c != nil {
		dst = r.appendSaid(dst, c)
	}
	if said {
		dst = append(trace.AppendTraceparent(append(dst, call.TraceResponse+": "...)), "\r\n"...)
	}
	switch to := r.upgradeTo(b); {
	case r.status == 101 && to != nil:
		dst = append(dst, "Connection: Upgrade\r\nUpgrade: "...)
		dst = append(dst, to...)
		dst = append(dst, "\r\n"...)
	case r.status < 200:
	case end == endClose:
		dst = append(dst, "Connection: close\r\n"...)
	case end == endKeep10:
		dst = append(dst, "Connection: keep-alive\r\n"...)
	}
	return append(dst, "\r\n"...)
}

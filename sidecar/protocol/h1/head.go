// Package h1 is HTTP/1.1 (RFC 9110, RFC 9112) as a relay speaks it: a strict
// parser of message heads and bodies, and the engine that moves messages
// between two sockets (docs/design/001-relay.md).
//
// Whatever leaves a message's length open to two readings is refused, so that
// no peer behind the relay can see another message boundary than the relay did.
package h1

import (
	"bytes"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/tracing"
)

// Limits bounds what a peer may send in one head.
type Limits struct {
	HeadBytes int // request or status line and all fields, CRLFs included
	Fields    int // number of header fields
	Trailer   int // bytes of a trailer section
}

// DefaultLimits are those of the field: 16 KiB of head (one read buffer), 100
// fields (Envoy: max_headers_count), 8 KiB of trailers.
var DefaultLimits = Limits{HeadBytes: 16 << 10, Fields: 100, Trailer: 8 << 10}

// A Problem says what is wrong with a message. It is an error that is compared
// by value and costs no allocation.
type Problem uint8

// The problems. Each has a text in problemText and a status in Status.
const (
	_ Problem = iota
	errRequestLine
	errMethod
	errTarget
	errVersion
	errStatusLine
	errHeadTooLarge
	errTooManyFields
	errLineEnd
	errFieldName
	errFieldValue
	errFold
	errHost
	errContentLength
	errTransferEncoding
	errUnknownCoding
	errLengthAndEncoding
	errEncodingIn10
	errConnectBody
	errUpgradeBody
	errChunkSize
	errChunkEnd
	errTrailer
	errTruncated
	errUnexpectedData
	errExpectation
)

var problemText = [...]string{
	errRequestLine:       "request line is not METHOD SP TARGET SP HTTP/1.1",
	errMethod:            "method is not a token of at most 32 characters",
	errTarget:            "request target holds a character that is not allowed, or has a form that the method does not",
	errVersion:           "protocol version is not HTTP/1.0 or HTTP/1.1",
	errStatusLine:        "status line is not HTTP/1.x SP three digits SP reason",
	errHeadTooLarge:      "head is larger than the limit",
	errTooManyFields:     "more header fields than the limit",
	errLineEnd:           "line does not end in CRLF, or holds a bare CR or NUL",
	errFieldName:         "header field name is not a token directly followed by a colon",
	errFieldValue:        "header field value holds a control character",
	errFold:              "header field is folded over lines",
	errHost:              "not exactly one valid Host",
	errContentLength:     "Content-Length is not one plain decimal number",
	errTransferEncoding:  "Transfer-Encoding is not exactly chunked",
	errUnknownCoding:     "transfer coding other than chunked",
	errLengthAndEncoding: "both Content-Length and Transfer-Encoding",
	errEncodingIn10:      "Transfer-Encoding in HTTP/1.0",
	errConnectBody:       "CONNECT with a body",
	errUpgradeBody:       "Upgrade with a body",
	errChunkSize:         "chunk size line is malformed or too long",
	errChunkEnd:          "chunk data is not followed by CRLF",
	errTrailer:           "trailer section is malformed, too large, or holds a field that may not be one",
	errTruncated:         "message ended before its body was complete",
	errUnexpectedData:    "data after the end of the message",
	errExpectation:       "Expect is not 100-continue",
}

func (p Problem) Error() string { return problemText[p] }

// Status is the answer that a request with this problem gets.
func (p Problem) Status() int {
	switch p {
	case errHeadTooLarge, errTooManyFields:
		return 431
	case errVersion:
		return 505
	case errUnknownCoding:
		return 501
	case errExpectation:
		return 417
	}
	return 400
}

// header names the fields that a relay has to understand.
type header uint8

const (
	hOther header = iota
	hHost
	hContentLength
	hTransferEncoding
	hConnection
	hKeepAlive
	hProxyConnection
	hTE
	hTrailer
	hUpgrade
	hExpect
	hTraceparent
	hVia
	hForwarded
	hXForwardedFor
	hXForwardedProto
	hProxyAuthorization
	hHTTP2Settings
	hDate

	// From here on: what sidecars tell each other (told.go). These are end to
	// end, as what is not known is.
	hPriority
	hAttempt
	hTimeout
	hLoad
	hLoadBin
	hRetryAfter
	hProxyStatus
	hTraceResponse
	hB3 // one of B3's fields
)

// endToEnd reports that a field goes on unless Connection names it.
func (h header) endToEnd() bool { return h == hOther || h >= hPriority }

// known finds the header of a name. The length decides first, so that most
// fields cost one switch.
func known(name []byte) header {
	is := func(s string, h header) header {
		if equalFold(name, s) {
			return h
		}
		return hOther
	}
	switch len(name) {
	case 2:
		if name[1] == '3' {
			return is(tracing.B3, hB3)
		}
		return is("te", hTE)
	case 3:
		return is("via", hVia)
	case 4:
		if name[0]|0x20 == 'h' {
			return is("host", hHost)
		}
		return is("date", hDate)
	case 6:
		return is("expect", hExpect)
	case 7:
		if name[0]|0x20 == 'u' {
			return is("upgrade", hUpgrade)
		}
		return is("trailer", hTrailer)
	case 9:
		return is("forwarded", hForwarded)
	case 10:
		if name[1] == '-' {
			return is(tracing.B3Flags, hB3)
		}
		if name[0]|0x20 == 'k' {
			return is("keep-alive", hKeepAlive)
		}
		return is("connection", hConnection)
	case 11:
		if name[1] == '-' {
			return is(tracing.B3SpanID, hB3)
		}
		if name[0]|0x20 == 'r' {
			return is("retry-after", hRetryAfter)
		}
		return is("traceparent", hTraceparent)
	case 12:
		switch {
		case name[1] != '-':
			return is("proxy-status", hProxyStatus)
		case name[5]|0x20 == 't':
			return is(tracing.B3TraceID, hB3)
		}
		return is(tracing.B3Sampled, hB3)
	case 13:
		return is(call.TraceResponse, hTraceResponse)
	case 14:
		if name[0]|0x20 == 'h' {
			return is("http2-settings", hHTTP2Settings)
		}
		if name[0]|0x20 == 'm' {
			return is("meshd-priority", hPriority)
		}
		return is("content-length", hContentLength)
	case 15:
		return is("x-forwarded-for", hXForwardedFor)
	case 16:
		return is("proxy-connection", hProxyConnection)
	case 17:
		if name[2]|0x20 == 'b' {
			return is(tracing.B3Parent, hB3)
		}
		if name[0]|0x20 == 'x' {
			return is("x-forwarded-proto", hXForwardedProto)
		}
		return is("transfer-encoding", hTransferEncoding)
	case 19:
		return is("proxy-authorization", hProxyAuthorization)
	case 21:
		if name[0]|0x20 == 'e' {
			return is("endpoint-load-metrics", hLoad)
		}
		return is("x-envoy-attempt-count", hAttempt)
	case 25:
		return is("endpoint-load-metrics-bin", hLoadBin)
	case 30:
		return is("x-envoy-expected-rq-timeout-ms", hTimeout)
	}
	return hOther
}

// A field is one header line: where its parts lie in the head.
type field struct {
	start, end     int32 // the line with its CRLF
	nameEnd        int32
	valueAt, valTo int32 // white space trimmed
	known          header
}

func (f field) name(b []byte) []byte  { return b[f.start:f.nameEnd] }
func (f field) value(b []byte) []byte { return b[f.valueAt:f.valTo] }

// head is what requests and responses share. Offsets point into the bytes that
// were parsed; they hold as long as those bytes do.
type head struct {
	fields []field

	// What the fields say, gathered while they are read.
	length       int64 // Content-Length, or -1
	chunked      bool
	http10       bool
	close        bool // Connection: close
	keepAlive    bool // Connection: keep-alive
	upgrade      bool // Connection: upgrade and an Upgrade field
	nominated    bool // Connection names fields that are not known to us
	hosts        int
	hostAt       int // index of the Host field, or -1
	traceAt      int // index of the traceparent field, or -1
	traceparents int
	forwarded    bool
	expect       bool
	told         bool // there are fields of told.go
}

func (h *head) reset() {
	f := h.fields[:0]
	*h = head{fields: f, length: -1, hostAt: -1, traceAt: -1}
}

// parseFields reads header lines from b[at:], up to and with the empty line,
// and returns where the body starts. 0 means that b ends before the head does.
func (h *head) parseFields(b []byte, at int, lim Limits) (int, error) {
	var upgradeField, connUpgrade bool
	for {
		nl := bytes.IndexByte(b[at:], '\n')
		if nl < 0 {
			if len(b) >= lim.HeadBytes {
				return 0, errHeadTooLarge
			}
			return 0, nil
		}
		end := at + nl + 1
		if end > lim.HeadBytes {
			return 0, errHeadTooLarge
		}
		if nl == 0 || b[end-2] != '\r' {
			return 0, errLineEnd
		}
		if nl == 1 {
			h.upgrade = upgradeField && connUpgrade
			return end, nil
		}
		if len(h.fields) >= lim.Fields {
			return 0, errTooManyFields
		}
		f, err := parseLine(b, at, end)
		if err != nil {
			return 0, err
		}
		f.known = known(f.name(b))
		if f.known != hOther {
			v := f.value(b)
			switch f.known {
			case hHost:
				h.hosts++
				h.hostAt = len(h.fields)
			case hContentLength:
				n, ok := parseLength(v)
				if !ok || h.length >= 0 {
					return 0, errContentLength
				}
				h.length = n
			case hTransferEncoding:
				if h.chunked {
					return 0, errTransferEncoding
				}
				if !equalFold(v, "chunked") {
					if all(v, tchar) && len(v) > 0 {
						return 0, errUnknownCoding
					}
					return 0, errTransferEncoding
				}
				h.chunked = true
			case hConnection:
				connUpgrade = h.connection(v) || connUpgrade
			case hUpgrade:
				upgradeField = len(v) > 0
			case hTraceparent:
				h.traceAt = len(h.fields)
				h.traceparents++
			case hForwarded, hXForwardedFor:
				h.forwarded = true
			case hExpect:
				if !equalFold(v, "100-continue") {
					return 0, errExpectation
				}
				h.expect = true
			case hPriority, hAttempt, hTimeout, hLoad, hLoadBin, hRetryAfter, hProxyStatus, hTraceResponse:
				h.told = true
			}
		}
		h.fields = append(h.fields, f)
		at = end
	}
}

// parseLine reads one header line b[at:end], which ends in LF preceded by CR.
func parseLine(b []byte, at, end int) (field, error) {
	f := field{start: int32(at), end: int32(end)}
	if b[at] == ' ' || b[at] == '\t' {
		return f, errFold
	}
	i := at
	for class[b[i]]&tchar != 0 {
		i++
	}
	if i == at || b[i] != ':' {
		return f, errFieldName
	}
	f.nameEnd = int32(i)
	i++
	last := end - 2
	for i < last && (b[i] == ' ' || b[i] == '\t') {
		i++
	}
	for last > i && (b[last-1] == ' ' || b[last-1] == '\t') {
		last--
	}
	f.valueAt, f.valTo = int32(i), int32(last)
	for _, c := range b[i:last] {
		if class[c]&vchar == 0 {
			if c == '\r' || c == 0 {
				return f, errLineEnd
			}
			return f, errFieldValue
		}
	}
	return f, nil
}

// connection reads the options of a Connection field (RFC 9110 section 7.6.1)
// and reports whether upgrade is one of them.
func (h *head) connection(v []byte) (upgrade bool) {
	tokens(v, func(t []byte) {
		switch {
		case equalFold(t, "close"):
			h.close = true
		case equalFold(t, "keep-alive"):
			h.keepAlive = true
		case equalFold(t, "upgrade"):
			upgrade = true
		default:
			h.nominated = true
		}
	})
	return upgrade
}

// isNominated reports whether a Connection field of the head names this field.
func (h *head) isNominated(b, name []byte) (found bool) {
	for i := range h.fields {
		if h.fields[i].known == hConnection {
			tokens(h.fields[i].value(b), func(t []byte) {
				found = found || bytes.EqualFold(t, name)
			})
		}
	}
	return found
}

// parseLength is Content-Length: digits and nothing else, below 2^63.
func parseLength(v []byte) (int64, bool) {
	if len(v) == 0 || len(v) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

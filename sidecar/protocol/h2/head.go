package h2

import (
	"strconv"
	"unsafe"

	"golang.org/x/net/http2/hpack"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/protocol/grpc"
)

// A head is a request's or a response's, checked. Its strings stay valid.
type head struct {
	fields []hpack.HeaderField
	pseudo int // how many of them are pseudo-header fields

	method, scheme, authority, path, protocol string
	status                                    int
	length                                    int64 // Content-Length; -1: none

	traceAt, stateAt, timeoutAt int // indices, or -1
	loadAt                      int
	traces                      int
	grpc                        bool
	grpcStatus                  int  // index, or -1
	told                        bool // there is something of told.go
}

// kind is what a list of fields is.
type kind uint8

const (
	kindRequest kind = iota
	kindResponse
	kindTrailers
)

// take copies the fields of a block and checks them (RFC 9113 section 8). A
// text is what is wrong.
func (h *head) take(fields []hpack.HeaderField, k kind) (wrong string) {
	*h = head{fields: append(h.fields[:0], fields...), length: -1, traceAt: -1, stateAt: -1, timeoutAt: -1, loadAt: -1, grpcStatus: -1}
	hosts := ""
	for i := range h.fields {
		f := &h.fields[i]
		if f.Name == "" {
			return "a field without a name"
		}
		if f.Name[0] == ':' {
			if i != h.pseudo {
				return "pseudo-header field " + f.Name + " after others"
			}
			h.pseudo++
			if wrong := h.pseudoField(f, k); wrong != "" {
				return wrong
			}
			continue
		}
		if !validName(f.Name) {
			return "field name that is not a lower-case token"
		}
		if !validValue(f.Value) {
			return "value of field " + f.Name
		}
		if wrong := h.field(i, f, k); wrong != "" {
			return wrong
		}
		if f.Name == "host" {
			if hosts != "" && hosts != f.Value {
				return "more than one host"
			}
			hosts = f.Value
		}
	}
	switch k {
	case kindRequest:
		return h.request(hosts)
	case kindResponse:
		if h.status == 0 {
			return ":status is missing"
		}
	}
	return ""
}

func (h *head) pseudoField(f *hpack.HeaderField, k kind) string {
	if !validValue(f.Value) {
		return "value of " + f.Name
	}
	var dst *string
	switch {
	case k == kindTrailers:
		return "pseudo-header field in trailers"
	case k == kindResponse:
		if f.Name != ":status" || h.status != 0 {
			return f.Name + " in a response"
		}
		n, err := strconv.Atoi(f.Value)
		if err != nil || len(f.Value) != 3 || n < 100 {
			return ":status is not three digits"
		}
		h.status = n
		return ""
	case f.Name == ":method":
		dst = &h.method
	case f.Name == ":scheme":
		dst = &h.scheme
	case f.Name == ":path":
		dst = &h.path
	case f.Name == ":authority":
		dst = &h.authority
	case f.Name == ":protocol":
		dst = &h.protocol
	default:
		return f.Name + " in a request"
	}
	if *dst != "" {
		return f.Name + " twice"
	}
	if f.Value == "" && f.Name != ":authority" {
		return f.Name + " is empty"
	}
	*dst = f.Value
	return ""
}

// field notes what a relay has to know of a field, and refuses those of a
// connection (RFC 9113 section 8.2.2).
func (h *head) field(i int, f *hpack.HeaderField, k kind) string {
	switch f.Name {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "http2-settings":
		return "field " + f.Name + ", which belongs to a connection"
	case "te":
		if f.Value != "trailers" {
			return "te that is not trailers"
		}
	case "content-length":
		n, err := strconv.ParseUint(f.Value, 10, 62)
		if err != nil || f.Value[0] == '+' || h.length >= 0 && h.length != int64(n) {
			return "content-length is not one plain decimal number"
		}
		h.length = int64(n)
	case "traceparent":
		h.traceAt = i
		h.traces++
	case "tracestate":
		h.stateAt = i
	case "content-type":
		h.grpc = k != kindTrailers && grpc.IsGRPC(f.Value)
	case "grpc-timeout":
		h.timeoutAt = i
	case "grpc-status":
		h.grpcStatus = i
	case grpc.LoadField, grpc.LoadBinField:
		h.loadAt = i
	case breaker.PriorityHeader, call.AttemptHeader, call.TimeoutHeader, previousField, pushbackField, "retry-after", "proxy-status", call.TraceResponse:
		h.told = true
	}
	return ""
}

// request checks what a request has to have (RFC 9113 section 8.3.1, RFC 8441
// section 4).
func (h *head) request(host string) string {
	switch {
	case h.method == "" || !validToken(h.method) || len(h.method) > 32:
		return ":method is missing or not a token"
	case h.protocol != "" && (h.method != "CONNECT" || !validToken(h.protocol)):
		return ":protocol without CONNECT, or not a token"
	case h.method == "CONNECT" && h.protocol == "":
		if h.path != "" || h.scheme != "" || h.authority == "" {
			return "CONNECT with a scheme or a path, or without an authority"
		}
	case h.scheme == "":
		return ":scheme is missing"
	case h.path == "" || h.path[0] != '/' && !(h.path == "*" && h.method == "OPTIONS") || !validPath(h.path):
		return ":path is missing or not a path"
	case h.authority != "" && host != "" && h.authority != host:
		return ":authority and host differ"
	}
	if h.authority == "" {
		h.authority = host
	}
	if !validAuthority(h.authority) {
		return ":authority is not a host with or without a port"
	}
	return ""
}

// remove takes a field out.
func (h *head) remove(i int) {
	h.fields = append(h.fields[:i], h.fields[i+1:]...)
	if h.grpcStatus > i {
		h.grpcStatus--
	}
}

// named is the value of a field; of several of the name all, joined as RFC
// 9110 section 5.3 has it, or RFC 9113 section 8.2.3 for cookie.
func (h *head) named(name string) string {
	sep := ", "
	if name == "cookie" {
		sep = "; "
	}
	value, _ := h.joined(name, sep)
	return value
}

// joined is the values of the fields of a name, and whether there is one.
func (h *head) joined(name, sep string) (all string, found bool) {
	for i := h.pseudo; i < len(h.fields); i++ {
		switch {
		case h.fields[i].Name != name:
		case !found:
			all, found = h.fields[i].Value, true
		default:
			all += sep + h.fields[i].Value
		}
	}
	return all, found
}

// with is the values of a list's fields, and a last one.
func (h *head) with(name, last string) string {
	if all, found := h.joined(name, ", "); found {
		return all + ", " + last
	}
	return last
}

// Character classes.
const (
	isToken  = 1 << iota // RFC 9110 section 5.6.2
	isLower              // of them, those that a field name has in HTTP/2
	isValue              // field-vchar, SP, HTAB, obs-text
	isURI                // RFC 3986, and what clients send all the same
	isAuthor             // uri-host [":" port]
)

var classes = func() (t [256]uint8) {
	for c := range 256 {
		b := byte(c)
		switch {
		case 'a' <= b && b <= 'z', '0' <= b && b <= '9':
			t[c] |= isToken | isLower | isAuthor
		case 'A' <= b && b <= 'Z':
			t[c] |= isToken | isAuthor
		}
		if b >= 0x20 && b != 0x7f || b == '\t' {
			t[c] |= isValue
		}
		if b > 0x20 && b < 0x7f && b != '#' && b != '"' && b != '<' && b != '>' {
			t[c] |= isURI
		}
	}
	for _, b := range []byte("!#$%&'*+-.^_`|~") {
		t[b] |= isToken | isLower
	}
	for _, b := range []byte("-._~!$&'()*+,;=:[]%") {
		t[b] |= isAuthor
	}
	return t
}()

func all(s string, class uint8) bool {
	for i := range len(s) {
		if classes[s[i]]&class == 0 {
			return false
		}
	}
	return true
}

func validName(s string) bool      { return all(s, isLower) }
func validToken(s string) bool     { return all(s, isToken) }
func validPath(s string) bool      { return all(s, isURI) }
func validAuthority(s string) bool { return len(s) <= 300 && all(s, isAuthor) }

// validValue is RFC 9113 section 8.2.1.
func validValue(s string) bool {
	if s == "" {
		return true
	}
	if s[0] == ' ' || s[0] == '\t' || s[len(s)-1] == ' ' || s[len(s)-1] == '\t' {
		return false
	}
	return all(s, isValue)
}

// bytesOf is s for a function that does not change what it gets.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

package h1

import (
	"bytes"
	"net/netip"
)

// method is a request method, as far as a relay treats it apart.
type method uint8

const (
	mOther method = iota
	mGet
	mHead
	mPut
	mDelete
	mOptions
	mTrace
	mPost
	mConnect
)

// idempotent is RFC 9110 section 9.2.2: the same effect whether sent once or twice.
func (m method) idempotent() bool { return m >= mGet && m <= mTrace }

// Idempotent is RFC 9110 section 9.2.2 for a method as written.
func Idempotent(name string) bool { return methodOf(name).idempotent() }

func methodOf[T ~string | ~[]byte](name T) method {
	switch string(name) {
	case "GET":
		return mGet
	case "HEAD":
		return mHead
	case "POST":
		return mPost
	case "PUT":
		return mPut
	case "DELETE":
		return mDelete
	case "OPTIONS":
		return mOptions
	case "TRACE":
		return mTrace
	case "CONNECT":
		return mConnect
	}
	return mOther
}

// request is a parsed request head. Its slices point into the parsed bytes.
type request struct {
	head
	method    method
	name      []byte // the method as written
	target    []byte // as written
	authority []byte // of an absolute-form or authority-form target, else of Host; may be empty in HTTP/1.0
	path      []byte // origin-form: absolute path with its query, or "*"
	absolute  bool
}

// parse reads a request head from b and returns its length, 0 if b ends before
// the head does. The error is a Problem.
func (r *request) parse(b []byte, lim Limits) (int, error) {
	r.head.reset()
	// RFC 9112 section 2.2: one empty line before the request line is ignored.
	at := 0
	if len(b) >= 2 && b[0] == '\r' && b[1] == '\n' {
		at = 2
	}
	nl := bytes.IndexByte(b[at:], '\n')
	if nl < 0 {
		return 0, partialRequestLine(b[at:], lim)
	}
	end := at + nl + 1
	if end > lim.HeadBytes {
		return 0, errHeadTooLarge
	}
	if nl == 0 || b[end-2] != '\r' {
		return 0, errLineEnd
	}
	if err := r.requestLine(b[at : end-2]); err != nil {
		return 0, err
	}
	n, err := r.parseFields(b, end, lim)
	if n == 0 || err != nil {
		return 0, err
	}
	return n, r.check(b)
}

// partialRequestLine refuses early what can never become a request line, so
// that a peer who speaks something else is not kept until the limit.
func partialRequestLine(b []byte, lim Limits) error {
	if len(b) >= lim.HeadBytes {
		return errHeadTooLarge
	}
	for i, c := range b {
		if c == ' ' && i > 0 {
			return nil
		}
		if class[c]&tchar == 0 && !(c == '\r' && i == 0) || i >= 32 {
			return errMethod
		}
	}
	return nil
}

func (r *request) requestLine(line []byte) error {
	sp := bytes.IndexByte(line, ' ')
	if sp <= 0 {
		return errRequestLine
	}
	r.name = line[:sp]
	if sp > 32 || !all(r.name, tchar) {
		return errMethod
	}
	r.method = methodOf(r.name)
	rest := line[sp+1:]
	sp = bytes.IndexByte(rest, ' ')
	if sp <= 0 {
		return errRequestLine
	}
	r.target = rest[:sp]
	switch string(rest[sp+1:]) {
	case "HTTP/1.1":
	case "HTTP/1.0":
		r.http10 = true
	default:
		v := rest[sp+1:]
		if len(v) == 8 && string(v[:5]) == "HTTP/" && v[6] == '.' && v[5]-'0' < 10 && v[7]-'0' < 10 {
			return errVersion
		}
		return errRequestLine
	}
	return r.parseTarget()
}

// parseTarget splits the four forms of RFC 9112 section 3.2.
func (r *request) parseTarget() error {
	t := r.target
	r.authority, r.path, r.absolute = nil, nil, false
	if !all(t, uriChar) {
		return errTarget
	}
	switch {
	case r.method == mConnect:
		if !validHost(t) || bytes.LastIndexByte(t, ':') <= 0 || t[len(t)-1] == ':' {
			return errTarget
		}
		r.authority = t
	case t[0] == '/':
		r.path = t
	case len(t) == 1 && t[0] == '*':
		if r.method != mOptions {
			return errTarget
		}
		r.path = t
	default:
		if len(t) < 8 || !equalFold(t[:7], "http://") {
			return errTarget
		}
		r.absolute = true
		rest := t[7:]
		i := bytes.IndexAny(rest, "/?")
		if i < 0 {
			i = len(rest)
		}
		r.authority = rest[:i]
		if len(r.authority) == 0 || !validHost(r.authority) {
			return errTarget
		}
		r.path = rest[i:]
	}
	return nil
}

// check holds what the line and the fields say against each other.
func (r *request) check(b []byte) error {
	if r.hosts > 1 || r.hosts == 0 && !r.http10 {
		return errHost
	}
	if r.hosts == 1 {
		v := r.fields[r.hostAt].value(b)
		if !validHost(v) && len(v) > 0 {
			return errHost
		}
		if r.authority == nil {
			if len(v) == 0 && !r.http10 {
				return errHost
			}
			r.authority = v
		}
	}
	if r.chunked {
		if r.http10 {
			return errEncodingIn10
		}
		if r.length >= 0 {
			return errLengthAndEncoding
		}
	}
	if r.http10 {
		r.upgrade = false // RFC 9110 section 7.8: ignored
	}
	if r.method == mConnect && (r.chunked || r.length > 0) {
		return errConnectBody
	}
	if r.upgrade && (r.chunked || r.length > 0) {
		return errUpgradeBody
	}
	return nil
}

// body is the framing of the request's content (RFC 9112 section 6.3).
func (r *request) body() body {
	switch {
	case r.chunked:
		return body{kind: bodyChunked}
	case r.length > 0:
		return body{kind: bodyLength, left: r.length}
	}
	return body{kind: bodyNone}
}

// keep reports whether the client wants to use the connection again.
func (r *request) keep() bool {
	if r.http10 {
		return r.keepAlive && !r.close
	}
	return !r.close
}

// validHost is uri-host [":" port] (RFC 3986), without user information, and
// with nothing in brackets but an IPv6 address without a zone.
func validHost(h []byte) bool {
	if len(h) == 0 || len(h) > 300 {
		return false
	}
	port := -1
	i := 0
	if h[0] == '[' {
		end := bytes.IndexByte(h, ']')
		if end < 0 {
			return false
		}
		if a, err := netip.ParseAddr(string(h[1:end])); err != nil || !a.Is6() || a.Zone() != "" {
			return false
		}
		i = end + 1
		if i == len(h) {
			return true
		}
		if h[i] != ':' {
			return false
		}
		port = i + 1
	} else {
		for ; i < len(h); i++ {
			c := h[i]
			if c == ':' {
				port = i + 1
				break
			}
			if class[c]&hostChar == 0 {
				return false
			}
		}
		if i == 0 {
			return false
		}
	}
	if port < 0 {
		return true
	}
	n := 0
	for _, c := range h[port:] {
		if c < '0' || c > '9' {
			return false
		}
		if n = n*10 + int(c-'0'); n > 65535 {
			return false
		}
	}
	return true
}

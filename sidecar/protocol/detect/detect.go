// Package detect tells protocols apart by the first bytes of a connection. It is pure: it
// reads nothing and keeps nothing.
//
// Protocols in which the server speaks first send nothing to look at; whoever calls Detect
// bounds the wait for more.
package detect

// Kind of protocol that a connection opens with.
type Kind uint8

const (
	// NeedMore: what there is fits more than one protocol.
	NeedMore Kind = iota
	// HTTP1 is a request line (RFC 9112, section 3), well formed or not: telling that is
	// its parser's work.
	HTTP1
	// HTTP2Preface is the client connection preface (RFC 9113, section 3.4), complete.
	HTTP2Preface
	// TLS is a handshake record with a ClientHello (RFC 8446, section 5.1).
	TLS
	// Other is none of these.
	Other
)

func (k Kind) String() string {
	names := [...]string{"need-more", "http/1", "http/2", "tls", "other"}
	if int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

const (
	preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	// MaxMethod is the length of the longest method that is taken for HTTP.
	MaxMethod = 32
	// MaxBytes decide every case: Detect never says NeedMore to so many.
	MaxBytes = MaxMethod + len(" http://")
)

// methods of RFC 9110, section 9, and RFC 5789. A line that begins with one and a space is
// HTTP whatever follows, so that a malformed request is answered 400 and not passed on.
var methods = [...]string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}

// Detect judges the first bytes of a connection. A verdict other than NeedMore stands
// whatever follows; at MaxBytes there always is one, and for HTTP/2 at 24.
//
// A method not listed in RFC 9110 counts as HTTP only before a target that begins with
// "/", "*", "http://" or "https://", because other protocols have lines that begin with a
// word as well (SMTP's EHLO, memcached's get, IMAP's tags).
func Detect(b []byte) Kind {
	if len(b) == 0 {
		return NeedMore
	}
	if b[0] == recordHandshake {
		return record(b)
	}
	if n := min(len(b), len(preface)); string(b[:n]) == preface[:n] {
		if n == len(preface) {
			return HTTP2Preface
		}
		return NeedMore
	}
	for i, c := range b[:min(len(b), MaxMethod+1)] {
		if c == ' ' && i > 0 {
			return afterMethod(string(b[:i]), b[i+1:])
		}
		if !tchar[c] {
			return Other
		}
	}
	if len(b) > MaxMethod {
		return Other
	}
	return NeedMore
}

func afterMethod(method string, target []byte) Kind {
	for _, m := range methods {
		if method == m {
			return HTTP1
		}
	}
	if len(target) == 0 {
		return NeedMore
	}
	if target[0] == '/' || target[0] == '*' {
		return HTTP1
	}
	for _, scheme := range [...]string{"http://", "https://"} {
		n := min(len(target), len(scheme))
		if !equalFold(target[:n], scheme[:n]) {
			continue
		}
		if n == len(scheme) {
			return HTTP1
		}
		return NeedMore
	}
	return Other
}

const (
	recordHandshake = 0x16
	clientHello     = 0x01
)

// record looks at the record header (type, version 3.0 to 3.4, length) and the first byte of
// the message.
func record(b []byte) Kind {
	switch {
	case len(b) > 1 && b[1] != 3, len(b) > 2 && b[2] > 4:
		return Other
	case len(b) < 6:
		return NeedMore
	case b[5] != clientHello:
		return Other
	}
	return TLS
}

// equalFold compares with a lower-case string, ASCII letters without their case.
func equalFold(b []byte, lower string) bool {
	for i := range lower {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// tchar of RFC 9110, section 5.6.2.
var tchar = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = true, true
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t
}()

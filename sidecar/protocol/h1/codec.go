package h1

// What sidecar/protocol/h2 needs of the parser to translate between the two
// versions. Fields that belong to one connection (RFC 9110 section 7.6.1) are
// not told, nor is Host.

// A Request is a request head.
type Request struct{ r request }

// Parse reads a head from b and returns its length, 0 if b ends before it
// does. The error is a Problem. What the methods return points into b.
func (q *Request) Parse(b []byte, lim Limits) (int, error) { return q.r.parse(b, lim) }

// Method is the method as written.
func (q *Request) Method() []byte { return q.r.name }

// Authority is that of the target, or else of Host; it may be empty in HTTP/1.0.
func (q *Request) Authority() []byte { return q.r.authority }

// Path is the path with its query, or "*"; empty for CONNECT.
func (q *Request) Path() []byte {
	switch {
	case len(q.r.path) == 0 && q.r.absolute && q.r.method == mOptions:
		return []byte("*")
	case len(q.r.path) == 0 && q.r.absolute:
		return []byte("/")
	case q.r.absolute && q.r.path[0] == '?':
		return append([]byte("/"), q.r.path...)
	}
	return q.r.path
}

// Body is the framing of the content.
func (q *Request) Body() Body { return Body{q.r.body()} }

// Keep reports whether the client wants to use the connection again.
func (q *Request) Keep() bool { return q.r.keep() }

// HTTP10 reports whether the client speaks HTTP/1.0.
func (q *Request) HTTP10() bool { return q.r.http10 }

// Upgrade is the protocol that the client asks to switch to, or nil.
func (q *Request) Upgrade(b []byte) []byte { return q.r.upgradeTo(b) }

// WantsTrailers reports whether TE says that trailers are welcome.
func (q *Request) WantsTrailers(b []byte) bool { return q.r.wantsTrailers(b) }

// Fields tells the fields in their order.
func (q *Request) Fields(b []byte, tell func(name, value []byte)) { q.r.tell(b, tell) }

// A Response is a response head.
type Response struct{ r response }

// Parse is as Request.Parse.
func (q *Response) Parse(b []byte, lim Limits) (int, error) { return q.r.parse(b, lim) }

// Status is the status code.
func (q *Response) Status() int { return q.r.status }

// Body is the framing of the content, in answer to a request with this method.
func (q *Response) Body(requested string) Body {
	return Body{q.r.body(methodOf(requested))}
}

// Keep reports whether the server keeps the connection.
func (q *Response) Keep() bool { return q.r.keep() }

// Upgrade is the protocol that the server switches to, or nil.
func (q *Response) Upgrade(b []byte) []byte { return q.r.upgradeTo(b) }

// Fields tells the fields in their order.
func (q *Response) Fields(b []byte, tell func(name, value []byte)) { q.r.tell(b, tell) }

func (h *head) tell(b []byte, tell func(name, value []byte)) {
	for i := range h.fields {
		f := &h.fields[i]
		switch {
		case f.known.endToEnd():
			if h.nominated && h.isNominated(b, f.name(b)) {
				continue
			}
		case f.known == hHost, f.known == hConnection, f.known == hKeepAlive, f.known == hProxyConnection,
			f.known == hTransferEncoding, f.known == hUpgrade, f.known == hTE, f.known == hHTTP2Settings:
			continue
		}
		tell(f.name(b), f.value(b))
	}
}

// A Body follows the framing of one message's content.
type Body struct{ b body }

// UntilClose is the framing of content that ends with the connection.
func UntilClose() Body { return Body{body{kind: bodyUntilClose}} }

// Done reports whether all of it was read.
func (q *Body) Done() bool { return q.b.done() }

// UntilClose reports whether it ends with the connection.
func (q *Body) UntilClose() bool { return q.b.kind == bodyUntilClose }

// Next reads the next run of p: n bytes that are all content, or all framing.
// 0 without an error asks for more. It must not be called when done. The
// section that ends chunked content tells its fields.
func (q *Body) Next(p []byte, lim Limits, trailer func(name, value []byte)) (n int, data bool, err error) {
	last := q.b.kind == bodyChunked && q.b.at == inTrailer
	n, data, err = q.b.next(p, lim)
	if err != nil || !last || n == 0 {
		return n, data, err
	}
	for at := 0; at < n; {
		end := at + 1
		for p[end-1] != '\n' {
			end++
		}
		if end-at > 2 {
			if f, err := parseLine(p, at, end); err == nil {
				trailer(f.name(p), f.value(p))
			}
		}
		at = end
	}
	return n, data, err
}

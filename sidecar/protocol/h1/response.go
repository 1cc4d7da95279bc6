package h1

import "bytes"

// response is a parsed response head. Its slices point into the parsed bytes.
type response struct {
	head
	status int
	reason []byte

	ownLoad bool // its endpoint-load-metrics is for this sidecar, not for the caller
	load    bool // it has one, or the binary one
}

// parse reads a response head from b and returns its length, 0 if b ends
// before the head does. The error is a Problem.
func (r *response) parse(b []byte, lim Limits) (int, error) {
	r.head.reset()
	r.ownLoad, r.load = false, false
	nl := bytes.IndexByte(b, '\n')
	if nl < 0 {
		if len(b) >= lim.HeadBytes {
			return 0, errHeadTooLarge
		}
		const start = "HTTP/1."
		if n := min(len(b), len(start)); string(b[:n]) != start[:n] {
			return 0, errStatusLine
		}
		return 0, nil
	}
	if nl == 0 || b[nl-1] != '\r' {
		return 0, errLineEnd
	}
	line := b[:nl-1]
	// "HTTP/1.1 200" with or without " reason".
	if len(line) < 12 || string(line[:7]) != "HTTP/1." || line[7] != '1' && line[7] != '0' || line[8] != ' ' {
		return 0, errStatusLine
	}
	r.http10 = line[7] == '0'
	r.status = 0
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return 0, errStatusLine
		}
		r.status = r.status*10 + int(c-'0')
	}
	if r.status < 100 {
		return 0, errStatusLine
	}
	r.reason = nil
	if len(line) > 12 {
		if line[12] != ' ' || !all(line[13:], vchar) {
			return 0, errStatusLine
		}
		r.reason = line[13:]
	}
	n, err := r.parseFields(b, nl+1, lim)
	if n == 0 || err != nil {
		return 0, err
	}
	if r.chunked && r.length >= 0 {
		return 0, errLengthAndEncoding
	}
	if r.chunked && r.http10 {
		return 0, errEncodingIn10
	}
	return n, nil
}

// body is the framing of the response's content, given the request's method
// (RFC 9112 section 6.3).
func (r *response) body(m method) body {
	switch {
	case m == mHead, r.status < 200, r.status == 204, r.status == 304:
		return body{kind: bodyNone}
	case r.chunked:
		return body{kind: bodyChunked}
	case r.length == 0:
		return body{kind: bodyNone}
	case r.length > 0:
		return body{kind: bodyLength, left: r.length}
	}
	return body{kind: bodyUntilClose}
}

// keep reports whether the server keeps the connection.
func (r *response) keep() bool {
	if r.http10 {
		return r.keepAlive && !r.close
	}
	return !r.close
}

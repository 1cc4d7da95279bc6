package h1

import "github.com/meshd/meshd/sidecar/call"

// mirror gives copies of the request, which is at hand as a whole if it fitted,
// to the route's mirrors: once for each call.
func (s *session) mirror() {
	if s.copied {
		return
	}
	s.copied = true
	if s.overflow || s.upgrade || s.method == mConnect || s.sent == nil {
		return
	}
	to := s.call.MirrorTo()
	if len(to) == 0 {
		return
	}
	m, ok := s.copyOf()
	for _, c := range to {
		if m.Cluster = c; ok {
			s.call.Route.Mirror(m)
		}
	}
}

// copyOf is the request as it was sent, apart from its connection.
func (s *session) copyOf() (m call.Mirrored, ok bool) {
	var q request
	n, err := q.parse(s.sent, Limits{HeadBytes: bufferSize, Fields: s.srv.Limits.Fields + 8, Trailer: s.srv.Limits.Trailer})
	if err != nil || n == 0 {
		return m, false
	}
	m = call.Mirrored{Method: string(q.name), Authority: string(q.authority), Target: string(q.path)}
	q.tell(s.sent, func(name, value []byte) {
		switch known(name) {
		case hContentLength, hExpect, hTrailer:
		default:
			m.Header = append(m.Header, call.MirroredField{Name: string(name), Value: string(value)})
		}
	})
	b, p := q.body(), s.sent[n:]
	for len(p) > 0 && !b.done() {
		k, data, err := b.next(p, s.srv.Limits)
		if err != nil || k == 0 {
			return m, false
		}
		if data {
			m.Body = append(m.Body, p[:k]...)
		}
		p = p[k:]
	}
	return m, b.done()
}

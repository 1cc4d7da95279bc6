package h2

import (
	"golang.org/x/net/http2/hpack"

	"github.com/meshd/meshd/sidecar/call"
)

// mirror gives copies of the request to the route's mirrors, once it is there
// as a whole and was sent, if all of it is at hand then.
func (s *stream) mirror() {
	if s.copied || !s.down.inEnd || !s.in || !s.offered || s.committed {
		return
	}
	s.copied = true
	if s.overflow || s.down.trailers != nil || s.req.protocol != "" || len(s.call.Route.Mirrors) == 0 || s.call.Route.Mirror == nil {
		return
	}
	to := s.call.MirrorTo()
	if len(to) == 0 {
		return
	}
	m := call.Mirrored{Method: s.req.method, Authority: s.req.authority, Target: s.req.path}
	s.requestFields(func(f hpack.HeaderField) {
		switch {
		case f.Name[0] == ':' || f.Name == "host" || f.Name == "content-length":
		default:
			m.Header = append(m.Header, call.MirroredField{Name: f.Name, Value: f.Value})
		}
	})
	m.Body = append(append(m.Body, s.kept...), s.down.in...)
	for _, c := range to {
		m.Cluster = c
		s.call.Route.Mirror(m)
	}
}

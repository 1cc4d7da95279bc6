package h2

import (
	"strings"

	"golang.org/x/net/http2/hpack"

	"github.com/meshd/meshd/sidecar/call"
)

// said is called as a request comes and was sent. Once, when it is there as a
// whole and still at hand, it is copied to mirrors and may get a hedge.
func (s *stream) said() {
	if s.whole || !s.down.inEnd || !s.in || !s.offered || s.committed {
		return
	}
	s.whole = true
	if s.overflow || s.down.trailers != nil || s.req.protocol != "" {
		return
	}
	s.mirror()
	if s.wait == nil && s.up.s != nil && !s.up.closed {
		s.hedgeLater()
	}
}

// mirror gives copies of the request to the route's mirrors.
func (s *stream) mirror() {
	if len(s.call.Route.Mirrors) == 0 || s.call.Route.Mirror == nil {
		return
	}
	to := s.call.MirrorTo()
	if len(to) == 0 {
		return
	}
	m := call.Mirrored{Method: s.req.method, Authority: s.req.authority, Target: s.req.path}
	s.requestFields(s.call.Context, func(f hpack.HeaderField) {
		switch {
		case f.Name[0] == ':' || f.Name == "host" || f.Name == "content-length":
		default:
			m.Header = append(m.Header, call.MirroredField{Name: f.Name, Value: strings.Clone(f.Value)})
		}
	})
	m.Body = append(append(m.Body, s.kept...), s.down.in...)
	for _, c := range to {
		m.Cluster = c
		s.call.Route.Mirror(m)
	}
}

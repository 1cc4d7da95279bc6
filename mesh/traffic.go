package mesh

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// A Session keeps the calls of one client at one instance, by a cookie.
type Session struct {
	Cookie string // its name; empty: no sessions
	Path   string
	TTL    time.Duration // 0: as long as the client's session
}

// A Hedge says when a call is made a second time although the first may still
// be answered.
type Hedge struct {
	Disabled bool
	Share    float64       // of the calls, at most
	Delay    time.Duration // 0: the live quantile that Share leaves above it
}

// A RateLimit bounds calls by time.
type RateLimit struct {
	Requests uint32 // in Per; 0: no limit
	Per      time.Duration
	Burst    uint32 // at once, after a pause
	// Shared: all callers together may make so many, and not each.
	Shared bool
}

const (
	maxMirrors = 4
	cookiePath = "a path that begins with /, without a semicolon"
)

func isCookiePath(s string) bool {
	return strings.HasPrefix(s, "/") && isVisible(s) && !strings.Contains(s, ";")
}

func (s *Session) decode(v value) {
	*s = Session{Path: "/"}
	v.fields(fields{
		"cookie": text(&s.Cookie, isHeaderName, "the name of a cookie"),
		"path":   text(&s.Path, isCookiePath, cookiePath),
		"ttl":    duration(&s.TTL, 0, 365*24*time.Hour),
	})
	if s.TTL%time.Second != 0 {
		v.at("ttl").refuse("whole seconds")
	}
	if child(v.n, "cookie") == nil {
		v.missing("cookie", "the name of a cookie")
	}
}

func (h *Hedge) decode(v value) {
	v.fields(fields{
		"disabled": boolean(&h.Disabled),
		"share":    number(&h.Share, 0, 1),
		"delay":    duration(&h.Delay, 0, time.Hour),
	})
}

func (l *RateLimit) decode(v value) {
	*l = RateLimit{Per: time.Second}
	scope := "client"
	v.fields(fields{
		"requests": integer(&l.Requests, 1, maxCap),
		"per":      duration(&l.Per, 50*time.Millisecond, maxTime), // Envoy's least
		"burst":    integer(&l.Burst, 1, maxCap),
		"scope":    oneOf(&scope, "client", "mesh"),
	})
	l.Shared = scope == "mesh"
	if child(v.n, "requests") == nil {
		v.missing("requests", "a whole number of calls")
	}
	if l.Burst == 0 {
		l.Burst = l.Requests
	}
}

// decodeMirrors reads a policy's mirrors. A service without a namespace is of
// the policy's.
func decodeMirrors(dst *[]RouteMirror) func(value) {
	return func(v value) {
		v.each(maxMirrors, func(_ int, v value) {
			m := RouteMirror{Share: 1}
			v.fields(fields{
				"service": func(v value) {
					name, namespace, qualified := strings.Cut(v.n.Value, ".")
					if !qualified {
						namespace = v.s.key.Namespace
					}
					if !isString(v.n) || !isLabel(name) || qualified && !isLabel(namespace) {
						v.refuse("the name of a Service of the policy's namespace, or NAME.NAMESPACE")
					}
					m.Service.Name, m.Service.Namespace = name, namespace
				},
				"port":    integer(&m.Service.Port, 1, math.MaxUint16),
				"percent": percent(&m.Share),
			})
			if child(v.n, "service") == nil {
				v.missing("service", "the name of a Service")
			}
			if child(v.n, "port") == nil {
				v.missing("port", "a port of the Service")
			}
			for _, o := range *dst {
				if o.Service == m.Service {
					v.wrong(fmt.Sprintf("%v is given twice: accepted is each service once", m.Service))
				}
			}
			*dst = append(*dst, m)
		})
	}
}

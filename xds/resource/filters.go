package resource

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	faultType      = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"
	rateLimitType  = "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
	filterWrapType = "type.googleapis.com/envoy.config.route.v3.FilterConfig"
)

var filterWrapFields = message{"envoy.config.route.v3.FilterConfig", map[protowire.Number]field{
	1: {"config", msg, ""}, 2: {"is_optional", num, ""}, 3: {"disabled", num, ""},
}}

// filter reads one entry of a Route's typed_per_filter_config: faults or a
// rate limit, by the type of what is configured. Another filter's is refused
// unless the entry says that it is optional or disabled.
func (r *Route) filter(b []byte) error {
	name, content, err := entry(b)
	if err != nil {
		return err
	}
	typ, content, err := anyOf(content)
	var optional, disabled bool
	if err == nil && typ == filterWrapType {
		var inner []byte
		err = filterWrapFields.walk(content, func(n protowire.Number, v value) error {
			switch n {
			case 1:
				inner = v.b
			case 2:
				optional = v.n != 0
			case 3:
				disabled = v.n != 0
			}
			return nil
		})
		if err == nil {
			typ, content, err = anyOf(inner)
		}
	}
	switch {
	case err != nil || disabled:
	case typ == faultType:
		r.Fault, err = fault(content)
	case typ == rateLimitType:
		var l RateLimit
		l, err = rateLimit(content)
		r.RateLimit.PerSecond, r.RateLimit.Burst = l.PerSecond, l.Burst
	case !optional:
		err = fmt.Errorf("type %q is not supported, want HTTPFault, LocalRateLimit, or is_optional", typ)
	}
	if err != nil {
		return in(name, err)
	}
	return nil
}

// Priorities are the words of a call's priority, the first to be shed first.
func Priorities() []string {
	return []string{"sheddable", "sheddable-plus", "critical", "critical-plus"}
}

// traffic reads those of our fields on a Route that say how its calls are
// treated. Without them there are no sessions and no hedges, as in Envoy.
func (r *Route) traffic(d *dict) {
	d.text("priority", &r.Priority, Priorities()...)
	d.object("session", func(d *dict) {
		s := &r.Session
		d.text("cookie", &s.Cookie)
		d.text("path", &s.Path)
		d.duration("ttl", &s.TTL)
		d.text("key", &s.Key)
		d.need("cookie", s.Cookie != "")
		d.need("key", s.Key != "")
	})
	d.object("hedge", func(d *dict) {
		h := &r.Hedge
		h.Disabled = false
		d.boolean("disabled", &h.Disabled)
		d.number("share", &h.Share, 0, 1)
		d.duration("delay", &h.Delay)
	})
	d.object("rateLimit", func(d *dict) { d.boolean("shared", &r.RateLimit.Shared) })
}

// need refuses the absence of a field.
func (d *dict) need(name string, there bool) {
	if d.err == nil && !there && slices.Contains(d.known, name) {
		d.err = in(name, errMissing)
	}
}

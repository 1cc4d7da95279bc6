package mesh

import (
	"regexp"
	"strings"
	"time"
)

// A Fault is what is done to calls on purpose.
type Fault struct {
	Delay      time.Duration
	DelayShare float64 // of the calls, 0 to 1
	// HTTPStatus or GRPCStatus is the answer of those that are not made.
	HTTPStatus uint32
	GRPCStatus uint32
	AbortShare float64
	Headers    []FaultHeader // only to calls that have all of these
}

// Any reports whether there is a fault at all.
func (f *Fault) Any() bool { return f.Delay > 0 || f.HTTPStatus > 0 || f.GRPCStatus > 0 }

// A FaultHeader is a header and what it must be: exactly one of its other
// fields.
type FaultHeader struct {
	Name    string // in lower case
	Exact   string
	Prefix  string
	Regex   string // of RE2, for all of it
	Present bool   // anything
}

func (f *Fault) decode(v value) {
	share := func(v value) {
		if child(v.n, "percent") == nil {
			v.missing("percent", "a number from 0 to 100: of the calls")
		}
	}
	v.fields(fields{
		"delay": func(v value) {
			v.fields(fields{"duration": duration(&f.Delay, time.Millisecond, time.Hour), "percent": percent(&f.DelayShare)})
			if child(v.n, "duration") == nil {
				v.missing("duration", `a duration such as "250ms"`)
			}
			share(v)
		},
		"abort": func(v value) {
			one(v, fields{
				"httpStatus": integer(&f.HTTPStatus, 200, 599),
				"grpcStatus": integer(&f.GRPCStatus, 1, 16),
			}, fields{"percent": percent(&f.AbortShare)})
			share(v)
		},
		"headers": func(v value) { v.each(maxValues, func(_ int, v value) { f.decodeHeader(v) }) },
	})
	if child(v.n, "delay") == nil && child(v.n, "abort") == nil {
		v.missing("delay", "delay, abort or both")
	}
}

func (f *Fault) decodeHeader(v value) {
	var h FaultHeader
	valid := func(s string) bool { return s != "" && len(s) <= maxMatchValue }
	one(v, fields{
		"exact":  text(&h.Exact, valid, valueForm),
		"prefix": text(&h.Prefix, valid, valueForm),
		"regex": func(v value) {
			text(&h.Regex, valid, valueForm)(v)
			if _, err := regexp.Compile(h.Regex); err != nil {
				v.refuse("a regular expression of RE2 (" + err.Error() + ")")
			}
		},
		"present": yes(&h.Present),
	}, fields{"name": text(&h.Name, isMatchedHeader, headerNameForm)})
	if child(v.n, "name") == nil {
		v.missing("name", headerNameForm)
	}
	h.Name = strings.ToLower(h.Name)
	f.Headers = append(f.Headers, h)
}

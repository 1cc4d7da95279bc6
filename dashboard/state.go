package dashboard

import (
	"net/http"
	"net/url"
	"time"

	"github.com/meshd/meshd/telemetry"
)

// windows are the stretches of time that views can show, with the steps of the
// lines of a picture and of the rows of a table.
var windows = []struct {
	Param, Text string
	Span        time.Duration
	line, row   time.Duration
}{
	{"2m", "2 min", 2 * time.Minute, time.Second, 5 * time.Second},
	{"5m", "5 min", 5 * time.Minute, 2 * time.Second, 10 * time.Second},
	{"15m", "15 min", 15 * time.Minute, 5 * time.Second, 30 * time.Second},
	{"1h", "1 h", time.Hour, 20 * time.Second, 2 * time.Minute},
}

// windowOf reads the query's window, such as 15m: the index of one of the
// windows, 5 min by default.
func windowOf(r *http.Request) (index int) {
	asked := r.URL.Query().Get("window")
	for i, w := range windows {
		if asked == w.Param {
			return i
		}
	}
	return 1
}

// A state is what the URL says of time: which stretch of it, and whether it
// ends now or at a fixed moment, so that a link shows others the same.
type state struct {
	window int
	to     time.Time // when the stretch ends; now, if it is not fixed
	fixed  bool
}

// stateOf reads window and to, a time of RFC 3339. Another to is none.
func stateOf(r *http.Request, now time.Time) state {
	s := state{window: windowOf(r), to: now.Truncate(time.Second)}
	if t, err := time.Parse(time.RFC3339, r.URL.Query().Get("to")); err == nil && t.Before(now) {
		s.to, s.fixed = t.UTC(), true
	}
	return s
}

func (s state) length() time.Duration { return windows[s.window].Span }

func (s state) from() time.Time { return s.to.Add(-s.length()) }

// span is what to ask the store for.
func (s state) span(step time.Duration) telemetry.Span {
	span := telemetry.Span{From: s.from(), Step: step}
	if s.fixed {
		span.To = s.to
	}
	return span
}

// over says the stretch to people.
func (s state) over() string {
	if s.fixed {
		return "in the " + windows[s.window].Text + " up to " + s.to.Format("15:04:05") + " UTC"
	}
	return "over the last " + windows[s.window].Text
}

// link is a path with the state, and further parameters, in pairs, of which
// empty ones are left out.
func (s state) link(path string, pairs ...string) string {
	q := url.Values{"window": {windows[s.window].Param}}
	if s.fixed {
		q.Set("to", s.to.Format(time.RFC3339))
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return path + "?" + q.Encode()
}

func servicePath(s telemetry.Service) string {
	return "/services/" + url.PathEscape(s.Namespace) + "/" + url.PathEscape(s.Name)
}

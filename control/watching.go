package control

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/meshd/meshd/telemetry"
)

// watching answers questions about what was measured; docs/reference/wire.md
// has them.
type watching struct{ store *telemetry.Store }

func (h watching) register(mux *http.ServeMux) {
	for name, answerOf := range map[string]func(telemetry.Service, *watchQuery) (any, error){
		"series": func(id telemetry.Service, q *watchQuery) (any, error) {
			return listOf("samples", h.store.Series(id, telemetry.Selection{Instance: q.Get("instance")}, q.span),
				fmt.Errorf("service %s has no instance %q of which anything is known", id, q.Get("instance")))
		},
		"instances": func(id telemetry.Service, q *watchQuery) (any, error) {
			return listOf("instances", h.store.Instances(id, q.span), nil)
		},
		"scatter": func(id telemetry.Service, q *watchQuery) (any, error) {
			return listOf("dots", h.store.Scatter(id, q.span), nil)
		},
		"events": func(id telemetry.Service, q *watchQuery) (any, error) {
			return listOf("events", h.store.Events(id, q.span), nil)
		},
	} {
		mux.HandleFunc("GET /api/v1/services/{namespace}/{service}/"+name, func(w http.ResponseWriter, r *http.Request) {
			id := telemetry.Service{Namespace: r.PathValue("namespace"), Name: r.PathValue("service")}
			q, err := readWatchQuery(r.URL.Query(), h.store.Now())
			if err != nil {
				refuse(w, http.StatusBadRequest, "%v", err)
				return
			}
			if !h.store.Knows(id) {
				refuse(w, http.StatusNotFound, "service %s: nothing is known of it; it has no instance, and nobody has called it in the last hour", id)
				return
			}
			v, err := answerOf(id, q)
			if err != nil {
				refuse(w, http.StatusNotFound, "%v", err)
				return
			}
			answer(w, http.StatusOK, v)
		})
	}
	mux.HandleFunc("GET /api/v1/map", func(w http.ResponseWriter, r *http.Request) {
		q, err := readWatchQuery(r.URL.Query(), h.store.Now())
		if err != nil {
			refuse(w, http.StatusBadRequest, "%v", err)
			return
		}
		answer(w, http.StatusOK, map[string]any{"edges": h.store.Edges(q.span)})
	})
	mux.HandleFunc("GET /api/v1/traces", func(w http.ResponseWriter, r *http.Request) {
		q, err := readTraceQuery(r.URL.Query())
		if err != nil {
			refuse(w, http.StatusBadRequest, "%v", err)
			return
		}
		answer(w, http.StatusOK, map[string]any{"traces": h.store.Traces(q)})
	})
	mux.HandleFunc("GET /api/v1/traces/{id}", func(w http.ResponseWriter, r *http.Request) {
		t, ok := h.store.Trace(r.PathValue("id"))
		if !ok {
			refuse(w, http.StatusNotFound, "trace %q is not kept: it never was, or it made place for newer ones; an id is 32 hexadecimal digits", r.PathValue("id"))
			return
		}
		answer(w, http.StatusOK, t)
	})
}

// listOf is {name: list}, or the error where there is no list.
func listOf[T any](name string, list []T, missing error) (any, error) {
	if list == nil {
		return nil, missing
	}
	return map[string]any{name: list}, nil
}

// A watchQuery is what such a call asks for.
type watchQuery struct {
	url.Values
	span telemetry.Span
}

// readWatchQuery reads window, or from and to, and step.
func readWatchQuery(v url.Values, now time.Time) (*watchQuery, error) {
	q := &watchQuery{Values: v}
	window, err := durationOf(v, "window", 5*time.Minute)
	if err != nil {
		return nil, err
	}
	if q.span.Step, err = durationOf(v, "step", 0); err != nil {
		return nil, err
	}
	if q.span.Step%time.Second != 0 {
		return nil, fmt.Errorf("step=%s: whole seconds are accepted, such as 10s", v.Get("step"))
	}
	if v.Has("window") && (v.Has("from") || v.Has("to")) {
		return nil, fmt.Errorf("window=%s beside from or to: one or the other is accepted", v.Get("window"))
	}
	if q.span.To, err = timeOf(v, "to", now); err != nil {
		return nil, err
	}
	if q.span.From, err = timeOf(v, "from", q.span.To.Add(-window)); err != nil {
		return nil, err
	}
	if !q.span.From.Before(q.span.To) {
		return nil, fmt.Errorf("from=%s: a time before to (%s) is accepted", q.span.From.Format(time.RFC3339), q.span.To.Format(time.RFC3339))
	}
	if !v.Has("to") {
		q.span.To = time.Time{} // up to now, and what happens now with it
	}
	return q, nil
}

func durationOf(v url.Values, name string, absent time.Duration) (time.Duration, error) {
	if !v.Has(name) {
		return absent, nil
	}
	d, err := time.ParseDuration(v.Get(name))
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%s=%s: a duration is accepted, such as 90s or 5m", name, v.Get(name))
	}
	return d, nil
}

func timeOf(v url.Values, name string, absent time.Time) (time.Time, error) {
	if !v.Has(name) {
		return absent, nil
	}
	t, err := time.Parse(time.RFC3339, v.Get(name))
	if err != nil || t.Year() < 1971 || t.Year() > 2200 { // as nanoseconds, others do not fit
		return t, fmt.Errorf("%s=%s: a time as in RFC 3339 is accepted, such as 2026-01-02T15:04:05Z", name, v.Get(name))
	}
	return t, nil
}

// readTraceQuery reads service, kind, min and limit.
func readTraceQuery(v url.Values) (q telemetry.TraceQuery, err error) {
	if text := v.Get("service"); text != "" {
		if !strings.Contains(text, "/") {
			text = "default/" + text
		}
		if q.Service, err = telemetry.ParseService(text); err != nil {
			return q, fmt.Errorf("service=%s: NAMESPACE/SERVICE is accepted", v.Get("service"))
		}
	}
	switch q.Kind = telemetry.TraceKind(v.Get("kind")); q.Kind {
	case "":
		q.Kind = telemetry.TraceAny
	case telemetry.TraceAny, telemetry.TraceError, telemetry.TraceSlow:
	default:
		return q, fmt.Errorf("kind=%s: any, error or slow is accepted", q.Kind)
	}
	if q.Min, err = durationOf(v, "min", 0); err != nil {
		return q, err
	}
	if text := v.Get("limit"); text != "" {
		if q.Limit, err = strconv.Atoi(text); err != nil || q.Limit < 1 || q.Limit > telemetry.MaxTraceLimit {
			return q, fmt.Errorf("limit=%s: 1 to %d is accepted", text, telemetry.MaxTraceLimit)
		}
	}
	return q, nil
}

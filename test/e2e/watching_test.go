package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/internal/testkit/process"
)

// TestWatchingVerbs: what meshctl shows of a mesh is what has been done to it.
func TestWatchingVerbs(t *testing.T) {
	m := newMesh(t, nil, "", "")
	app := serve(t, nil, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bad" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	web := m.instance("web", "web-0", app)
	m.instance("checkout", "checkout-0", app)
	m.instance("checkout", "checkout-1", app)
	meshctl := func(into any, args ...string) string {
		t.Helper()
		args = append(args, "--meshd", "http://"+m.HTTP)
		if into != nil {
			args = append(args, "-o", "json")
		}
		text := process.Output(t, process.Spec{Name: "meshctl " + args[0], Path: process.Binary(t, "meshctl"), Args: args})
		if into != nil {
			if err := json.Unmarshal([]byte(text), into); err != nil {
				t.Fatalf("%v: %v\n%s", args, err, text)
			}
		}
		return text
	}
	for range 20 {
		if got := web.call(t, "checkout:8080"); got.status != 200 {
			t.Fatalf("%+v", got)
		}
	}
	web.callPath(t, "checkout:8080", "/bad")

	var edges []api.Edge
	var view struct {
		Samples []api.Sample
		Events  []api.Event
	}
	process.Await(t, patience, func() error {
		meshctl(&edges, "map")
		meshctl(&view, "latency", "checkout", "--window", "1m")
		calls := 0.0
		for _, s := range view.Samples {
			calls += s.RPS
		}
		if calls < 20.5 || len(edges) == 0 { // of 21, in seconds
			return fmt.Errorf("%.1f calls in %d samples, edges %v", calls, len(view.Samples), edges)
		}
		return nil
	})
	if len(edges) != 1 || edges[0].From.Name != "web" || edges[0].To.Name != "checkout" || edges[0].Success >= 1 {
		t.Errorf("edges %+v", edges)
	}
	kinds := ""
	for _, e := range view.Events {
		kinds += e.Kind + " "
	}
	if last := view.Samples[len(view.Samples)-1]; last.Instances != 2 || strings.Count(kinds, "instance-joined") != 2 {
		t.Errorf("%d instances, events %s", last.Instances, kinds)
	}

	var traces []api.TraceSummary
	process.Await(t, patience, func() error {
		meshctl(&traces, "trace", "--error", "--service", "checkout")
		if len(traces) == 0 {
			return errors.New("no trace of the failed call")
		}
		return nil
	})
	var trace api.Trace
	process.Await(t, patience, func() error { // both ends' spans are on their way
		meshctl(&trace, "trace", traces[0].ID)
		if servers := strings.Count(fmt.Sprintf("%+v", trace), "Kind:server"); servers == 0 {
			return fmt.Errorf("%d spans, none of a server", len(trace.Spans))
		}
		return nil
	})
	text := meshctl(nil, "trace", traces[0].ID)
	for _, want := range []string{"trace " + traces[0].ID, "web → checkout", "attempt → checkout-", "retry: 503 → checkout-", "failed: 503", "█", "The time went to: "} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}

	var instances []api.InstanceStat
	meshctl(&instances, "top", "--instances", "checkout")
	var share float64
	for _, i := range instances {
		share += i.Share
	}
	if len(instances) != 2 || share < 0.99 || share > 1.01 {
		t.Errorf("%+v", instances)
	}
	if text := meshctl(nil, "log-level", "web", "debug"); !strings.Contains(text, "debug") {
		t.Error(text)
	}
	if got, err := web.get("/log-level"); err != nil || !strings.Contains(got, "debug") {
		t.Errorf("%s, %v", got, err)
	}
	if text := meshctl(nil, "check"); !strings.Contains(text, "2 services with 3 instances, 3 clients; 3 sidecars asked") {
		t.Error(text)
	}
}

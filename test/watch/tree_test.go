package watch

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/test/rig"
)

func sortByStart(of []*node) {
	slices.SortFunc(of, func(a, b *node) int { return int(a.Start - b.Start) })
}

// TestSampled: all calls are sampled: one that goes over three hops, with a retry at the
// last, is one tree in Jaeger. An application that does not hand traceparent on
// makes two of it, and its sidecar says so. What Prometheus reads of the sidecars
// leads to traces, and fills Grafana's dashboards.
func TestSampled(t *testing.T) {
	b := newBackends(t)
	c := newChain(t, environment("OTEL_TRACES_SAMPLER=parentbased_always_on")...)
	t.Run("one", func(t *testing.T) { oneTree(t, b, c) })
	t.Run("two", func(t *testing.T) { twoTrees(t, b, c) })
	t.Run("exemplars", func(t *testing.T) { exemplars(t, b, c) })
	t.Run("dashboards", func(t *testing.T) { dashboards(t, b, c) })
}

func oneTree(t *testing.T, b *backends, c *chain) {
	var attempts atomic.Int64
	c.answers(func(w http.ResponseWriter) {
		if attempts.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	heard := c.call(t, http.StatusOK)
	if len(heard) != 2 || heard[0] != heard[1] {
		t.Fatalf("cart heard of traces %q", heard)
	}
	b.awaitTree(t, heard[0], func(root *node, spans []span) error {
		failed, well := "cart-0", "cart-1"
		for _, s := range spans {
			if s.Service == "cart" && s.Tags["error.type"] != nil {
				failed = s.Instance
			} else if s.Service == "cart" {
				well = s.Instance
			}
		}
		services := map[string]int{}
		for _, s := range spans {
			services[s.Service]++
		}
		if want := map[string]int{"edge": 2, "web": 3, "shop": 4, "cart": 2}; !maps.Equal(services, want) {
			return fmt.Errorf("spans by service %v, want %v", services, want)
		}
		return is(strings.NewReplacer("FAILED", failed, "WELL", well).Replace(`client edge-0 status_code=200
  client edge-0 attempt status_code=200
    server web-0 status_code=200
      client web-0 status_code=200
        client web-0 attempt status_code=200
          server shop-0 status_code=200
            client shop-0 status_code=200 resend_count=1 [retry]
              client shop-0 attempt status_code=503 type=503
                server FAILED status_code=503 type=503
              client shop-0 attempt status_code=200 resend_count=1 reason=503
                server WELL status_code=200
`))(root, spans)
	})
}

func twoTrees(t *testing.T, b *backends, c *chain) {
	c.answers(func(http.ResponseWriter) {})
	before := outbound(t, c.shop)
	first, err := b.newest("edge")
	if err != nil {
		t.Fatal(err)
	}
	c.forget.Store(true)
	defer c.forget.Store(false)
	heard := c.call(t, http.StatusOK)
	if len(heard) != 1 {
		t.Fatalf("cart heard of traces %q", heard)
	}
	b.awaitTree(t, heard[0], func(root *node, spans []span) error {
		cart := "cart-0"
		if slices.ContainsFunc(spans, func(s span) bool { return s.Instance == "cart-1" }) {
			cart = "cart-1"
		}
		return is("client shop-0 status_code=200\n"+
			"  client shop-0 attempt status_code=200\n"+
			"    server "+cart+" status_code=200\n")(root, spans)
	})
	var above string
	process.Await(t, rig.Patience, func() error {
		if above, err = b.newest("edge"); err == nil && above == first {
			err = errors.New("the newest trace of edge's is the one before")
		}
		return err
	})
	b.awaitTree(t, above, is(`client edge-0 status_code=200
  client edge-0 attempt status_code=200
    server web-0 status_code=200
      client web-0 status_code=200
        client web-0 attempt status_code=200
          server shop-0 status_code=200
`))
	after := outbound(t, c.shop)
	if after["false"] != before["false"]+1 || after["true"] != before["true"] {
		t.Errorf("shop's calls, by whether they are joined: %v, before %v", after, before)
	}
	if got := outbound(t, c.web); got["false"] != 0 || got["true"] == 0 {
		t.Errorf("web's calls, by whether they are joined: %v", got)
	}
}

// outbound is meshd_server_outbound_calls_total, by meshd_joined.
func outbound(t *testing.T, s *rig.Sidecar) map[string]float64 {
	t.Helper()
	out := map[string]float64{}
	for _, x := range metrics(t, s)["meshd_server_outbound_calls_total"].GetMetric() {
		for _, l := range x.GetLabel() {
			if l.GetName() == "meshd_joined" {
				out[l.GetValue()] += x.GetCounter().GetValue()
			}
		}
	}
	return out
}

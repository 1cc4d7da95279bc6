package watch

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestKept: no call is sampled. One that fails and one that is slow are there all
// the same, from the first sidecar to the culprit, as traces and as exemplars, and
// few others are.
func TestKept(t *testing.T) {
	b := newBackends(t, "prometheus.yml")
	c := newChain(t, environment("OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=0")...)
	meshdAt(t, c.mesh)
	// What is usual has to be known first: an instance that is young and has
	// few calls takes up to 3 s to find out.
	usual := 0
	for began := time.Now(); usual < 300 || time.Since(began) < 4*time.Second; usual++ {
		c.call(t, http.StatusOK)
	}

	t.Run("failed", func(t *testing.T) {
		// shop makes the best of it, so that nobody above sees a failure.
		c.answers(func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) })
		c.content.Store(true)
		defer c.content.Store(false)
		for hedged := true; hedged; { // one in a hundred is, and has more spans
			heard := c.call(t, http.StatusOK)
			if len(heard) == 0 {
				t.Fatal("cart heard of no trace")
			}
			b.awaitTree(t, heard[0], func(root *node) error {
				if hedged = strings.Contains(root.outline(), "resend_count"); hedged {
					return nil
				}
				return is(path)(root)
			})
		}
	})

	t.Run("slow", func(t *testing.T) {
		const slow = 400 * time.Millisecond
		c.answers(func(http.ResponseWriter) { <-time.After(slow) })
		heard := c.call(t, http.StatusOK)
		c.answers(func(http.ResponseWriter) {})
		if len(heard) == 0 { // a hedge is a second one, of the same trace
			t.Fatal("cart heard of no trace")
		}
		b.awaitTree(t, heard[0], func(root *node) error {
			// Going down where the time is leads to who took it.
			var way []string
			for n := root; n != nil; {
				way = append(way, n.Service)
				i := slices.IndexFunc(n.below, func(c *node) bool { return time.Duration(c.Duration)*time.Microsecond >= slow })
				if i < 0 {
					break
				}
				n = n.below[i]
			}
			if got := strings.Join(way, " "); got != "edge edge web web web shop shop shop cart" {
				return fmt.Errorf("the time is in %s", got)
			}
			return nil
		})
	})

	t.Run("exemplars", func(t *testing.T) { exemplars(t, b, c) })

	t.Run("others", func(t *testing.T) {
		var answer struct{ Data []struct{ TraceID string } }
		if err := b.get(jaegerURL+"/api/traces?limit=1000&lookback=1h&service=edge", &answer); err != nil {
			t.Fatal(err)
		}
		if n := len(answer.Data); n < 2 || n > usual/10 {
			t.Errorf("Jaeger has %d traces of %d calls, of which 2 were special", n, usual)
		}
	})
}

const path = `client edge-0 status_code=200
  client edge-0 attempt status_code=200
    server web-0 status_code=200
      client web-0 status_code=200
        client web-0 attempt status_code=200
          server shop-0 status_code=200
            client shop-0 status_code=500 type=500
              client shop-0 attempt status_code=500 type=500
                server cart-A status_code=500 type=500
`

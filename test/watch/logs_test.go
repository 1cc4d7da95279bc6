package watch

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/test/rig"
)

// TestLogs: where logs are asked for, each sidecar has a record of each call
// that it carried, with the trace in which the call was.
func TestLogs(t *testing.T) {
	b := newBackends(t, "prometheus.yml")
	c := newChain(t, environment("OTEL_LOGS_EXPORTER=otlp", "OTEL_BLRP_SCHEDULE_DELAY=100")...)
	c.answers(func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) })
	heard := c.call(t, http.StatusInternalServerError)
	if len(heard) != 1 {
		t.Fatalf("cart heard of traces %q", heard)
	}
	const want = `cart server: ERROR GET /items 500
edge-0 client: ERROR GET / 500
shop-0 client: ERROR GET /items 500
shop-0 server: ERROR GET / 500
web-0 client: ERROR GET / 500
web-0 server: ERROR GET / 500`
	process.Await(t, rig.Patience, func() error {
		got := strings.Join(b.out.lines(heard[0]), "\n")
		if got := regexp.MustCompile("(?m)^cart-[01]").ReplaceAllString(got, "cart"); got != want {
			return fmt.Errorf("the logs are\n%s\nwant\n%s", got, want)
		}
		return nil
	})
}

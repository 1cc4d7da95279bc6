// Package protect sees the protections of calls at work, on real processes:
// meshd, and sidecars beside applications that the test runs, over HTTP/1.1 and
// over HTTP/2.
package protect

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/meshd/meshd/test/rig"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// both runs a test over either version of HTTP.
func both(t *testing.T, test func(t *testing.T, version int)) {
	for version, name := range map[int]string{1: "HTTP1", 2: "HTTP2"} {
		t.Run(name, func(t *testing.T) { test(t, version) })
	}
}

// A caller makes calls through a sidecar.
type caller struct {
	t      testing.TB
	client *http.Client
}

func newCaller(t testing.TB, version int, s *rig.Sidecar) *caller {
	return &caller{t, &http.Client{Transport: rig.Transport(t, version, s.Outbound), Timeout: 20 * time.Second}}
}

// An answer is what a call came to.
type answer struct {
	status int
	header http.Header
	body   string
	took   time.Duration
}

// get makes one call, with headers as "name: value".
func (c *caller) get(url string, headers ...string) (a answer, err error) {
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		return a, err
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	began := time.Now()
	res, err := c.client.Do(req)
	if err != nil {
		return a, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(b), time.Since(began)}, err
}

// must is a get that has to be answered.
func (c *caller) must(url string, headers ...string) answer {
	c.t.Helper()
	a, err := c.get(url, headers...)
	if err != nil {
		c.t.Fatal(err)
	}
	return a
}

// says is an application that answers with its name.
func says(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, name) })
}

// policy is a TrafficPolicy of one service.
func policy(service, spec string) string {
	return `
apiVersion: meshd.io/v1alpha1
kind: TrafficPolicy
metadata: {name: ` + service + `}
spec:
  targetRefs: [{kind: Service, name: ` + service + `}]
` + indent(spec)
}

func indent(s string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n  ") + "\n"
}

const service = `
apiVersion: v1
kind: Service
metadata: {name: cart}
spec: {ports: [{port: 8080}]}
`

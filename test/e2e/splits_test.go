package e2e

import (
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/test/rig"
)

// splits are the routes of the service checkout.
const splits = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: checkout}
spec:
  parentRefs: [{group: "", kind: Service, name: checkout, port: 8080}]
  rules:
  - name: canary
    matches:
    - headers: [{name: x-canary, value: always}]
    - path: {value: /v2}
    - queryParams: [{name: version, value: "2"}]
    - method: PUT
    backendRefs: [{name: canary, port: 8080}]
  - name: split
    matches: [{path: {value: /split}}]
    backendRefs: [{name: checkout, port: 8080, weight: 90}, {name: canary, port: 8080, weight: 10}]
  - name: mirrored
    matches: [{path: {value: /mirrored}}]
    filters: [{type: RequestMirror, requestMirror: {backendRef: {name: audit, port: 8080}}}]
  - name: gone
    matches: [{path: {value: /gone}}]
    backendRefs: [{name: gone, port: 8080}]
  - name: none
    matches: [{path: {value: /none}}]
    backendRefs: [{name: checkout, port: 8080, weight: 0}]
`

// Calls go where an HTTPRoute says, by path, header, query, method and weight;
// what no route takes is answered with 404, and what has nowhere to go with 500.
func TestSplits(t *testing.T) {
	m := newMesh(t, nil, "", "")
	var mirrored atomic.Int64
	for _, name := range []string{"checkout", "canary", "audit"} {
		m.instance(name, name+"-0", serve(t, nil, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if name == "audit" {
				mirrored.Add(1)
			}
			_, _ = io.WriteString(w, name)
		})))
	}
	front := m.sidecar(rig.Spec{Service: "front", Instance: "front-0"})
	client := newClient(t, nil, 0, nil)
	ask := func(method, target, header string) string {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+front.Outbound+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		if req.Host = "checkout:8080"; header != "" {
			req.Header.Set("X-Canary", header)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != http.StatusOK {
			return res.Status
		}
		return string(body)
	}
	answered := func(want string) func() error {
		return func() error {
			if got := ask("GET", "/", ""); got != want {
				return fmt.Errorf("%s, want %s", got, want)
			}
			return nil
		}
	}
	process.Await(t, patience, answered("checkout"))
	m.Apply(splits)
	process.Await(t, patience, answered("404 Not Found"))
	for _, c := range []struct{ method, target, header, want string }{
		{"GET", "/v2", "", "canary"}, {"GET", "/v2/x", "", "canary"}, {"GET", "/v2?x", "", "canary"}, {"GET", "/v22", "", "404 Not Found"},
		{"GET", "/x", "always", "canary"}, {"GET", "/x", "never", "404 Not Found"},
		{"GET", "/x?a=b&version=2", "", "canary"}, {"GET", "/x?version=22", "", "404 Not Found"},
		{"PUT", "/x", "", "canary"}, {"PUT", "/mirrored", "", "checkout"}, // a longer path comes before a method
		{"GET", "/gone", "", "500 Internal Server Error"}, {"GET", "/none", "", "500 Internal Server Error"},
	} {
		if got := ask(c.method, c.target, c.header); got != c.want {
			t.Errorf("%s %s (%s): %s, want %s", c.method, c.target, c.header, got, c.want)
		}
	}
	const calls = 1000
	counts := map[string]int{}
	for range calls {
		counts[ask("GET", "/split", "")]++
	}
	if c := counts["canary"]; c < 50 || c > 160 || c+counts["checkout"] != calls { // more than 5 standard deviations
		t.Errorf("a split of 9:1 is %v", counts)
	}
	before := mirrored.Load()
	for range 10 {
		if got := ask("GET", "/mirrored", ""); got != "checkout" {
			t.Errorf("a mirrored call is answered with %s", got)
		}
	}
	process.Await(t, patience, func() error {
		if n := mirrored.Load() - before; n != 10 {
			return fmt.Errorf("%d of 10 calls were mirrored", n)
		}
		return nil
	})
	if n := front.counted(t, "http_client_request_duration_seconds_count", `meshd_route="default/checkout/split"`); n != calls {
		t.Errorf("%d calls are counted for the route, there were %d", n, calls)
	}
}

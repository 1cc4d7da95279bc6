package ctl

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A caller's sidecar whose counters go on between two looks: of 100 calls that
// came last, on two routes, one in fifty has failed, and all took 10 to 20 ms.
func countingSidecar(t *testing.T, scale int) string {
	var looks atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RequestURI() != "/stats?buckets=true" {
			t.Errorf("asked for %s", r.URL.RequestURI())
		}
		n := looks.Add(1)
		at := time.Date(2026, 11, 24, 3, 0, int(n), 0, time.UTC).Format(time.RFC3339)
		// Bucket -213 of scale 5 is around 10 ms, -181 around 20 ms.
		fmt.Fprintf(w, `{"time":%q,"client":[
			{"name":"default/checkout:8080","series":[
				{"route":"a","status":200,"count":%d,"meanMs":12,"buckets":{"scale":%d,"offset":-213,"counts":[%d]}},
				{"route":"a","status":503,"count":%d,"meanMs":20,"buckets":{"scale":%d,"offset":-181,"counts":[%d]}},
				{"route":"b","status":200,"grpcStatus":"UNAVAILABLE","count":%d,"meanMs":10}]},
			{"name":"shop/checkout:8080","series":[{"route":"other","status":200,"count":%d}]}]}`,
			at, 1000+98*n, scale, 1000+98*n, 2*n, scale, 2*n, 10*n, 500*n)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func TestTopRoutes(t *testing.T) {
	for name, tc := range map[string]struct {
		args  string
		scale int
	}{
		"top-routes":         {"top --routes default/checkout --once --interval 1ms", 5},
		"top-routes-json":    {"top --routes default/checkout:8080 -o json --interval 1ms", 5},
		"top-routes-none":    {"top --routes shop/cart --once --interval 1ms", 5},
		"top-routes-unknown": {"top --routes payment --once", 5},
		"top-routes-scale":   {"top --routes default/checkout --once --interval 1ms", 3},
		"top-routes-sidecar": {"top --sidecar 127.0.0.1:1", 5},
	} {
		t.Run(name, func(t *testing.T) {
			addr := countingSidecar(t, tc.scale)
			m := filled(t)
			m.Status.Services[0].Instances[0].Admin = addr
			code, out, errOut := call(m.URL, "", strings.Fields(tc.args)...)
			got := fmt.Sprintf("$ meshctl %s\n%s-- stderr\n%s-- exit %d\n", tc.args, out, errOut, code)
			golden(t, name, strings.NewReplacer(m.URL, "http://MESHD", addr, "SIDECAR").Replace(got))
		})
	}
	m := filled(t)
	m.Status.Services[0].Instances[0].Admin = "127.0.0.1:1"
	if code, _, err := call(m.URL, "", "top", "--routes", "checkout", "--once"); code != exitFailed || !strings.Contains(err, "port-forward") {
		t.Errorf("exit %d, %s", code, err)
	}
}

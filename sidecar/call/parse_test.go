package call

import (
	"math"
	"strings"
	"testing"

	"github.com/meshd/meshd/xds/resource"
)

// What one sidecar says of its load the other one reads, to the microsecond.
func TestOwnLoad(t *testing.T) {
	for v, want := range map[string][2]int64{
		"7,named_metrics.meshd_queue_ms=0":          {7, 0},
		"0,named_metrics.meshd_queue_ms=12.034":     {0, 12_034_000},
		"1,named_metrics.meshd_queue_ms=0.00000199": {1, 1},
	} {
		n, q, ok := parseOwn([]byte(inflightMetric + v))
		if !ok || n != want[0] || q != want[1] {
			t.Errorf("%s: %d, %d, %v", v, n, q, ok)
		}
	}
	for _, v := range []string{"", inflightMetric, inflightMetric + "1", inflightMetric + "-1" + queueMetric + "0",
		inflightMetric + "1" + queueMetric + "1.2.3", inflightMetric + "1" + queueMetric + "x"} {
		if _, _, ok := parseOwn([]byte(v)); ok {
			t.Errorf("%q", v)
		}
	}
}

func FuzzParseOwn(f *testing.F) {
	f.Add([]byte(inflightMetric + "7" + queueMetric + "1.5"))
	f.Add([]byte(inflightMetric + "999999999" + queueMetric + "9999999999999999"))
	f.Fuzz(func(t *testing.T, v []byte) {
		n, q, ok := parseOwn(v)
		if n < 0 || q < 0 || ok && (n > math.MaxInt32 || q > 1e17) {
			t.Errorf("%q: %d, %d", v, n, q)
		}
	})
}

func FuzzInstanceOf(f *testing.F) {
	s := &resource.Session{Cookie: "s", Key: "key"}
	f.Add([]byte(sessionValue(s, "checkout-0")))
	f.Add([]byte("AAAA"))
	f.Add([]byte(strings.Repeat("A", 800)))
	f.Fuzz(func(t *testing.T, v []byte) {
		id := instanceOf(s, v)
		if id == "" {
			return
		}
		if again := instanceOf(s, []byte(sessionValue(s, id))); again != id {
			t.Errorf("%q: %q, then %q", v, id, again)
		}
		if other := instanceOf(&resource.Session{Cookie: "s", Key: "other"}, v); other != "" {
			t.Errorf("%q is genuine for another key", v)
		}
	})
}

// A session's cookie: kept while its instance takes calls, moved when not.
func TestSessionCookie(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(f *fixture)
		moves  bool
	}{
		"alive":     {func(*fixture) {}, false},
		"gone":      {func(f *fixture) { _ = f.cluster.Update(nil, endpoints("10.0.0.1:80")) }, true},
		"ejected":   {func(f *fixture) { f.cluster.Endpoints()[1].Eject(1 << 40) }, true},
		"unhealthy": {func(f *fixture) { f.cluster.Endpoints()[1].SetVerdict(2) }, true},
		"draining": {func(f *fixture) {
			eps := endpoints("10.0.0.1:80", "10.0.0.2:80")
			eps.Endpoints[1].Health = resource.Draining
			_ = f.cluster.Update(nil, eps)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t, policy, 0, "10.0.0.1:80", "10.0.0.2:80")
			f.route.Session = resource.Session{Cookie: "s", Key: "key"}
			tc.change(f)
			for range 4 {
				var c Call
				in := request{headers: map[string]string{"cookie": "s=" + sessionValue(&f.route.Session, "10.0.0.2:80")}}
				c.Begin(f.tracer, f.route, &Said{Request: in}, nil, 1)
				ep := c.Pick(1)
				if moved := ep.ID != "10.0.0.2:80"; moved != tc.moves {
					t.Errorf("at %s", ep.ID)
				}
				if cookie := c.SetCookie(); (cookie != "") != tc.moves {
					t.Errorf("cookie %q", cookie)
				}
				c.Done(2, 200, 0, 1)
				c.End(2, 200, 0)
			}
		})
	}
}

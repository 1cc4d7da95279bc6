package dashboard

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/meshd/meshd/telemetry"
)

// TestViews: each says what it is for, in HTML that is whole, under the policy.
func TestViews(t *testing.T) {
	reader := &told{}
	clients := func() []Client {
		return []Client{
			{ID: "checkout.default/checkout-0", Service: "checkout", Namespace: "default", Connected: time.Now().Add(-90 * time.Second), Acked: 12, Has: []Has{{"Cluster", 3, ""}, {"ClusterLoadAssignment", 2, ""}}},
			{ID: "envoy", Service: "edge", Namespace: "default", Acked: 3, Nacked: 1, Has: []Has{{"Listener", 0, "listener <x>: no filters"}}},
			{ID: "recovered", Service: "edge", Namespace: "default", Acked: 3, Nacked: 1, Has: []Has{{"Listener", 1, ""}}},
		}
	}
	cfg := Config{
		Reader: reader, Clients: clients,
		Scale:    func(_, _ string, _ int) error { return nil },
		Replicas: func(_, _ string) (int, bool) { return 5, true },
	}
	mesh(t, cfg, func(d *Dashboard, _ *receiver) {
		reader.now = time.Now()
		for _, tc := range []struct {
			path   string
			status int
			want   []string
			not    []string
		}{
			{"/?window=15m", 200, []string{
				`<a id="to default/checkout" href="/services/default/checkout?window=15m"><span class="ns">default/</span>checkout</a>`,
				"100/s", `<span class="bad">90.00 %</span>`, "10 ms", "3 of 5", `class="spark"`,
				`name="replicas" value="4"`, `name="replicas" value="6"`, `action="/scale/default/checkout?from=all&amp;window=15m"`,
				`<a href="/?window=15m" aria-current="true">`, `http-equiv="refresh"`, `href="/map?window=15m"`,
			}, nil},
			{"/services/default/checkout", 200, []string{
				`href="/traces/` + slowTrace + `"`, `href="/services/default/checkout/instances?window=5m"`, "The knee is at about 4", ">knee<",
				">Latency<", ">Success<", ">Calls/s<", ">In flight<", ">Instances<", ">Mean latency by part<", ">downstream<", ">held<",
				"▲", "from 2 to 3", "takes calls &lt;now&gt;", "unheard-of",
				`<strong>ejected</strong> <a href="/services/default/checkout?instance=checkout-1&amp;window=5m">checkout-1</a> <span class="faint">is ejected by web-0: latency</span>`,
				"ejected: checkout-1 is ejected by web-0: latency</title>", "joined: checkout-2 takes calls &lt;now&gt;</title>", `action="/scale/default/checkout?window=5m"`,
				"Hold this moment", ">offered<",
			}, []string{"data-fixed"}},
			{"/services/default/checkout?instance=checkout-0&window=2m", 200, []string{"Only what the sidecar of instance <strong>checkout-0</strong>", "instance checkout-0 of default/checkout"}, []string{"/scale/"}},
			{"/services/default/checkout?instance=nobody", 404, []string{"Nothing is known of an instance &#34;nobody&#34;"}, nil},
			{"/services/default/checkout?to=1999-12-31T12:00:00Z", 200, []string{"data-fixed", "up to 12:00:00 UTC", "Go on", `?to=1999-12-31T12%3A00%3A00Z&amp;window=2m`, `href="/services/default/checkout?window=5m" data-live="hold"`, ">11:57:00<"}, []string{"Now", "http-equiv"}},
			{"/services/default/nobody", 404, []string{"There is no service &#34;default/nobody&#34;"}, nil},
			{"/services/default/checkout/instances", 200, []string{
				"2.00 ×", "The busiest of 4 has 2.00 times an equal share.", `<span class="bad">80 ms</span>`, `<span class="bad">50.00 %</span>`,
				"127.0.0.1:31006", `href="/services/default/checkout?instance=checkout-1&amp;window=5m"`, `class="share"`,
				`width="78.4" height="4" fill="var(--chart-2)"`, `<td class="n">40.00 %</td>`, `<td class="n">0.00 %</td>`, `<td class="n">–</td>`, "aim at now",
			}, nil},
			{"/map", 200, []string{"load</text>", "shop/cart", "100/s · 30 ms", "default/checkout calls shop/cart: 40/s, success 100 %, p99 2 ms",
				`<th scope="row"><a href="/services/default/checkout?window=5m">default/checkout</a></th>`, "3 instances"}, nil},
			{"/traces?service=checkout&kind=slow&min=2.5", 200, []string{`href="/traces/` + slowTrace + `"`, "GET /&lt;b&gt;", `value="2.5"`, `<span class="bad">503</span>`,
				`<option value="default/checkout" selected>`, `<option value="slow" selected>`, "4 in 2", ">100 ms<"}, nil},
			{"/traces?service=shop/cart&kind=slow&min=5000", 200, []string{"No such trace is kept", `<option value="shop/cart" selected>`}, nil},
			{"/traces/" + slowTrace, 200, []string{
				"attempt → checkout-1", "attempt 2 → checkout-0", "again: 503", "held 10 ms", "retried 9.5 ms", "queued 30 ms", "1 retry",
				"7 spans of 3 services", "2 spans did not fit", "Choose a span", `class="what d2"`,
			}, nil},
			{"/traces/" + slowTrace + "?span=c0", 200, []string{"What was decided", "<dt>meshd.balancer</dt><dd>peak_ewma</dd>", "<dt>20 ms retry</dt><dd>meshd.retry.reason 503</dd>", `aria-current="true"`}, []string{"Choose a span"}},
			{"/traces/0123", 404, []string{"No trace &#34;0123&#34; is kept here"}, nil},
			{"/config", 200, []string{"3 clients are connected, 1 with something rejected", "<p>Listener: listener &lt;x&gt;: no filters</p>", "1 min 30 s", "Cluster 3, ClusterLoadAssignment 2",
				`<a href="/services/default/checkout?window=5m">default/checkout</a>`}, nil},
		} {
			w := get(d, tc.path)
			page := w.Body.String()
			if w.Code != tc.status {
				t.Errorf("%s: status %d, want %d", tc.path, w.Code, tc.status)
			}
			for _, want := range tc.want {
				if !strings.Contains(page, want) {
					t.Errorf("%s: no %s", tc.path, want)
				}
			}
			for _, not := range append(tc.not, "NaN", "ZgotmplZ", "style=", "<no value>", "%!") {
				if strings.Contains(strings.ReplaceAll(page, pageJS, ""), not) {
					t.Errorf("%s: has %s", tc.path, not)
				}
			}
			checkFrame(t, tc.path, w)
		}
		if reader.query.Service != (telemetry.Service{Namespace: "shop", Name: "cart"}) || reader.query.Min != 5*time.Second {
			t.Errorf("asked for traces %+v", reader.query)
		}
	})
}

// checkFrame: the policy allows the page's own script and style and nothing
// else, the HTML is whole, no id is there twice, and links within lead
// somewhere.
func checkFrame(t *testing.T, path string, w *httptest.ResponseRecorder) {
	t.Helper()
	page := w.Body.String()
	csp := w.Header().Get("Content-Security-Policy")
	for _, inline := range []string{pageCSS, pageJS} {
		if !strings.Contains(page, inline) || !strings.Contains(csp, hashOf(inline)) {
			t.Errorf("%s: inline text and its hash differ: %s", path, csp)
		}
	}
	if strings.Contains(csp, "unsafe") || !strings.Contains(csp, "default-src 'none'") {
		t.Errorf("%s: policy: %s", path, csp)
	}
	page = strings.ReplaceAll(page, pageJS, "")
	wellFormed(t, []byte(page))
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if ids[m[1]] {
			t.Errorf("%s: id %s is there twice", path, m[1])
		}
		ids[m[1]] = true
	}
	for _, m := range regexp.MustCompile(` href="#([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if !ids[m[1]] {
			t.Errorf("%s: #%s leads nowhere", path, m[1])
		}
	}
	live := map[string]bool{}
	for _, m := range regexp.MustCompile(` data-live="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if live[m[1]] {
			t.Errorf("%s: data-live %s is there twice", path, m[1])
		}
		live[m[1]] = true
	}
}

// TestPageCache: a page is made once a second, however many look.
func TestPageCache(t *testing.T) {
	reader := &told{}
	mesh(t, Config{Reader: reader}, func(d *Dashboard, _ *receiver) {
		reader.now = time.Now()
		get(d, "/services/default/checkout?window=5m&x=1")
		reader.span = telemetry.Span{}
		get(d, "/services/default/checkout?x=1&window=5m")
		if reader.span != (telemetry.Span{}) {
			t.Error("made twice in a second")
		}
		for i := range 2 * maxPages {
			get(d, "/map?x="+url.QueryEscape(strings.Repeat("a", i)))
		}
		if n := len(d.pages.made); n != maxPages {
			t.Errorf("%d pages are kept, want %d", n, maxPages)
		}
		time.Sleep(time.Second)
		get(d, "/services/default/checkout?window=5m&x=1")
		if reader.span == (telemetry.Span{}) || len(d.pages.made) != 1 {
			t.Errorf("not made anew; %d are kept", len(d.pages.made))
		}
	})
}

// TestWorstFirst: who fails comes before who is slow.
func TestWorstFirst(t *testing.T) {
	order := []telemetry.ServiceSnapshot{
		{Name: "fails much", RPS: 1, Success: 0.5, P99Ms: 1}, {Name: "fails", RPS: 1, Success: 0.95, P99Ms: 1},
		{Name: "given up", RPS: 1, Success: 1, OpenBreakers: 1}, {Name: "slow", RPS: 1, Success: 1, P99Ms: 900}, {Name: "well", RPS: 1, Success: 0.999, P99Ms: 2}, {Name: "quiet", Success: 1},
	}
	for i := 1; i < len(order); i++ {
		a, b := trouble(order[i-1]), trouble(order[i])
		for k := range a {
			if a[k] < b[k] {
				break
			}
			if a[k] > b[k] {
				t.Errorf("%q comes before %q", order[i].Name, order[i-1].Name)
			}
		}
	}
}

func TestStateOf(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for query, want := range map[string]string{
		"":                                  "/x?window=5m",
		"window=1h":                         "/x?window=1h",
		"window=1h&to=2026-01-02T03:00:00Z": "/x?to=2026-01-02T03%3A00%3A00Z&window=1h",
		"window=9m&to=2026-01-02T03:04:06Z": "/x?window=5m", // not yet
		"to=yesterday":                      "/x?window=5m",
		"to=2026-01-02T03:00:00%2B02:00":    "/x?to=2026-01-02T01%3A00%3A00Z&window=5m",
	} {
		r := httptest.NewRequest(http.MethodGet, "/x?"+query, nil)
		if got := stateOf(r, now).link("/x", "empty", ""); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

package ctl

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/meshd/meshd/ctl/api"
)

// A fakeSidecar answers on its admin port.
type fakeSidecar struct {
	stats string
	away  bool // it is draining
	level string
}

func (f *fakeSidecar) serve(t *testing.T) (addr string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ready":
			if f.away {
				http.Error(w, "not ready: starting or draining", http.StatusServiceUnavailable)
			}
		case "/stats":
			io.WriteString(w, f.stats)
		case "/log-level":
			if r.Method == http.MethodPut {
				f.level = r.URL.Query().Get("level")
			}
			fmt.Fprintf(w, `{"level":%q}`, f.level)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

const soundStats = `{"panics":0,"server":[{"name":"default/checkout:8080","figures":{"meshd.admission.limit":20,` +
	`"meshd.server.outbound_calls":{"true":990,"false":10}}}],"figures":{"meshd.telemetry.dropped":{"meshd":0}}}`

const illStats = `{"panics":2,"server":[{"name":"default/checkout:8080","figures":{"meshd.server.outbound_calls":{"true":3,"false":97}}}],` +
	`"figures":{"meshd.telemetry.dropped":{"otel":41,"meshd":3},"meshd.access_log.dropped":7}}`

func sound() api.Status {
	return api.Status{
		Version: "v0.1.0", UptimeSeconds: 190,
		Services: []api.Service{{Name: "checkout", Namespace: "default", Port: 8080, Source: "registry", Instances: []api.Instance{
			{ID: "checkout-0", Address: "127.0.0.1:31006", Ready: true, Admin: "SOUND", Version: "v0.1.0"},
		}}},
		Clients: []api.XDSClient{{ID: "checkout.default/checkout-0", Acked: 12}},
	}
}

func ill() api.Status {
	s := sound()
	s.Version, s.Telemetry = "v0.2.0", api.Kept{Overflow: 12, Invalid: 3, DroppedSpans: 5}
	s.Services[0].Instances = append(s.Services[0].Instances,
		api.Instance{ID: "checkout-1", Ready: true, Admin: "ILL", Version: "v0.1.9"},
		api.Instance{ID: "checkout-2", Ready: true, Draining: true, Admin: "127.0.0.1:1", Version: "v0.2.0"})
	s.Services = append(s.Services, api.Service{Name: "cart", Namespace: "shop", Port: 80, Source: "file:mesh.yaml:3"},
		api.Service{Name: "db", Namespace: "default", Port: 5432, Source: "api", Instances: []api.Instance{{ID: "db-0", Address: "10.0.0.1:5432"}}})
	s.Clients = append(s.Clients,
		api.XDSClient{ID: "checkout.default/checkout-1", Nacked: 1, LastNack: "Cluster default/x:80:\n lb_policy RANDOM",
			Has: []api.Has{{Type: "Cluster", Resources: 2, Rejected: "Cluster default/x:80:\n lb_policy RANDOM"}}},
		// It has got a newer version since.
		api.XDSClient{ID: "envoy", Nacked: 1, LastNack: "Cluster default/x:80", Has: []api.Has{{Type: "Cluster", Resources: 3}}})
	return s
}

func TestCheck(t *testing.T) {
	good := (&fakeSidecar{stats: soundStats}).serve(t)
	bad := (&fakeSidecar{stats: illStats, away: true}).serve(t)
	for name, tc := range map[string]struct {
		status api.Status
		args   string
	}{
		"check":      {sound(), "check"},
		"check-ill":  {ill(), "check"},
		"check-json": {ill(), "check -o json"},
		"check-none": {api.Status{Version: "v0.1.0"}, "check"},
	} {
		t.Run(name, func(t *testing.T) {
			m := filled(t)
			m.Status = tc.status
			for i := range m.Status.Services {
				for j := range m.Status.Services[i].Instances {
					in := &m.Status.Services[i].Instances[j]
					in.Admin = strings.NewReplacer("SOUND", good, "ILL", bad).Replace(in.Admin)
				}
			}
			code, out, errOut := call(m.URL, "", strings.Fields(tc.args)...)
			got := fmt.Sprintf("$ meshctl %s\n%s-- stderr\n%s-- exit %d\n", tc.args, out, errOut, code)
			golden(t, name, strings.NewReplacer(m.URL, "http://MESHD", good, "SOUND", bad, "ILL").Replace(got))
		})
	}
	if code, _, err := call("http://127.0.0.1:1", "", "check"); code != exitFailed || !strings.Contains(err, "start it with: meshd") {
		t.Errorf("without meshd: exit %d, %s", code, err)
	}
}

// A few calls that belong to none are an application's own affair.
func TestStrangers(t *testing.T) {
	for figures, want := range map[[2]float64]int{{990, 10}: 0, {0, 9}: 0, {0, 10}: 1, {900, 100}: 1, {10, 0}: 0, {0, 0}: 0} {
		c := checkup{}
		c.sidecar(sidecarAt{}, sidecarAnswer{stats: api.SidecarStats{Server: []api.SidecarServiceStats{{
			Figures: api.Figures{"meshd.server.outbound_calls": {"true": figures[0], "false": figures[1]}},
		}}}})
		if len(c.Findings) != want {
			t.Errorf("%v joined and not: %v", figures, c.Findings)
		}
	}
}

func TestLogLevel(t *testing.T) {
	one, two := &fakeSidecar{level: "info"}, &fakeSidecar{level: "warn"}
	addr, other := one.serve(t), two.serve(t)
	for _, tc := range []struct {
		name, args    string
		one, two, its string // the levels afterwards
	}{
		{"log-level", "log-level", "info", "warn", "info"},
		{"log-level-json", "log-level checkout -o json", "info", "warn", "info"},
		{"log-level-set", "log-level default/checkout debug", "debug", "debug", "info"},
		{"log-level-instance", "log-level checkout --instance checkout-1 error", "info", "error", "info"},
		{"log-level-meshd", "log-level meshd warn", "info", "warn", "warn"},
		{"log-level-sidecar", "log-level --sidecar " + addr + " debug", "debug", "warn", "info"},
		{"log-level-client", "log-level shop/gate debug", "info", "debug", "info"},
		{"log-level-bad", "log-level checkout loud", "info", "warn", "info"},
		{"log-level-whose", "log-level debug", "info", "warn", "info"},
		{"log-level-unknown", "log-level payment", "info", "warn", "info"},
		{"log-level-none", "log-level shop/cart", "info", "warn", "info"},
		{"log-level-away", "log-level --sidecar 127.0.0.1:1", "info", "warn", "info"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			one.level, two.level = "info", "warn"
			m := filled(t)
			m.Level = "info"
			m.Status.Services[0].Instances[0].Admin, m.Status.Services[0].Instances[1].Admin = addr, other
			m.Status.Clients = append(m.Status.Clients, api.XDSClient{ID: "gate.shop/gate-0", Service: "gate", Namespace: "shop", Admin: other})
			code, out, errOut := call(m.URL, "", strings.Fields(tc.args)...)
			got := fmt.Sprintf("$ meshctl %s\n%s-- stderr\n%s-- exit %d\n", tc.args, out, errOut, code)
			// Widths follow from the addresses: made those of the longest.
			got = strings.NewReplacer(m.URL, "http://MESHD", addr, "ONE", other, "TWO").Replace(got)
			golden(t, tc.name, squeezed(got))
			if one.level != tc.one || two.level != tc.two || m.Level != tc.its {
				t.Errorf("levels are %s, %s and %s", one.level, two.level, m.Level)
			}
		})
	}
}

// squeezed makes columns of one blank: how wide they are depends on the ports
// that a test has got.
func squeezed(s string) string {
	var out strings.Builder
	for line := range strings.Lines(s) {
		if !strings.HasPrefix(line, " ") {
			line = strings.Join(strings.Fields(line), " ") + "\n"
		}
		out.WriteString(line)
	}
	return out.String()
}

func TestLogLevelCompletion(t *testing.T) {
	m := filled(t)
	if _, out, _ := call(m.URL, "", "__complete", "log-level", ""); !strings.HasPrefix(out, "checkout\ncart\nmeshd\n") {
		t.Errorf("%q", out)
	}
	if _, out, _ := call(m.URL, "", "__complete", "log-level", "meshd", ""); !strings.HasPrefix(out, "debug\ninfo\n") {
		t.Errorf("%q", out)
	}
}

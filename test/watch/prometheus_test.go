package watch

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/meshd/meshd/internal/testkit/process"
)

// Prometheus has a trace for each bucket of a latency, and Jaeger has that trace.
func exemplars(t *testing.T, b *backends, c *chain) {
	b.scrape(t)
	for _, name := range []string{"http_client_request_duration_seconds_bucket", "http_server_request_duration_seconds_bucket"} {
		query := url.Values{"query": {name + `{meshd_service="default/cart:8080"}`}, "start": {fmt.Sprint(time.Now().Add(-time.Hour).Unix())}}
		process.Await(t, time.Minute, func() error {
			c.call(t, http.StatusOK)
			query.Set("end", fmt.Sprint(time.Now().Add(time.Minute).Unix()))
			var answer struct {
				Data []struct {
					Exemplars []struct{ Labels map[string]string }
				}
			}
			if err := b.get(prometheusURL+"/api/v1/query_exemplars?"+query.Encode(), &answer); err != nil {
				return err
			}
			if len(answer.Data) == 0 {
				return fmt.Errorf("Prometheus has no exemplar of %s", name)
			}
			for _, series := range answer.Data {
				for _, e := range series.Exemplars {
					spans, err := b.trace(e.Labels["trace_id"])
					if err != nil {
						return err
					}
					if !slices.ContainsFunc(spans, func(s span) bool { return s.ID == e.Labels["span_id"] }) {
						return fmt.Errorf("the exemplar %v is no span of\n%s", e.Labels, show(spans))
					}
				}
			}
			return nil
		})
	}
}

// A dashboard is what Grafana reads, as far as tests look at it.
type dashboard struct {
	UID, Title string
	Panels     []struct {
		ID                 int
		Title, Description string
		GridPos            struct{ X, Y, W, H int }
		Targets            []struct{ Expr, LegendFormat string }
	}
	Templating struct {
		List []struct{ Name, Type, Definition string }
	}
}

// silent are the panels that show nothing while nothing is wrong.
var silent = []string{"Held", "Unhealthy and ejected", "Shed"}

// silentLines are those in other panels, by their legend.
var silentLines = []string{"{{meshd_service}} denied", "access log"}

// told are panels whose value for cart is known, within bounds.
var told = map[string][2]float64{
	"Instances":                {2, 2},
	"Imbalance":                {1, 2},
	"Latency, median":          {1e-5, 1},
	"Latency, 99th percentile": {1e-5, 10},
	"Retries":                  {0.01, 1e4},
}

// documented holds the names in an expression to the page on telemetry.
func documented(t *testing.T, expr string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/reference/telemetry.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile(`\b(http|meshd|rpc)_[a-z_]+`).FindAllString(expr, -1) {
		for _, suffix := range []string{"_bucket", "_count"} {
			name = strings.TrimSuffix(name, suffix)
		}
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("%s: the page on telemetry knows no %s", expr, name)
		}
	}
}

// dashboards runs each expression of Grafana's dashboards, as Grafana would
// fill it in, while there are calls; nearly all panels show something.
func dashboards(t *testing.T, b *backends, c *chain) {
	b.scrape(t)
	files, err := filepath.Glob(folder + "/grafana/*.json")
	if err != nil || len(files) < 2 {
		t.Fatalf("dashboards %v: %v", files, err)
	}
	// Of cart every fourth attempt fails; those that shop does not hand on are
	// calls without context.
	var n atomic.Int64
	c.answers(func(w http.ResponseWriter) {
		if n.Add(1)%4 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	uids := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if d.UID == "" || d.Title == "" || uids[d.UID] {
			t.Errorf("%s has uid %q, title %q", file, d.UID, d.Title)
		}
		uids[d.UID] = true
		for _, v := range d.Templating.List {
			if v.Type != "query" {
				continue
			}
			metric, _, _ := strings.Cut(strings.TrimPrefix(v.Definition, "label_values("), ",")
			process.Await(t, time.Minute, func() error { return b.some(c, t, metric) })
		}
		for _, p := range d.Panels {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".json")+"/"+p.Title, func(t *testing.T) {
				if p.Description == "" || p.GridPos.W == 0 || len(p.Targets) == 0 {
					t.Errorf("panel %+v has no description, place or target", p)
				}
				for _, target := range p.Targets {
					expr := strings.NewReplacer("$__rate_interval", "20s", "$service", ".+").Replace(target.Expr)
					documented(t, expr)
					quiet := slices.Contains(silent, p.Title) || slices.Contains(silentLines, target.LegendFormat)
					if !quiet {
						process.Await(t, time.Minute, func() error { return b.some(c, t, expr) })
					}
					got, err := b.query(expr)
					if err != nil {
						t.Errorf("%s: %v", expr, err)
					}
					for _, s := range got {
						legend(t, target.LegendFormat, s)
						if want, ok := told[p.Title]; ok && !quiet && s.labels["meshd_service"] == "default/cart:8080" && (s.value < want[0] || s.value > want[1]) {
							t.Errorf("%s is %v, want %v", expr, s, want)
						}
					}
				}
			})
		}
	}
}

// some makes a call, and asks whether an expression has a value.
func (b *backends) some(c *chain, t *testing.T, expr string) error {
	c.forget.Store(!c.forget.Load())
	c.call(t, 0) // so few calls leave little to make attempts again with
	got, err := b.query(expr)
	if err == nil && !slices.ContainsFunc(got, func(s sample) bool { return s.value == s.value }) {
		err = fmt.Errorf("%s: %v", expr, got)
	}
	return err
}

// legend holds a legend to the labels that there are.
func legend(t *testing.T, format string, s sample) {
	t.Helper()
	for _, part := range strings.Split(format, "{{")[1:] {
		name, _, _ := strings.Cut(part, "}}")
		if s.labels[name] == "" {
			t.Errorf("legend %q: no label %s in %v", format, name, s.labels)
		}
	}
}

// What Grafana is given as sources is where the other files put them.
func TestDatasources(t *testing.T) {
	text, err := os.ReadFile(folder + "/grafana/datasources.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Datasources []struct {
			UID, Type, URL string
			JSONData       struct {
				ExemplarTraceIDDestinations []struct {
					Name, DatasourceUID string
				} `yaml:"exemplarTraceIdDestinations"`
			} `yaml:"jsonData"`
		}
	}
	if err := yaml.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	urls := map[string]string{}
	for _, s := range d.Datasources {
		urls[s.UID] = s.URL
	}
	if urls["prometheus"] != prometheusURL || urls["jaeger"] != jaegerURL {
		t.Errorf("sources %v, want %s and %s", urls, prometheusURL, jaegerURL)
	}
}

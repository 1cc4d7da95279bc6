package dashboard

import (
	"bytes"
	"encoding/xml"
	"flag"
	"io"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meshd/meshd/telemetry"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden: the pictures of the views, of what a test tells.
func TestGolden(t *testing.T) {
	id := telemetry.Service{Namespace: "default", Name: "checkout"}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	reader := &told{now: now}
	live := state{window: 1, to: now}
	held := state{window: 0, to: now, fixed: true}
	trace, _ := reader.Trace(slowTrace)
	begin, whole := trace.Spans[0].Start, 120*time.Millisecond
	dots := reader.Scatter(id, telemetry.Span{})
	picture := func(s state, instance string) string {
		samples := reader.Series(id, telemetry.Selection{Instance: instance}, s.span(windows[s.window].line))
		svg, err := inline(scaleFigure(id, instance, s, samples, reader.Events(id, s.span(0))), 380, 860)
		if err != nil {
			t.Fatal(err)
		}
		return string(svg)
	}
	scatter, err := inline(scatterFigure(id, live, dots, fitDots(dots)), 400, 300)
	if err != nil {
		t.Fatal(err)
	}
	none, err := inline(scatterFigure(id, live, nil, fitDots(nil)), 400, 300)
	if err != nil {
		t.Fatal(err)
	}
	weight := 0.3
	for name, got := range map[string]string{
		"scale.svg":    picture(live, ""),
		"instance.svg": picture(held, "checkout-0"),
		"scatter.svg":  string(scatter),
		"no-dots.svg":  string(none),
		"call.svg":     string(spanBar(trace.Spans[0], begin, whole)),
		"server.svg":   string(spanBar(trace.Spans[5], begin, whole)),
		"instant.svg":  string(spanBar(trace.Spans[6], begin, 0)),
		"share.svg":    string(shareBar(0.5, &weight, 0.25, 0.5)),
	} {
		for d := xml.NewDecoder(strings.NewReader(got)); ; {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%s is not well-formed: %v", name, err)
			}
		}
		for _, bad := range []string{"NaN", "Inf", "style=", "%!"} {
			if strings.Contains(got, bad) {
				t.Errorf("%s: has %s", name, bad)
			}
		}
		golden := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal([]byte(got), want) {
			t.Errorf("differs from %s; run the test with -update and look at it", golden)
		}
	}
}

// FuzzURL: whatever the query says, there is a page, or word of what is
// missing; links of it say the same again.
func FuzzURL(f *testing.F) {
	pages := []string{"/", "/services/default/checkout", "/services/default/checkout/instances", "/map", "/traces", "/traces/" + slowTrace, "/config"}
	for _, query := range []string{"", "window=1h&to=2026-01-02T03:00:00Z", "to=0000-01-01T00:00:00Z", "to=9999-12-31T23:59:59%2B23:59", "min=1e400", "min=-0",
		"min=0x1p-1074&kind=slow&service=/", "service=%ff%00/%22", "instance=%3Cscript%3E", "span=c0&span=s2", "%zz", "window=%F0%9F%98%80"} {
		for page := range pages {
			f.Add(byte(page), query)
		}
	}
	store := telemetry.NewStore(telemetry.Config{})
	store.Note(telemetry.Event{Service: telemetry.Service{Namespace: "default", Name: "checkout"}, Kind: telemetry.EventScaled, Text: "from 1 to 2"})
	d, err := New(Config{Store: store, Reader: &told{now: store.Now()}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, page byte, query string) {
		path := pages[int(page)%len(pages)]
		r := httptest.NewRequest("GET", path, nil)
		r.URL.RawQuery = query
		w := httptest.NewRecorder()
		d.ServeHTTP(w, r)
		if w.Code != 200 && w.Code != 404 {
			t.Fatalf("%s?%s: status %d", path, query, w.Code)
		}
		// Of control characters XML, by whose rules it is read here, knows fewer.
		wellFormed(t, []byte(strings.Map(func(r rune) rune {
			if r < ' ' && r != '\n' && r != '\t' || r == '\uFFFE' || r == '\uFFFF' {
				return ' '
			}
			return r
		}, strings.ReplaceAll(w.Body.String(), pageJS, ""))))
		again, err := url.Parse(stateOf(r, store.Now()).link(path))
		if err != nil {
			t.Fatal(err)
		}
		r2 := httptest.NewRequest("GET", again.String(), nil)
		a, b := stateOf(r, store.Now()), stateOf(r2, store.Now())
		if a.window != b.window || a.fixed != b.fixed || a.fixed && !a.to.Truncate(time.Second).Equal(b.to) {
			t.Fatalf("%q says %+v, its link %+v", query, a, b)
		}
	})
}

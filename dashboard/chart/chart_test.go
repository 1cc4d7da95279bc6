package chart

import (
	"bytes"
	"encoding/xml"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var nan = math.NaN()

// figures are what the dashboard and the experiments draw, and the edges.
var figures = map[string]Figure{
	"latency": {
		Title: "Latency", Description: "p50 and p99",
		X: Axis{Min: -60, Max: 0, Time: true, Format: Ago},
		Panels: []Panel{
			{Y: Axis{Format: Millis}, Weight: 2, Series: []Series{
				{Name: "p50", X: []float64{-60, -40, -20, 0}, Y: []float64{4, 5, nan, 6}},
				{Name: "p99", X: []float64{-60, -40, -20, 0}, Y: []float64{40, 1250, nan, 60}},
			}},
			{Y: Axis{Whole: true}, Weight: 0.6, Series: []Series{
				{Name: "instances", Kind: Step, Color: 3, X: []float64{-60, -40, -20, 0}, Y: []float64{2, 2, 4, 4}},
			}},
		},
	},
	"bars": {
		Title: "Calls per instance", Description: "a & b < c",
		X:      Axis{Categories: []string{"a-0", "a-1", "a-2"}},
		Panels: []Panel{{Y: Axis{Label: "calls/s"}, Series: []Series{{Name: "before", Kind: Bar, Y: []float64{100, 120, 0}}, {Name: "after", Kind: Bar, Y: []float64{70, 75, 74}}}}},
	},
	"workers": {
		Title: "Workers", X: Axis{Label: "workers", Whole: true},
		Panels: []Panel{
			{Y: Axis{Label: "calls/s"}, Series: []Series{{Marks: true, X: []float64{1, 2, 4, 8}, Y: []float64{900, 1800, 3300, 3400}}}},
			{Y: Axis{Label: "p99", Format: Millis}, Series: []Series{{Marks: true, X: []float64{1, 2, 4, 8}, Y: []float64{900, 300, 20, 18}}}},
		},
	},
	"empty":    {Title: "Nothing", X: Axis{Min: -60, Max: 0, Time: true, Format: Ago}, Panels: []Panel{{Series: []Series{{Name: "p50"}}}}},
	"gaps":     {Title: "Gaps", Panels: []Panel{{Series: []Series{{X: []float64{1, 2, 3}, Y: []float64{nan, math.Inf(1), nan}}}}}},
	"no-panel": {Title: "None"},
	"scale": {
		Title: "Scaling", Description: "all on one axis", Width: 380, Height: 420,
		X: Axis{Min: -60, Max: 0, Time: true, Format: Ago},
		Panels: []Panel{
			{Title: "Latency", Y: Axis{Format: Millis}, Weight: 2, Series: []Series{
				{Name: "p50", X: []float64{-60, -40, -20, 0}, Y: []float64{4, 5, nan, 6}},
				{Name: "p99", X: []float64{-60, -40, -39, -20, 0}, Y: []float64{40, 1250, 900, nan, 60},
					Links: []string{"/traces/1", "/traces/2", "/traces/3", "", ""}, Titles: []string{"one", "two & more", "too near", "", ""}},
			}},
			{Title: "Instances", Y: Axis{Whole: true}, Series: []Series{
				{Kind: Step, Color: 3, X: []float64{-60, -40, -20, 0}, Y: []float64{2, 2, 4, 4}},
			}},
			{Title: "Where the time goes", Y: Axis{Format: Millis}, Weight: 1.5, Series: []Series{
				{Name: "own", Kind: Area, X: []float64{-60, -40, -20, 0}, Y: []float64{2, 2, nan, 3}},
				{Name: "downstream", Kind: Area, X: []float64{-60, -40, -20, 0}, Y: []float64{1, 4, nan, 2}},
				{Name: "queued before the application", Kind: Area, X: []float64{-60, -40, -20, 0}, Y: []float64{0, 5, nan, 0}},
			}},
		},
		Marks: []Mark{{X: -30, Glyph: "▲", Title: "scaled 2 → 4", Link: "#event-1", Color: 3}, {X: -29, Glyph: "+", Title: "joined beside it"}, {X: -90, Glyph: "x"}},
	},
	"scatter": {
		Title: "p99 against load", X: Axis{Label: "calls/s of an instance"},
		Panels: []Panel{{Y: Axis{Format: Millis}, Series: []Series{
			{Kind: Dots, X: []float64{10, 20, 30, 40}, Y: []float64{5, 5, 6, 30}, Titles: []string{"a-0", "a-1", "a-0", "a-1"}},
			{X: []float64{10, 30, 40}, Y: []float64{5, 6, 30}, Color: 6},
		}}},
		Marks: []Mark{{X: 30, Title: "knee", Color: 2}},
	},
	"point": {Title: "Point", Panels: []Panel{{Series: []Series{{X: []float64{7}, Y: []float64{0}}}}}},
}

func render(t *testing.T, f Figure, th Theme) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := f.SVG(&out, th); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestFigures: well-formed, no number that is none, title and description,
// and equal to the golden file.
func TestFigures(t *testing.T) {
	for name, f := range figures {
		t.Run(name, func(t *testing.T) {
			svg := render(t, f, Light())
			d := xml.NewDecoder(bytes.NewReader(svg))
			for {
				if _, err := d.Token(); err == io.EOF {
					break
				} else if err != nil {
					t.Fatalf("not well-formed: %v\n%s", err, svg)
				}
			}
			for _, bad := range []string{"NaN", "Inf", "e+", "#-", "<?xml"} {
				if bytes.Contains(svg, []byte(bad)) {
					t.Errorf("contains %q:\n%s", bad, svg)
				}
			}
			if !bytes.Contains(svg, []byte("<title>"+f.Title+"</title>")) {
				t.Error("no title")
			}
			golden(t, name+".svg", svg)
		})
	}
}

// TestInline: for the inside of a page, under a policy that allows no styles.
func TestInline(t *testing.T) {
	for _, name := range []string{"scale", "scatter", "bars", "no-panel"} {
		var out bytes.Buffer
		if err := figures[name].Inline(&out); err != nil {
			t.Fatal(err)
		}
		svg := out.String()
		for d := xml.NewDecoder(strings.NewReader(svg)); ; {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("not well-formed: %v\n%s", err, svg)
			}
		}
		if strings.Contains(svg, "style=") || strings.Contains(svg, "#FEDC") || strings.Contains(svg, "NaN") {
			t.Errorf("%s: a style, a colour that is none or a number that is none in\n%s", name, svg)
		}
		golden(t, name+".inline.svg", out.Bytes())
	}
	var out bytes.Buffer
	if err := figures["scale"].Inline(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`role="group" aria-label="Scaling: all on one axis"`, `<a href="/traces/2" tabindex="-1" aria-label="two &amp; more">`, `href="#event-1"`, "<title>scaled 2 → 4&#xA;joined beside it</title>", "var(--chart-text)", "var(--chart-3)"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s", want)
		}
	}
	for _, not := range []string{"/traces/3", "too near"} {
		if strings.Contains(out.String(), not) {
			t.Errorf("%s lies on another point", not)
		}
	}
}

func TestSpark(t *testing.T) {
	for _, tc := range []struct {
		values []float64
		low    bool
		want   string // the path
	}{
		{nil, false, ""},
		{[]float64{nan, nan}, true, ""},
		{[]float64{0, 0}, false, "M0.0,22.0L100.0,22.0"},
		{[]float64{5, 10}, false, "M0.0,12.0L100.0,2.0"},
		{[]float64{5, 10}, true, "M0.0,22.0L100.0,2.0"},
		{[]float64{7, nan, 7}, true, "M-1.0,12.0h1M99.0,12.0h1"},
	} {
		if got := Spark(tc.values, tc.low); !strings.Contains(got, `d="`+tc.want+`"`) {
			t.Errorf("%v: %s, want %s", tc.values, got, tc.want)
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("differs from %s; run the test with -update and look at it", path)
	}
}

func TestLabels(t *testing.T) {
	if svg := render(t, figures["empty"], Dark()); !bytes.Contains(svg, []byte(">no data<")) {
		t.Error("an empty figure does not say so")
	}
	for name, want := range map[string][]string{
		"latency": {">now<", ">−30 s<", ">500 ms<", ">1 s<", ">p50<", ">p99<", ">instances<", ">5<"},
		"bars":    {">a-0<", ">a-2<", ">before<", ">calls/s<", ">50<", "a &amp; b &lt; c"},
		"workers": {">workers<", ">2000<", ">4000<", ">p99<"},
	} {
		svg := string(render(t, figures[name], Dark()))
		for _, w := range want {
			if !strings.Contains(svg, w) {
				t.Errorf("%s: no %s", name, w)
			}
		}
	}
}

func TestConcurrentDrawing(t *testing.T) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, f := range figures {
				if err := f.SVG(io.Discard, Dark()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestFormats(t *testing.T) {
	for _, tc := range []struct {
		f    func(float64) string
		v    float64
		want string
	}{
		{Number, 0, "0"}, {Number, 0.25, "0.25"}, {Number, 3.504, "3.5"}, {Number, 99.96, "100"}, {Number, 120.4, "120"},
		{Number, 4200, "4200"}, {Number, 12_345, "12.3k"}, {Number, 999_600, "1M"}, {Number, 1.3e6, "1.3M"}, {Number, -0.0001, "0"},
		{Millis, 0, "0 ms"}, {Millis, 0.047, "0.047 ms"}, {Millis, 3.52, "3.52 ms"}, {Millis, 999.6, "1 s"}, {Millis, 1250, "1.25 s"},
		{Ago, 0, "now"}, {Ago, -30, "−30 s"}, {Ago, -60, "−1 min"}, {Ago, -90, "−1 min 30 s"}, {Ago, -300, "−5 min"},
	} {
		if got := tc.f(tc.v); got != tc.want {
			t.Errorf("%v → %q, want %q", tc.v, got, tc.want)
		}
	}
}

func BenchmarkSVG(b *testing.B) {
	f := figures["latency"]
	xs, ys := make([]float64, 300), make([]float64, 300)
	for i := range xs {
		xs[i], ys[i] = -60+float64(i)/5, 10+float64(i%17)
	}
	f.Panels = []Panel{
		{Series: []Series{{X: xs, Y: ys}, {X: xs, Y: ys}}},
		{Series: []Series{{Kind: Step, X: xs, Y: ys}}},
	}
	for b.Loop() {
		if err := f.SVG(io.Discard, Light()); err != nil {
			b.Fatal(err)
		}
	}
}

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
	"point":    {Title: "Point", Panels: []Panel{{Series: []Series{{X: []float64{7}, Y: []float64{0}}}}}},
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
			golden := filepath.Join("testdata", name+".svg")
			if *update {
				if err := os.WriteFile(golden, svg, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(svg, want) {
				t.Errorf("differs from %s; run the test with -update and look at it", golden)
			}
		})
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

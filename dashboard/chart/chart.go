// Package chart draws small, plain pictures of measurements as SVG: lines,
// steps, bars, dots and stacked areas in one or more panels over a shared
// horizontal axis, with marks for what happened when, and points that lead
// somewhere. It is used by the dashboard, and by experiments that keep their
// picture in a file.
//
// A drawing depends on its Figure, Theme and nothing else; all functions are
// safe for concurrent use.
package chart

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Kind is how a series is drawn.
type Kind uint8

// The kinds: straight lines between points; a value that holds until the next
// point; bars from zero; areas, each on top of the one before it in its panel,
// which all have the same X; single dots.
const (
	Line Kind = iota
	Step
	Bar
	Area
	Dots
)

// A Series is values over the figure's horizontal axis. A Y that is not finite
// leaves a gap. X may be nil: 0, 1, 2, …, as the categories of a bar chart.
type Series struct {
	Name  string // in the legend; "" keeps it out
	Kind  Kind
	X, Y  []float64
	Marks bool // a dot on each point of a line, for few points
	Color int  // index into Theme.Lines, plus one; 0 is the series' position
	// Links are where points lead, "" for those that lead nowhere, and Titles
	// what is said of them; both beside Y, or nil. Of points that would lie on
	// each other the highest one is kept.
	Links, Titles []string
}

// A Mark is a vertical line through all panels: something happened there.
// Glyph is one character above the first panel, which leads to Link if there
// is one; of glyphs that would lie on each other the first is kept.
type Mark struct {
	X           float64
	Glyph       string
	Title, Link string
	Color       int // as of a Series; 0 is the text's
}

// An Axis is drawn from Min to Max; when both are 0 it fits the data, and a
// vertical one begins at 0. Format labels its ticks; Number by default.
type Axis struct {
	Label    string
	Min, Max float64
	Format   func(float64) string
	Time     bool // seconds: ticks at 15 s, 30 s, 1 min, …
	Whole    bool // whole numbers only
	// Categories name the places 0, 1, 2, … of bars.
	Categories []string
}

// A Panel is one plot of a figure. A Title is drawn above it, beside the names
// of its series; a figure with such a panel has no header of its own.
type Panel struct {
	Title  string
	Y      Axis
	Series []Series
	Weight float64 // share of the height; 1 by default
}

// A Figure is a picture. Width and Height are CSS pixels.
type Figure struct {
	Title       string // drawn, and the SVG's title
	Description string // for those who do not see it
	Width       int    // 400 by default
	Height      int    // 220 by default
	X           Axis
	Panels      []Panel
	Marks       []Mark
}

const (
	textSize   = vg.Length(10.5)
	titleSize  = vg.Length(12)
	titleSpace = vg.Length(24)
	margin     = vg.Length(8)
	panelGap   = vg.Length(6)
)

// SVG writes the figure as one SVG document, in the colours of the theme.
func (f Figure) SVG(w io.Writer, th Theme) error {
	doc, over, err := f.render(th)
	if err != nil {
		return err
	}
	width, height := f.size()
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%g" height="%g" viewBox="0 0 %g %g" role="img"><title>`,
		width.Points(), height.Points(), width.Points(), height.Points())
	xml.EscapeText(&out, []byte(f.Title))
	out.WriteString("</title><desc>")
	xml.EscapeText(&out, []byte(f.Description))
	out.WriteString("</desc>")
	// gonum measures with Liberation Sans; these have the same widths.
	doc = bytes.TrimSuffix(bytes.TrimRight(doc, "\n"), []byte("</svg>"))
	out.Write(bytes.ReplaceAll(doc, []byte("font-family:Liberation Sans;"),
		[]byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;")))
	over.write(&out, height, th)
	out.WriteString("</svg>\n")
	if _, err := w.Write(out.Bytes()); err != nil {
		return fmt.Errorf("chart %q: %w", f.Title, err)
	}
	return nil
}

func (f Figure) size() (width, height vg.Length) {
	return vg.Length(cmp.Or(f.Width, 400)), vg.Length(cmp.Or(f.Height, 220))
}

// render draws all but what leads somewhere, and returns what is inside of
// gonum's <svg>, with its end.
func (f Figure) render(th Theme) ([]byte, *overlay, error) {
	width, height := f.size()
	over := &overlay{}
	plots := make([]*plot.Plot, len(f.Panels))
	xlo, xhi := f.xRange()
	for i, p := range f.Panels {
		plots[i] = f.panel(p, th, xlo, xhi, i == len(f.Panels)-1, over)
	}
	svg := vgsvg.New(width, height)
	dc := draw.New(svg)
	dc.SetColor(th.Background)
	dc.Fill(dc.Rectangle.Path())
	top := titleSpace
	if f.headed() {
		top = margin
		if len(f.Marks) > 0 {
			top += glyphSpace
		}
	} else {
		f.header(dc, th)
	}
	f.layout(draw.Crop(dc, margin, -margin, margin, -top), plots, th, over)
	var doc bytes.Buffer
	if _, err := svg.WriteTo(&doc); err != nil {
		return nil, nil, fmt.Errorf("chart %q: %w", f.Title, err)
	}
	// gonum's own head counts in points.
	_, body, _ := bytes.Cut(doc.Bytes(), []byte("<svg "))
	_, body, _ = bytes.Cut(body, []byte(">"))
	return body, over, nil
}

// headed says whether panels have their own headers.
func (f Figure) headed() bool {
	return slices.ContainsFunc(f.Panels, func(p Panel) bool { return p.Title != "" })
}

// header draws the title on the left and the legend on the right.
func (f Figure) header(dc draw.Canvas, th Theme) {
	y := dc.Max.Y - titleSpace/2
	title := text(th.Text, titleSize)
	dc.FillText(title, vg.Point{X: dc.Min.X + margin, Y: y}, f.Title)
	label := text(th.Faint, textSize)
	x := dc.Max.X - margin
	for p := len(f.Panels) - 1; p >= 0; p-- {
		for i := len(f.Panels[p].Series) - 1; i >= 0; i-- {
			s := f.Panels[p].Series[i]
			if s.Name == "" {
				continue
			}
			x -= label.Width(s.Name)
			dc.FillText(label, vg.Point{X: x, Y: y}, s.Name)
			x -= 18
			dc.StrokeLine2(draw.LineStyle{Color: s.color(th, i), Width: 2.5}, x, y-0.5, x+14, y-0.5)
			x -= 10
		}
	}
}

// layout stacks the panels so that their data areas share left and right edges.
func (f Figure) layout(dc draw.Canvas, plots []*plot.Plot, th Theme, over *overlay) {
	total := 0.0
	heads := make([]vg.Length, len(f.Panels))
	space := dc.Max.Y - dc.Min.Y
	for i, p := range f.Panels {
		total += cmp.Or(p.Weight, 1)
		heads[i] = p.headHeight(dc.Max.X-dc.Min.X, th)
		space -= heads[i]
	}
	// The last panel carries the axis's labels: its data area must not pay for them alone.
	axis := vg.Length(0)
	if n := len(plots); n > 0 {
		axis = plots[n-1].DataCanvas(dc).Min.Y - dc.Min.Y
	}
	canvases := make([]draw.Canvas, len(plots))
	top := dc.Max.Y
	for i, p := range f.Panels {
		h := heads[i] + (space-axis)*vg.Length(cmp.Or(p.Weight, 1)/total)
		if i == len(plots)-1 {
			h = top - dc.Min.Y
		}
		if i > 0 {
			top, h = top-panelGap, h-panelGap
		}
		c := dc
		c.Max.Y, c.Min.Y = top, top-h
		top -= h
		p.head(c, th)
		c.Max.Y -= heads[i]
		canvases[i] = c
	}
	left, right := vg.Length(0), dc.Max.X
	for i, p := range plots {
		data := p.DataCanvas(canvases[i])
		left, right = max(left, data.Min.X), min(right, data.Max.X)
	}
	for i, p := range plots {
		data := p.DataCanvas(canvases[i])
		c := draw.Crop(canvases[i], left-data.Min.X, right-data.Max.X, 0, 0)
		p.Draw(c)
		if i == 0 {
			data = p.DataCanvas(c)
			x, _ := p.Transforms(&data)
			over.glyphs(f.Marks, p, x, dc.Max.Y+margin/2)
		}
	}
}

// xRange is the extent of the shared axis.
func (f Figure) xRange() (lo, hi float64) {
	if f.X.Min != 0 || f.X.Max != 0 {
		return f.X.Min, f.X.Max
	}
	if n := len(f.X.Categories); n > 0 {
		return -0.5, float64(n) - 0.5
	}
	lo, hi = math.Inf(1), math.Inf(-1)
	for _, p := range f.Panels {
		for _, s := range p.Series {
			for i := range s.Y {
				lo, hi = min(lo, s.x(i)), max(hi, s.x(i))
			}
		}
	}
	if !(lo < hi) {
		if math.IsInf(lo, 0) {
			lo = 0
		}
		return lo - 0.5, lo + 0.5
	}
	return lo, hi
}

func (s Series) x(i int) float64 {
	if s.X == nil {
		return float64(i)
	}
	return s.X[i]
}

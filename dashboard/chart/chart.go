// Package chart draws small, plain pictures of measurements as SVG: lines,
// steps and bars in one or more panels over a shared horizontal axis. It is
// used by the dashboard, and by experiments that keep their picture in a file.
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

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Kind is how a series is drawn.
type Kind uint8

// The kinds: straight lines between points; a value that holds until the next
// point; bars from zero.
const (
	Line Kind = iota
	Step
	Bar
)

// A Series is values over the figure's horizontal axis. A Y that is not finite
// leaves a gap. X may be nil: 0, 1, 2, …, as the categories of a bar chart.
type Series struct {
	Name  string // in the legend; "" keeps it out
	Kind  Kind
	X, Y  []float64
	Marks bool // a dot on each point of a line, for few points
	Color int  // index into Theme.Lines, plus one; 0 is the series' position
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

// A Panel is one plot of a figure.
type Panel struct {
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
}

const (
	textSize   = vg.Length(10.5)
	titleSize  = vg.Length(12)
	titleSpace = vg.Length(24)
	margin     = vg.Length(8)
	panelGap   = vg.Length(6)
)

// SVG writes the figure as one SVG document.
func (f Figure) SVG(w io.Writer, th Theme) error {
	width, height := vg.Length(cmp.Or(f.Width, 400)), vg.Length(cmp.Or(f.Height, 220))
	plots := make([]*plot.Plot, len(f.Panels))
	xlo, xhi := f.xRange()
	for i, p := range f.Panels {
		plots[i] = f.panel(p, th, xlo, xhi, i == len(f.Panels)-1)
	}
	svg := vgsvg.New(width, height)
	dc := draw.New(svg)
	dc.SetColor(th.Background)
	dc.Fill(dc.Rectangle.Path())
	f.header(dc, th)
	f.layout(draw.Crop(dc, margin, -margin, margin, -titleSpace), plots)
	var doc bytes.Buffer
	if _, err := svg.WriteTo(&doc); err != nil {
		return fmt.Errorf("chart %q: %w", f.Title, err)
	}
	_, err := w.Write(f.annotate(doc.Bytes(), width, height))
	if err != nil {
		return fmt.Errorf("chart %q: %w", f.Title, err)
	}
	return nil
}

// annotate replaces the head of gonum's document, which counts in points, by
// one in pixels with a title and a description.
func (f Figure) annotate(doc []byte, width, height vg.Length) []byte {
	_, body, _ := bytes.Cut(doc, []byte("<svg "))
	_, body, _ = bytes.Cut(body, []byte(">"))
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%g" height="%g" viewBox="0 0 %g %g" role="img"><title>`,
		width.Points(), height.Points(), width.Points(), height.Points())
	xml.EscapeText(&out, []byte(f.Title))
	out.WriteString("</title><desc>")
	xml.EscapeText(&out, []byte(f.Description))
	out.WriteString("</desc>")
	// gonum measures with Liberation Sans; these have the same widths.
	out.Write(bytes.ReplaceAll(body, []byte("font-family:Liberation Sans;"),
		[]byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;")))
	return out.Bytes()
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
func (f Figure) layout(dc draw.Canvas, plots []*plot.Plot) {
	total := 0.0
	for _, p := range f.Panels {
		total += cmp.Or(p.Weight, 1)
	}
	// The last panel carries the axis's labels: its data area must not pay for them alone.
	space := dc.Max.Y - dc.Min.Y
	axis := vg.Length(0)
	if n := len(plots); n > 0 {
		axis = plots[n-1].DataCanvas(dc).Min.Y - dc.Min.Y
	}
	canvases := make([]draw.Canvas, len(plots))
	top := dc.Max.Y
	for i, p := range f.Panels {
		h := (space - axis) * vg.Length(cmp.Or(p.Weight, 1)/total)
		if i == len(plots)-1 {
			h = top - dc.Min.Y
		}
		if i > 0 {
			top, h = top-panelGap, h-panelGap
		}
		c := dc
		c.Max.Y, c.Min.Y = top, top-h
		top -= h
		canvases[i] = c
	}
	left, right := vg.Length(0), dc.Max.X
	for i, p := range plots {
		data := p.DataCanvas(canvases[i])
		left, right = max(left, data.Min.X), min(right, data.Max.X)
	}
	for i, p := range plots {
		data := p.DataCanvas(canvases[i])
		p.Draw(draw.Crop(canvases[i], left-data.Min.X, right-data.Max.X, 0, 0))
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

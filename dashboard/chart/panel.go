package chart

import (
	"cmp"
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	plottext "gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Most labels that fit along an axis of a small picture.
const (
	xTicks = 5
	yTicks = 4
)

// panel makes gonum's plot of one panel; only the lowest one labels the
// horizontal axis.
func (f Figure) panel(p Panel, th Theme, xlo, xhi float64, lowest bool, over *overlay) *plot.Plot {
	pl := plot.New()
	pl.BackgroundColor = nil // the figure has one
	weight := cmp.Or(p.Weight, 1)
	pl.X.Min, pl.X.Max = xlo, xhi
	style(&pl.X, th)
	style(&pl.Y, th)
	pl.X.Tick.Label.XAlign, pl.X.Tick.Label.YAlign = plottext.XCenter, plottext.YTop
	pl.Y.Tick.Label.XAlign, pl.Y.Tick.Label.YAlign = plottext.XRight, plottext.YCenter
	pl.X.Tick.Marker = f.xMarks(xlo, xhi, lowest)
	if lowest {
		pl.X.Label.Text = f.X.Label
	}
	pl.Y.Label.Text = p.Y.Label

	n := yTicks
	if weight < 0.7 {
		n = 2
	}
	ylo, yhi := p.yRange()
	by := niceStep(yhi-ylo, n)
	if p.Y.Whole {
		by = max(1, math.Ceil(by))
	}
	if p.Y.Min == 0 && p.Y.Max == 0 {
		yhi = math.Ceil(yhi/by-1e-9) * by
	}
	pl.Y.Min, pl.Y.Max = ylo, yhi
	pl.Y.Tick.Marker = ticks{by, format(p.Y)}
	pl.Add(grid{th.Grid})
	if len(f.Marks) > 0 {
		pl.Add(marks{f.Marks, th})
	}
	if !p.hasData() {
		pl.Add(note{"no data", text(th.Faint, textSize)})
	}
	bars := 0
	for _, s := range p.Series {
		if s.Kind == Bar {
			bars++
		}
	}
	bar := 0
	var floor []float64 // what the areas so far add up to
	for i, s := range p.Series {
		d := drawing{Series: s, color: s.color(th, i), bar: bar, bars: bars, over: over, theme: th}
		if s.Kind == Area {
			d.floor = floor
			floor = s.above(floor)
			d.Y = floor
		}
		if s.Kind == Bar {
			bar++
		}
		pl.Add(d)
	}
	return pl
}

func (f Figure) xMarks(lo, hi float64, labels bool) plot.Ticker {
	var t plot.Ticker
	switch {
	case len(f.X.Categories) > 0:
		t = names(f.X.Categories)
	case f.X.Time:
		t = ticks{niceTimeStep(hi-lo, xTicks), format(f.X)}
	default:
		by := niceStep(hi-lo, xTicks)
		if f.X.Whole {
			by = max(1, math.Ceil(by))
		}
		t = ticks{by, format(f.X)}
	}
	if labels {
		return t
	}
	return unlabelled{t}
}

// unlabelled keeps the grid of an axis and drops its labels.
type unlabelled struct{ plot.Ticker }

// Ticks implements plot.Ticker.
func (u unlabelled) Ticks(lo, hi float64) []plot.Tick {
	out := u.Ticker.Ticks(lo, hi)
	for i := range out {
		out[i].Label = " "
	}
	return out
}

func format(a Axis) func(float64) string {
	if a.Format != nil {
		return a.Format
	}
	return Number
}

// yRange fits the data, from zero, with a little room above.
func (p Panel) yRange() (lo, hi float64) {
	if p.Y.Min != 0 || p.Y.Max != 0 {
		return p.Y.Min, p.Y.Max
	}
	var floor []float64
	for _, s := range p.Series {
		ys := s.Y
		if s.Kind == Area {
			floor = s.above(floor)
			ys = floor
		}
		for _, y := range ys {
			if finite(y) {
				hi = max(hi, y)
			}
		}
	}
	if hi == 0 {
		return 0, 1
	}
	return 0, hi * 1.05
}

func (p Panel) hasData() bool {
	return slices.ContainsFunc(p.Series, func(s Series) bool { return slices.ContainsFunc(s.Y, finite) })
}

// note is a text in the middle of an empty panel.
type note struct {
	text  string
	style plottext.Style
}

// Plot implements plot.Plotter.
func (n note) Plot(c draw.Canvas, _ *plot.Plot) {
	n.style.XAlign = plottext.XCenter
	c.FillText(n.style, c.Center(), n.text)
}

func style(a *plot.Axis, th Theme) {
	a.LineStyle.Width = 0
	a.Padding = 0
	// Ticks that are not seen keep the labels off the data.
	a.Tick.LineStyle = draw.LineStyle{Color: th.Background, Width: 0.5}
	a.Tick.Length = 6
	a.Tick.Label = text(th.Faint, textSize)
	a.Label.TextStyle = text(th.Faint, textSize)
	a.Label.TextStyle.XAlign, a.Label.TextStyle.YAlign = plottext.XCenter, plottext.YBottom
	a.Label.Padding = 2
}

func text(c color.Color, size vg.Length) plottext.Style {
	return plottext.Style{
		Color:   c,
		Font:    font.From(font.Font{Typeface: "Liberation", Variant: "Sans"}, size),
		YAlign:  plottext.YCenter,
		Handler: plottext.Plain{Fonts: font.DefaultCache},
	}
}

func (s Series) color(th Theme, i int) color.Color {
	if s.Color > 0 {
		i = s.Color - 1
	}
	return th.Lines[i%len(th.Lines)]
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// grid draws a line at each labelled value of the vertical axis, and faint
// ones at those of the horizontal axis.
type grid struct{ color color.Color }

// Plot implements plot.Plotter.
func (g grid) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	line := draw.LineStyle{Color: g.color, Width: 1}
	for _, t := range p.Y.Tick.Marker.Ticks(p.Y.Min, p.Y.Max) {
		c.StrokeLine2(line, c.Min.X, y(t.Value), c.Max.X, y(t.Value))
	}
	line.Width = 0.5
	for _, t := range p.X.Tick.Marker.Ticks(p.X.Min, p.X.Max) {
		c.StrokeLine2(line, x(t.Value), c.Min.Y, x(t.Value), c.Max.Y)
	}
}

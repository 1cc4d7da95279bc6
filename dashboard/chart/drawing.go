package chart

import (
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// drawing draws a series.
type drawing struct {
	Series
	color     color.Color
	bar, bars int // which one of how many side by side
	floor     []float64
	theme     Theme
	over      *overlay
}

// Plot implements plot.Plotter.
func (d drawing) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	d.lead(p, x, y)
	switch d.Kind {
	case Bar:
		d.plotBars(c, x, y)
		return
	case Area:
		d.plotArea(c, p, x, y)
		return
	case Dots:
		d.plotDots(c, p, x, y)
		return
	}
	var path vg.Path
	open := false
	var last vg.Point
	hold := func() { // a step holds its value up to the last point seen
		if open && d.Kind == Step {
			path.Line(last)
		}
	}
	for i, v := range d.Y {
		if !finite(v) || d.x(i) < p.X.Min || d.x(i) > p.X.Max {
			hold()
			open = false
			continue
		}
		pt := vg.Point{X: x(d.x(i)), Y: y(min(max(v, p.Y.Min), p.Y.Max))}
		switch {
		case !open:
			path.Move(pt)
			path.Line(vg.Point{X: pt.X + 0.1, Y: pt.Y}) // a lonely point is seen, too
		case d.Kind == Step && pt.Y == last.Y:
		case d.Kind == Step:
			path.Line(vg.Point{X: pt.X, Y: last.Y})
			path.Line(pt)
		default:
			path.Line(pt)
		}
		open, last = true, pt
		if d.Marks {
			c.SetColor(d.color)
			c.Fill(disc(pt))
		}
	}
	hold()
	if len(path) > 0 {
		c.SetLineStyle(draw.LineStyle{Color: d.color, Width: 1.6})
		c.Stroke(path)
	}
}

func (d drawing) plotBars(c draw.Canvas, x, y func(float64) vg.Length) {
	const share = 0.7 // of the place between two categories
	width := share / float64(d.bars)
	for i, v := range d.Y {
		if !finite(v) {
			continue
		}
		left := d.x(i) - share/2 + width*float64(d.bar)
		c.SetColor(d.color)
		c.Fill(vg.Rectangle{
			Min: vg.Point{X: x(left), Y: y(0)},
			Max: vg.Point{X: x(left + width*0.94), Y: y(v)},
		}.Path())
	}
}

func disc(at vg.Point) (dot vg.Path) {
	const radius = 3
	dot.Move(vg.Point{X: at.X + radius, Y: at.Y})
	dot.Arc(at, radius, 0, 2*math.Pi)
	dot.Close()
	return dot
}

func (d drawing) plotDots(c draw.Canvas, p *plot.Plot, x, y func(float64) vg.Length) {
	c.SetColor(d.color)
	for i, v := range d.Y {
		if d.inside(p, i) {
			c.Fill(disc(vg.Point{X: x(d.x(i)), Y: y(min(v, p.Y.Max))}))
		}
	}
}

func (d drawing) inside(p *plot.Plot, i int) bool {
	return finite(d.Y[i]) && d.x(i) >= p.X.Min && d.x(i) <= p.X.Max
}

// above is the series on top of a floor, which may be nil. Where either has a
// gap, so has the sum.
func (s Series) above(floor []float64) []float64 {
	out := make([]float64, len(s.Y))
	for i, v := range s.Y {
		out[i] = v
		if i < len(floor) {
			out[i] += floor[i]
		}
	}
	return out
}

// plotArea fills each stretch without a gap, down to the floor, and parts it
// from the one below by a line of the background.
func (d drawing) plotArea(c draw.Canvas, p *plot.Plot, x, y func(float64) vg.Length) {
	at := func(i int, v float64) vg.Point {
		return vg.Point{X: x(d.x(i)), Y: y(min(max(v, p.Y.Min), p.Y.Max))}
	}
	floor := func(i int) float64 {
		if i < len(d.floor) {
			return d.floor[i]
		}
		return 0
	}
	for from := 0; from < len(d.Y); from++ {
		if !d.inside(p, from) {
			continue
		}
		to := from
		for to+1 < len(d.Y) && d.inside(p, to+1) {
			to++
		}
		var area, edge vg.Path
		area.Move(at(from, floor(from)))
		for i := from; i <= to; i++ {
			area.Line(at(i, d.Y[i]))
		}
		edge.Move(at(to, floor(to)))
		for i := to; i >= from; i-- {
			area.Line(at(i, floor(i)))
			edge.Line(at(i, floor(i)))
		}
		area.Close()
		c.SetColor(d.color)
		c.Fill(area)
		c.SetLineStyle(draw.LineStyle{Color: d.theme.Background, Width: 0.6})
		c.Stroke(edge)
		from = to
	}
}

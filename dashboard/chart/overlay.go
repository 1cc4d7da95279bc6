package chart

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"fmt"
	"image/color"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

const (
	glyphSpace = vg.Length(12)
	// apart is how far points that lead somewhere are from each other, so that
	// a finger meets one of them.
	apart = vg.Length(9)
)

// An overlay is what lies above gonum's drawing: it knows no links.
type overlay struct {
	points []point
	signs  []point
}

type point struct {
	at          vg.Point
	color       color.Color
	link, title string
	glyph       string
}

// lead puts the points of a series that lead somewhere, or say something,
// above the drawing.
func (d drawing) lead(p *plot.Plot, x, y func(float64) vg.Length) {
	var all []point
	for i := range d.Y {
		pt := point{color: d.color}
		if i < len(d.Links) {
			pt.link = d.Links[i]
		}
		if i < len(d.Titles) {
			pt.title = d.Titles[i]
		}
		if (pt.link != "" || d.Kind == Dots && pt.title != "") && d.inside(p, i) {
			pt.at = vg.Point{X: x(d.x(i)), Y: y(min(max(d.Y[i], p.Y.Min), p.Y.Max))}
			all = append(all, pt)
		}
	}
	// Highest first; what is too near to one that is kept goes.
	slices.SortStableFunc(all, func(a, b point) int { return cmp.Compare(b.at.Y, a.at.Y) })
	kept := len(d.over.points)
	for _, pt := range all {
		near := func(o point) bool {
			dx, dy := o.at.X-pt.at.X, o.at.Y-pt.at.Y
			return max(dx, -dx) < apart && (d.Kind != Dots || max(dy, -dy) < apart)
		}
		if !slices.ContainsFunc(d.over.points[kept:], near) {
			d.over.points = append(d.over.points, pt)
		}
	}
	// Left to right, as they are read.
	slices.SortStableFunc(d.over.points[kept:], func(a, b point) int { return cmp.Compare(a.at.X, b.at.X) })
}

// maxTitle is how many lines a sign says of what is too near to have its own.
const maxTitle = 6

// glyphs puts the marks' signs in a row at height y. One that is too near to the
// one before has no sign of its own, and is said with that.
func (o *overlay) glyphs(marks []Mark, p *plot.Plot, x func(float64) vg.Length, y vg.Length) {
	sorted := slices.SortedStableFunc(slices.Values(marks), func(a, b Mark) int { return cmp.Compare(a.X, b.X) })
	last := vg.Length(-100)
	for _, m := range sorted {
		at := vg.Point{X: x(m.X), Y: y}
		if m.Glyph == "" || m.X < p.X.Min || m.X > p.X.Max {
			continue
		}
		if at.X-last < glyphSpace {
			if s := &o.signs[len(o.signs)-1]; strings.Count(s.title, "\n") < maxTitle-1 {
				s.title += "\n" + m.Title
			}
			continue
		}
		last = at.X
		o.signs = append(o.signs, point{at: at, link: m.Link, title: m.Title, glyph: m.Glyph})
	}
}

// write adds the overlay to a document of that height, in pixels from above.
func (o *overlay) write(out *bytes.Buffer, height vg.Length, th Theme) {
	for _, p := range append(o.points[:len(o.points):len(o.points)], o.signs...) {
		if p.link != "" {
			out.WriteString(`<a href="`)
			xml.EscapeText(out, []byte(p.link))
			// A picture has too many to step through; the page has them in a table.
			out.WriteString(`" tabindex="-1" aria-label="`)
			xml.EscapeText(out, []byte(strings.TrimSpace(p.glyph+" "+p.title)))
			out.WriteString(`">`)
		} else {
			out.WriteString(`<g>`)
		}
		out.WriteString("<title>")
		xml.EscapeText(out, []byte(p.title))
		out.WriteString("</title>")
		x, y := p.at.X.Points(), (height - p.at.Y).Points()
		if p.glyph != "" {
			fmt.Fprintf(out, `<text x="%.4g" y="%.4g" font-family="Liberation Sans,Arial,Helvetica,sans-serif" font-size="11" text-anchor="middle" fill="%s">`, x, y+4, hex(th.Text))
			xml.EscapeText(out, []byte(p.glyph))
			out.WriteString("</text>")
		} else {
			fmt.Fprintf(out, `<circle cx="%.4g" cy="%.4g" r="2.5" fill="%s" />`, x, y, hex(p.color))
		}
		if p.link != "" {
			// Where a finger may land.
			fmt.Fprintf(out, `<circle cx="%.4g" cy="%.4g" r="8" fill="none" pointer-events="all" /></a>`, x, y)
		} else {
			out.WriteString(`</g>`)
		}
		out.WriteByte('\n')
	}
}

func hex(c color.Color) string {
	r, g, b, _ := c.RGBA()
	return fmt.Sprintf("#%02X%02X%02X", r>>8, g>>8, b>>8)
}

// marks draws the marks' lines in a panel.
type marks struct {
	all   []Mark
	theme Theme
}

// Plot implements plot.Plotter.
func (m marks) Plot(c draw.Canvas, p *plot.Plot) {
	x, _ := p.Transforms(&c)
	for _, k := range m.all {
		if k.X < p.X.Min || k.X > p.X.Max {
			continue
		}
		line := draw.LineStyle{Color: m.theme.Faint, Width: 1, Dashes: []vg.Length{2, 2}}
		if k.Color > 0 {
			line.Color = m.theme.Lines[(k.Color-1)%len(m.theme.Lines)]
		}
		c.StrokeLine2(line, x(k.X), c.Min.Y, x(k.X), c.Max.Y)
	}
}

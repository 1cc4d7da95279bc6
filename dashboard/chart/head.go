package chart

import (
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

const (
	headLine = vg.Length(15)
	swatch   = vg.Length(14) // the line before a name
	nameGap  = vg.Length(10)
)

// headHeight is the height of a panel's header in that width.
func (p Panel) headHeight(width vg.Length, th Theme) vg.Length {
	if p.Title == "" {
		return 0
	}
	lines := 1
	p.names(width, th, func(_ int, _ Series, _ vg.Length, line int) { lines = line + 1 })
	return vg.Length(lines)*headLine + 3
}

// names places the series' names from left to right, beside the title, on as
// many lines as they need.
func (p Panel) names(width vg.Length, th Theme, place func(i int, s Series, x vg.Length, line int)) {
	label := text(th.Faint, textSize)
	x, line := text(th.Text, textSize+0.5).Width(p.Title)+2*nameGap, 0
	for i, s := range p.Series {
		if s.Name == "" {
			continue
		}
		w := swatch + 4 + label.Width(s.Name)
		if x+w > width && x > 0 {
			x, line = 0, line+1
		}
		place(i, s, x, line)
		x += w + nameGap
	}
}

// head draws the panel's header at the top of its canvas.
func (p Panel) head(dc draw.Canvas, th Theme) {
	if p.Title == "" {
		return
	}
	y := dc.Max.Y - headLine/2
	dc.FillText(text(th.Text, textSize+0.5), vg.Point{X: dc.Min.X, Y: y}, p.Title)
	label := text(th.Faint, textSize)
	p.names(dc.Max.X-dc.Min.X, th, func(i int, s Series, x vg.Length, line int) {
		x += dc.Min.X
		y := y - vg.Length(line)*headLine
		width := vg.Length(2.5)
		if s.Kind == Area {
			width = 8
		}
		dc.StrokeLine2(draw.LineStyle{Color: s.color(th, i), Width: width}, x, y-0.5, x+swatch, y-0.5)
		dc.FillText(label, vg.Point{X: x + swatch + 4, Y: y}, s.Name)
	})
}

package show

import "strings"

// A canvas is a part of a terminal in dots, two by four in a cell, drawn in
// Braille characters (Unicode 2800 to 28FF). Dot 0, 0 is at the top left. Each
// dot has an ink; the first of two in a cell colours it.
type canvas struct {
	width, height int // cells
	dots          []uint8
	inks          []ink
}

// An ink is a colour, or none where the terminal has none.
type ink uint8

const (
	plain ink = iota
	high      // what to look at
	low       // what to compare it with
	faint
)

// inks are the escape sequences, of the terminal's own sixteen colours, which
// its user has chosen to be readable.
var inks = [...]string{plain: "", high: "\x1b[31m", low: "\x1b[36m", faint: "\x1b[2m"}

// paint colours a text, if there is colour.
func paint(s string, i ink, colour bool) string {
	if !colour || i == plain || s == "" {
		return s
	}
	return inks[i] + s + "\x1b[0m"
}

func newCanvas(width, height int) *canvas {
	return &canvas{width: width, height: height, dots: make([]uint8, width*height), inks: make([]ink, width*height)}
}

// brailleBits are the bits of a cell's dots, by row and column.
var brailleBits = [4][2]uint8{{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}}

// set draws a dot; what is outside is left out.
func (c *canvas) set(x, y int, with ink) {
	if x < 0 || y < 0 || x >= 2*c.width || y >= 4*c.height {
		return
	}
	cell := y/4*c.width + x/2
	if c.dots[cell] == 0 {
		c.inks[cell] = with
	}
	c.dots[cell] |= brailleBits[y%4][x%2]
}

// line draws from one dot to another one at or to the right of it.
func (c *canvas) line(x0, y0, x1, y1 int, with ink) {
	steps := max(x1-x0, max(y1-y0, y0-y1), 1)
	for i := range steps + 1 {
		c.set(x0+(x1-x0)*i/steps, y0+(y1-y0)*i/steps, with)
	}
}

// rows are the canvas's lines.
func (c *canvas) rows(colour bool) []string {
	out := make([]string, c.height)
	for r := range out {
		var b strings.Builder
		for x := range c.width {
			cell := r*c.width + x
			if c.dots[cell] == 0 {
				b.WriteByte(' ')
				continue
			}
			b.WriteString(paint(string(rune(0x2800)+rune(c.dots[cell])), c.inks[cell], colour))
		}
		out[r] = strings.TrimRight(b.String(), " ")
	}
	return out
}

// eighths are blocks that fill a cell from below.
var eighths = []rune(" ▁▂▃▄▅▆▇█")

// bars draws values from 0 to top as columns, height cells high. A value that
// is not 0 is seen.
func bars(values []float64, top float64, height int) []string {
	out := make([]string, height)
	for r := range out {
		var b strings.Builder
		for _, v := range values {
			full := 0
			if v > 0 && top > 0 {
				full = max(int(v/top*float64(8*height)+0.5), 1)
			}
			b.WriteRune(eighths[min(max(full-8*(height-1-r), 0), 8)])
		}
		out[r] = strings.TrimRight(b.String(), " ")
	}
	return out
}

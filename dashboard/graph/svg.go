package graph

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"unicode/utf8"
)

// Sizes in pixels.
const (
	boxWidth   = 132.0
	boxHeight  = 44.0
	gap        = 118.0 // between two layers: labels of edges are there
	rowHeight  = 74.0
	margin     = 8.0
	labelChars = 16 // of a box
)

// SVG writes the picture. Its colours are the page's: CSS variables --card,
// --text, --faint, --line, --accent and --bad. title is what it is of.
func SVG(w io.Writer, title string, nodes []Node, edges []Edge) error {
	l := arrange(nodes, edges)
	width := 2*margin + float64(len(l.layers))*(boxWidth+gap) - gap
	height := 2*margin + max(l.rows, 1)*rowHeight
	if len(nodes) == 0 {
		width = 2*margin + boxWidth
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg class="map" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f" role="group" aria-label="`, width, height, width, height)
	escape(&out, title)
	out.WriteString(`" font-family="Liberation Sans,Arial,Helvetica,sans-serif">` + "\n")
	for i, way := range l.routes {
		if way != nil {
			l.edge(&out, edges[i], way, l.back[i])
		}
	}
	// Labels lie above all curves, boxes above labels.
	for i, way := range l.routes {
		if way != nil {
			l.label(&out, edges[i], way, l.back[i])
		}
	}
	for i, n := range nodes {
		l.box(&out, n, l.places[l.of[i]])
	}
	out.WriteString("</svg>\n")
	if _, err := w.Write(out.Bytes()); err != nil {
		return fmt.Errorf("graph %q: %w", title, err)
	}
	return nil
}

func (p place) left() float64 { return margin + float64(p.layer)*(boxWidth+gap) }
func (p place) y() float64    { return margin + p.row*rowHeight }

// edge draws a curve from the right of one box to the left of the other; one
// that goes back begins and ends at the lower edges of boxes.
func (l *layout) edge(out *bytes.Buffer, e Edge, way []int, back bool) {
	color := "var(--faint)"
	if e.Bad {
		color = "var(--bad)"
	}
	out.WriteString("<g><title>")
	escape(out, e.Title)
	out.WriteString(`</title><path fill="none" stroke="` + color + `" d="`)
	first, last := l.places[way[0]], l.places[way[len(way)-1]]
	var x, y float64
	if back {
		x, y = first.left()+boxWidth/2, first.y()+boxHeight/2
	} else {
		x, y = first.left()+boxWidth, first.y()
	}
	fmt.Fprintf(out, "M%.1f,%.1f", x, y)
	for _, id := range way[1 : len(way)-1] {
		p := l.places[id]
		to, through := p.left(), p.left()+boxWidth
		if back {
			to, through = through, to
		}
		curve(out, x, y, to, p.y())
		fmt.Fprintf(out, "H%.1f", through)
		x, y = through, p.y()
	}
	if back {
		below := max(y, last.y()+boxHeight/2) + rowHeight/3
		fmt.Fprintf(out, "C%.1f,%.1f %.1f,%.1f %.1f,%.1f", x, below, last.left()+boxWidth/2, below, last.left()+boxWidth/2, last.y()+boxHeight/2)
	} else {
		curve(out, x, y, last.left(), last.y())
	}
	fmt.Fprintf(out, `" stroke-width="%.1f" />`, 1.2+3.8*min(max(e.Weight, 0), 1))
	x, y = last.left(), last.y()
	if back {
		x, y = last.left()+boxWidth/2, last.y()+boxHeight/2
		fmt.Fprintf(out, `<path fill="%s" d="M%.1f,%.1fl-5,9h10z" />`, color, x, y)
	} else {
		fmt.Fprintf(out, `<path fill="%s" d="M%.1f,%.1fl-9,-5v10z" />`, color, x, y)
	}
	out.WriteString("</g>\n")
}

func curve(out *bytes.Buffer, x, y, toX, toY float64) {
	middle := (x + toX) / 2
	fmt.Fprintf(out, "C%.1f,%.1f %.1f,%.1f %.1f,%.1f", middle, y, middle, toY, toX, toY)
}

// label writes on the last stretch, where edges of one caller have parted.
func (l *layout) label(out *bytes.Buffer, e Edge, way []int, back bool) {
	last, before := l.places[way[len(way)-1]], l.places[way[len(way)-2]]
	x, y := last.left()-gap*0.5, last.y()+(before.y()-last.y())*0.5
	if back {
		x, y = last.left()+boxWidth/2, last.y()+boxHeight/2+16
	}
	fill := "var(--faint)"
	if e.Bad {
		fill = "var(--bad)"
	}
	// It interrupts the curve. Letters of 11 pixels are 6 wide in the mean.
	half := 3*float64(utf8.RuneCountInString(e.Label)) + 2
	fmt.Fprintf(out, `<rect x="%.1f" y="%.1f" width="%.1f" height="15" rx="4" fill="var(--card)" />`, x-half, y-8, 2*half)
	fmt.Fprintf(out, `<text x="%.1f" y="%.1f" text-anchor="middle" font-size="11" fill="%s">`, x, y+4, fill)
	escape(out, e.Label)
	out.WriteString("</text>\n")
}

func (l *layout) box(out *bytes.Buffer, n Node, p place) {
	border := "var(--line)"
	if n.Bad {
		border = "var(--bad)"
	}
	if n.Link != "" {
		out.WriteString(`<a href="`)
		escape(out, n.Link)
		out.WriteString(`">`)
	} else {
		out.WriteString("<g>")
	}
	x, y := p.left(), p.y()-boxHeight/2
	fmt.Fprintf(out, `<rect x="%.1f" y="%.1f" width="%.0f" height="%.0f" rx="8" fill="var(--card)" stroke="%s" stroke-width="1.5" />`, x, y, boxWidth, boxHeight, border)
	fill := "var(--text)"
	if n.Link != "" {
		fill = "var(--accent)"
	}
	fmt.Fprintf(out, `<text x="%.1f" y="%.1f" text-anchor="middle" font-size="13" fill="%s">`, x+boxWidth/2, y+19, fill)
	escape(out, cut(n.Label, labelChars))
	fmt.Fprintf(out, `</text>
<text x="%.1f" y="%.1f" text-anchor="middle" font-size="11" fill="var(--faint)">`, x+boxWidth/2, y+35)
	escape(out, cut(n.Note, labelChars+5))
	out.WriteString("</text>")
	if n.Link != "" {
		out.WriteString("</a>\n")
	} else {
		out.WriteString("</g>\n")
	}
}

func cut(text string, chars int) string {
	if utf8.RuneCountInString(text) <= chars {
		return text
	}
	return string([]rune(text)[:chars-1]) + "…"
}

// escape cannot fail: a Buffer takes everything.
func escape(out *bytes.Buffer, text string) { _ = xml.EscapeText(out, []byte(text)) }

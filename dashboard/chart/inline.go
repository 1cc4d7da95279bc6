package chart

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"image/color"
	"io"
	"strconv"
	"strings"
)

// Inline writes the figure as an <svg> element for the inside of a page. Its
// colours are the page's: CSS variables --chart-text, --chart-faint,
// --chart-grid and --chart-1 to --chart-7; the background is left out. It has
// no style attributes, which a strict Content-Security-Policy would drop.
func (f Figure) Inline(w io.Writer) error {
	th, vars := variables()
	doc, over, err := f.render(th)
	if err != nil {
		return err
	}
	width, height := f.size()
	doc = bytes.TrimSuffix(bytes.TrimRight(doc, "\n"), []byte("</svg>"))
	var body bytes.Buffer
	body.WriteString(presentation(string(doc)))
	over.write(&body, height, th)

	var out bytes.Buffer
	// With links inside it is no picture to a screen reader, but a group.
	role := "img"
	if bytes.Contains(body.Bytes(), []byte("<a ")) {
		role = "group"
	}
	fmt.Fprintf(&out, `<svg viewBox="0 0 %g %g" role="%s" aria-label="`, width.Points(), height.Points(), role)
	label := f.Title
	if f.Description != "" {
		label += ": " + f.Description
	}
	xml.EscapeText(&out, []byte(label))
	out.WriteString(`">`)
	out.WriteString(vars.Replace(body.String()))
	out.WriteString("</svg>\n")
	if _, err := w.Write(out.Bytes()); err != nil {
		return fmt.Errorf("chart %q: %w", f.Title, err)
	}
	return nil
}

// variables is a theme of colours that stand for the page's, and their names.
func variables() (Theme, *strings.Replacer) {
	var pairs []string
	n := 0
	stand := func(name string) color.Color {
		n++
		c := color.RGBA{R: 0xfe, G: 0xdc, B: uint8(n), A: 255}
		pairs = append(pairs, hex(c), name)
		return c
	}
	th := Theme{
		Background: stand("none"), Text: stand("var(--chart-text)"),
		Faint: stand("var(--chart-faint)"), Grid: stand("var(--chart-grid)"),
	}
	for i := range Light().Lines {
		th.Lines = append(th.Lines, stand("var(--chart-"+strconv.Itoa(i+1)+")"))
	}
	return th, strings.NewReplacer(pairs...)
}

// presentation turns style attributes into those of SVG itself, and drops what
// is so by default.
func presentation(doc string) string {
	var out strings.Builder
	for {
		before, rest, ok := strings.Cut(doc, `style="`)
		out.WriteString(before)
		if !ok {
			return out.String()
		}
		var style string
		style, doc, _ = strings.Cut(rest, `"`)
		for _, rule := range strings.Split(style, ";") {
			name, value, ok := strings.Cut(rule, ":")
			switch {
			case !ok || value == "normal":
				continue
			case name == "font-family":
				value += ",Arial,Helvetica,sans-serif"
			}
			fmt.Fprintf(&out, `%s="%s" `, name, value)
		}
	}
}

package demo

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"os"

	"github.com/meshd/meshd/dashboard/chart"
)

// A report is what an experiment leaves: pictures, the first of which is the
// experiment's.
type report struct{ figures []chart.Figure }

//go:embed report.html
var reportHTML string

var reportPage = template.Must(template.New("report").Parse(reportHTML))

// write makes a page of the pictures and of the text that was printed. It needs
// nothing else to be looked at.
func (r report) write(path, name, text string) error {
	page := struct {
		Name, Text string
		Pictures   []template.HTML
	}{Name: name, Text: text}
	for _, f := range r.figures {
		var svg bytes.Buffer
		if err := f.SVG(&svg, chart.Light()); err != nil {
			return fmt.Errorf("report: %w", err)
		}
		page.Pictures = append(page.Pictures, template.HTML(svg.String())) // our own drawing, with text escaped
	}
	var out bytes.Buffer
	if err := reportPage.Execute(&out, page); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

package main

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// A column is one figure of a scenario, and the bar that ours is held to.
type column struct {
	Name string
	Unit string // %, ms, s, x or nothing
	// Bar is the bound: at most or, with AtLeast, at least so much. NaN is
	// none. Off marks a bar that the one without protections is held to,
	// which has to miss what ours makes: else the scenario shows nothing.
	Bar     float64
	AtLeast bool
}

// figure is a column without a bar.
func figure(name, unit string) column { return column{Name: name, Unit: unit, Bar: math.NaN()} }

// atMost and atLeast are columns with one.
func atMost(name, unit string, bar float64) column { return column{Name: name, Unit: unit, Bar: bar} }

func atLeast(name, unit string, bar float64) column {
	return column{Name: name, Unit: unit, Bar: bar, AtLeast: true}
}

// misses says whether v is on the wrong side of the bar; what was not measured
// is.
func (c column) misses(v float64) bool {
	switch {
	case math.IsNaN(c.Bar):
		return false
	case c.AtLeast:
		return !(v >= c.Bar)
	}
	return !(v <= c.Bar)
}

// A row is what one proxy showed: a value a column, NaN where there is none.
type row struct {
	Proxy  string
	Case   string `json:",omitempty"` // of a scenario with several
	Values []value
	Cells  []string `json:",omitempty"` // what is shown instead; nil: the values
	Note   string   `json:",omitempty"` // below the table
}

// A value is a figure; NaN, which JSON has not, is null there, and infinity too.
type value float64

func (v value) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(v))
}

// values are those of a row.
func values(all ...float64) []value {
	out := make([]value, len(all))
	for i, v := range all {
		out[i] = value(v)
	}
	return out
}

// A table is what a scenario showed.
type table struct {
	Name, Title string
	Columns     []column
	Rows        []row
}

// sort brings rows of the same case together, in the order in which they came.
func (t table) sort() {
	place := map[string]int{}
	for _, r := range t.Rows {
		if _, ok := place[r.Case]; !ok {
			place[r.Case] = len(place)
		}
	}
	slices.SortStableFunc(t.Rows, func(a, b row) int { return place[a.Case] - place[b.Case] })
}

// missed are the bars that ours does not make.
func (t table) missed() []string {
	var all []string
	for _, r := range t.Rows {
		if r.Proxy != ours {
			continue
		}
		for i, c := range t.Columns {
			if v := float64(r.Values[i]); c.misses(v) {
				all = append(all, fmt.Sprintf("%s: %s%s is %s, wanted %s", t.Name, lead(r.Case), c.Name, c.show(v), c.bar()))
			}
		}
	}
	return all
}

// String is the table in Markdown, which fits 100 columns.
func (t table) String() string { return t.Name + ": " + t.body() }

// body is String without the name.
func (t table) body() string {
	head, bars := []string{"proxy"}, []string{"*wanted*"}
	for _, c := range t.Columns {
		head = append(head, c.Name)
		bars = append(bars, c.bar())
	}
	lines := [][]string{head, nil, bars}
	var notes []string
	for _, r := range t.Rows {
		cells := []string{strings.TrimSpace(lead(r.Case) + r.Proxy)}
		for i, c := range t.Columns {
			v := float64(r.Values[i])
			cell := c.show(v)
			if r.Cells != nil {
				cell = r.Cells[i]
			}
			if r.Proxy == ours && c.misses(v) {
				cell = "**" + cell + "**"
			}
			cells = append(cells, cell)
		}
		lines = append(lines, cells)
		if r.Note != "" {
			notes = append(notes, lead(r.Case)+r.Proxy+": "+r.Note)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", wrap(strings.ToUpper(t.Title[:1])+t.Title[1:]+".", 88))
	writeMarkdown(&b, lines)
	for _, n := range notes {
		b.WriteString("\n" + wrap(n, 96) + "\n")
	}
	return b.String()
}

// lead is a case's name before something.
func lead(name string) string {
	if name == "" {
		return ""
	}
	return name + ", "
}

// writeMarkdown aligns the cells; a nil line is the rule under the head.
func writeMarkdown(b *strings.Builder, lines [][]string) {
	width := make([]int, len(lines[0]))
	for _, cells := range lines {
		for i, c := range cells {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	for _, cells := range lines {
		for i := range width {
			cell := strings.Repeat("-", width[i])
			if cells != nil {
				cell = cells[i] + strings.Repeat(" ", width[i]-utf8.RuneCountInString(cells[i]))
			}
			b.WriteString("| " + cell + " ")
		}
		b.WriteString("|\n")
	}
}

func (c column) bar() string {
	switch {
	case math.IsNaN(c.Bar):
		return ""
	case c.AtLeast:
		return "≥ " + plain(c.Bar, c.Unit)
	}
	return "≤ " + plain(c.Bar, c.Unit)
}

// show has enough digits to tell a value from its bar.
func (c column) show(v float64) string {
	switch {
	case math.IsNaN(v):
		return "-"
	case math.IsInf(v, 1):
		return "never"
	case c.Unit == "%" && v < 100 && v > 99:
		return fmt.Sprintf("%.3f %%", v)
	case c.Unit == "%":
		return fmt.Sprintf("%.2f %%", v)
	case c.Unit == "" || v >= 1000:
		return strings.TrimSpace(fmt.Sprintf("%.0f %s", v, c.Unit))
	case v >= 100:
		return fmt.Sprintf("%.0f %s", v, c.Unit)
	case v >= 10 && c.Unit != "x":
		return fmt.Sprintf("%.1f %s", v, c.Unit)
	}
	return fmt.Sprintf("%.2f %s", v, c.Unit)
}

// plain is a number as somebody would write it.
func plain(v float64, unit string) string {
	return strings.TrimSpace(fmt.Sprintf("%.6g %s", v, unit))
}

// wrap breaks a text into lines.
func wrap(text string, width int) string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return strings.Join(append(lines, line), "\n")
}

// Package show lays out what meshctl prints: columns, the figures of
// meshctl top, and a part of the terminal that is drawn again in place.
package show

import (
	"strings"
	"unicode/utf8"
)

// gap is what stands between two columns.
const gap = "   "

// Columns aligns rows, the header first; a header that starts with ">" has
// its column aligned to the right. Lines have no blanks at their end.
func Columns(rows [][]string) []string {
	if len(rows) == 0 {
		return nil
	}
	header := append([]string(nil), rows[0]...)
	right := make([]bool, len(header))
	width := make([]int, len(header))
	for i := range header {
		header[i], right[i] = strings.CutPrefix(header[i], ">")
	}
	rows = append([][]string{header}, rows[1:]...)
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	lines := make([]string, len(rows))
	for r, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			if i > 0 {
				b.WriteString(gap)
			}
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if right[i] {
				b.WriteString(pad + cell)
			} else {
				b.WriteString(cell + pad)
			}
		}
		lines[r] = strings.TrimRight(b.String(), " ")
	}
	return lines
}

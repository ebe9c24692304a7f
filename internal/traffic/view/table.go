package view

import (
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// padding is the blanks between two columns.
const padding = 3

// Table is text in columns.
type Table struct {
	Header []string
	Rows   [][]string
	// Left are the columns that are aligned to the left; others are aligned to the right.
	Left []int
}

// Write prints the table.
func (t *Table) Write(w io.Writer) error {
	widths := make([]int, len(t.Header))
	lines := append([][]string{t.Header}, t.Rows...)
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, line := range lines {
		var text strings.Builder
		for i, cell := range line {
			if i > 0 {
				text.WriteString(strings.Repeat(" ", padding))
			}
			fill := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if slices.Contains(t.Left, i) {
				text.WriteString(cell + fill)
			} else {
				text.WriteString(fill + cell)
			}
		}
		b.WriteString(strings.TrimRight(text.String(), " ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

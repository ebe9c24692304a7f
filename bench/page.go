package main

import (
	_ "embed" // the page
	"html/template"
	"math"
	"strings"
)

//go:embed page.html
var pageText string

// bar is a verdict as it is drawn: positions on a logarithmic scale from a tenth to ten, in percent.
type bar struct {
	Verdict

	Left, Width, Mid float64
	Text             string
}

// Page is the report as one HTML file that loads nothing.
func Page(r *Run) (string, error) {
	type row struct {
		Title, Unit, Ours string
		Bars              []bar
		Failures          string
	}
	var rows []row
	for i := range r.Cells {
		c := &r.Cells[i]
		out := row{Title: c.Title, Unit: c.Unit(), Ours: figure(middle(c.Blocks, ours, cpu)), Failures: failures(c, r.Foreign)}
		for _, v := range verdicts(c) {
			left, right := position(v.Ratio.Low), position(v.Ratio.High)
			out.Bars = append(out.Bars, bar{v, left, max(right-left, 0.4), position(v.Ratio.Mid), plain(v.Ratio)})
		}
		rows = append(rows, out)
	}
	t, err := template.New("page").Funcs(template.FuncMap{"figure": figure}).Parse(pageText)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = t.Execute(&b, struct {
		*Run

		Rows []row
	}{r, rows})
	return b.String(), err
}

// position of a ratio: 0 for a tenth or less, 50 for 1, 100 for ten or more.
func position(ratio float64) float64 {
	if math.IsNaN(ratio) || ratio <= 0 {
		return 0
	}
	return min(max(50+50*math.Log10(ratio), 0), 100)
}

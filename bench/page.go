package main

import (
	_ "embed" // the page
	"html/template"
	"math"
	"slices"
	"strings"
)

//go:embed page.html
var pageText string

// bar is a verdict as it is drawn: positions on a logarithmic scale from a tenth to ten, in percent.
type bar struct {
	Verdict

	Left, Width, Mid float64
	Text             string
	Spent            []string
}

// square is a verdict in the overview, "" for a peer that a cell does not have.
type square struct{ Class, Text string }

// row is one cell of the page.
type row struct {
	ID, Title, Unit, Ours string
	Rounds, Failures      string
	Asked                 string // see asked and apart
	Bars                  []bar
	Squares               []square
	// Latencies and costs of ours.
	Own []string
}

// Page is the report as one HTML file that loads nothing.
func Page(r *Run) (string, error) {
	var rows []row
	var names []string
	for _, c := range r.Cells {
		for _, v := range verdicts(c) {
			if !slices.Contains(names, v.Peer) {
				names = append(names, v.Peer)
			}
		}
	}
	slices.Sort(names)
	for _, c := range r.Cells {
		if c.measured() {
			rows = append(rows, drawn(c, names, r.Foreign))
		}
	}
	t, err := template.New("page").Funcs(template.FuncMap{
		"figure": figure, "ratio": plain, "emphasis": emphasis, "mb": func(kb int) string { return figure(float64(kb) / 1024) },
	}).Parse(pageText)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = t.Execute(&b, struct {
		*Run

		Rows  []row
		Peers []string
		Goals []standing
		Gaps  string
	}{r, rows, names, standings(r), gaps(r)})
	return b.String(), err
}

// drawn is a cell as the page shows it.
func drawn(c *CellRun, names []string, foreign float64) row {
	out := row{
		ID: c.ID, Title: c.Title, Unit: c.Unit(), Ours: figure(middle(c.Blocks, ours, cpu)), Rounds: rounds(c), Asked: asked(c) + apart(c), Failures: failures(c, foreign),
		Squares: make([]square, len(names)),
		Own: append([]string{
			micros(middle(c.Blocks, ours, p50)), micros(middle(c.Blocks, ours, p99)), micros(middle(c.Blocks, ours, p999)),
			addition(middle(c.Blocks, ours, p50), middle(c.Blocks, direct, p50)),
		}, spent(c, ours)...),
	}
	for _, v := range verdicts(c) {
		left, right := position(v.Ratio.Low), position(v.Ratio.High)
		out.Bars = append(out.Bars, bar{v, left, max(right-left, 0.4), position(v.Ratio.Mid), plain(v.Ratio), spent(c, v.Peer)})
		if v.Blocks > 0 {
			out.Squares[slices.Index(names, v.Peer)] = square{string(v.Outcome()), figure(v.Ratio.Mid)}
		}
	}
	return out
}

// emphasis makes what is bold in the text bold in the page.
func emphasis(s string) template.HTML {
	s = template.HTMLEscapeString(s)
	if rest, ok := strings.CutPrefix(s, "**"); ok {
		figure, after, _ := strings.Cut(rest, "**")
		s = "<strong>" + figure + "</strong>" + after
	}
	return template.HTML(s) //nolint:gosec // escaped above
}

// position of a ratio: 0 for a tenth or less, 50 for 1, 100 for ten or more.
func position(ratio float64) float64 {
	if math.IsNaN(ratio) || ratio <= 0 {
		return 0
	}
	return min(max(50+50*math.Log10(ratio), 0), 100)
}

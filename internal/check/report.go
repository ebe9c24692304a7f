package check

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Status is the outcome of one check.
type Status uint8

const (
	// Passed is a check that found nothing wrong.
	Passed Status = iota + 1
	// Warned is a check that found something to look at, or that could not be made.
	Warned
	// Failed is a check that found something broken.
	Failed
)

// mark is the sign before a check's name.
func (s Status) mark() string {
	switch s {
	case Passed:
		return "√"
	case Warned:
		return "‼"
	case Failed:
	}
	return "×"
}

// String is the word in JSON.
func (s Status) String() string {
	switch s {
	case Passed:
		return "success"
	case Warned:
		return "warning"
	case Failed:
	}
	return "error"
}

// Result is one check and its outcome.
type Result struct {
	// Name says what is so when the check passes.
	Name string
	// Anchor is the section of docs/reference/check.md.
	Anchor string
	Status Status
	// Details say what is wrong, one fact each. Empty where the check passed.
	Details []string
	// Hint says what to do. Empty where the check passed.
	Hint string
}

// Category is the checks about one subject, in order.
type Category struct {
	Name    string
	Results []Result
}

// Report is everything that was checked.
type Report []Category

// OK reports whether nothing failed. Warnings do not count.
func (r Report) OK() bool {
	for i := range r {
		for j := range r[i].Results {
			if r[i].Results[j].Status == Failed {
				return false
			}
		}
	}
	return true
}

// page is where checks are described.
const page = "docs/reference/check.md"

// shown is how many details of one check are printed; -o json has all.
const shown = 10

// Print writes the report for people.
func (r Report) Print(to io.Writer) error {
	w := bufio.NewWriter(to)
	for i := range r {
		c := &r[i]
		fmt.Fprintf(w, "%s\n%s\n", c.Name, strings.Repeat("-", utf8.RuneCountInString(c.Name)))
		for j := range c.Results {
			c.Results[j].print(w)
		}
		fmt.Fprintln(w)
	}
	verdict := Passed
	if !r.OK() {
		verdict = Failed
	}
	fmt.Fprintf(w, "Status check results are %s\n", verdict.mark())
	return w.Flush()
}

func (r *Result) print(w io.Writer) {
	fmt.Fprintf(w, "%s %s\n", r.Status.mark(), r.Name)
	if r.Status == Passed {
		return
	}
	for i, d := range r.Details {
		if i == shown {
			fmt.Fprintf(w, "    and %d more; -o json lists them\n", len(r.Details)-shown)
			break
		}
		fmt.Fprintf(w, "    %s\n", d)
	}
	if r.Hint != "" {
		fmt.Fprintf(w, "    hint: %s\n", r.Hint)
	}
	fmt.Fprintf(w, "    see %s#%s\n", page, r.Anchor)
}

// printedResult is a result in JSON, in the words of Linkerd's check where it has some.
type printedResult struct {
	Description string   `json:"description"`
	Result      string   `json:"result"` // success, warning or error
	Details     []string `json:"details,omitempty"`
	Hint        string   `json:"hint,omitempty"`
	See         string   `json:"see,omitempty"`
}

type printedCategory struct {
	Name   string          `json:"categoryName"`
	Checks []printedResult `json:"checks"`
}

type printedReport struct {
	Success    bool              `json:"success"`
	Categories []printedCategory `json:"categories"`
}

// PrintJSON writes the report for programs.
func (r Report) PrintJSON(w io.Writer) error {
	out := printedReport{Success: r.OK(), Categories: []printedCategory{}}
	for i := range r {
		c := printedCategory{Name: r[i].Name, Checks: []printedResult{}}
		for j := range r[i].Results {
			x := &r[i].Results[j]
			p := printedResult{Description: x.Name, Result: x.Status.String(), Details: x.Details, Hint: x.Hint}
			if x.Status != Passed {
				p.See = page + "#" + x.Anchor
			}
			c.Checks = append(c.Checks, p)
		}
		out.Categories = append(out.Categories, c)
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(out)
}

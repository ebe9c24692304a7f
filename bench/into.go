package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
)

// put has the cells of a part take the place of those of a whole run, each with its own date and commit. Cells that are in no matrix any more
// go. Figures that do not belong together are refused: of another machine, of another version of a peer, measured beside more of other
// processes, without a peer that was there, or by a run that was cut.
func put(part, whole *Run, matrix []Cell) error {
	versions := func(r *Run) map[string]string {
		out := maps.Clone(r.Versions)
		delete(out, ours) // its commit says more
		return out
	}
	switch a, b := versions(part), versions(whole); {
	case !maps.Equal(part.Machine, whole.Machine):
		return fmt.Errorf("the machine is another one: %v, there %v", part.Machine, whole.Machine)
	case !maps.Equal(a, b):
		return fmt.Errorf("versions differ: %v, there %v", a, b)
	case part.Foreign > whole.Foreign:
		return fmt.Errorf("it was measured with -foreign %.2f, there %.2f", part.Foreign, whole.Foreign)
	case part.Cut != "":
		return fmt.Errorf("the run is not whole: %s", part.Cut)
	case part.Seconds < whole.Seconds:
		return fmt.Errorf("its blocks are of %d s, there of %d", part.Seconds, whole.Seconds)
	}
	byID := map[string]*CellRun{}
	for _, c := range whole.Cells {
		byID[c.ID] = c
	}
	taken := 0
	for _, c := range part.Cells {
		if c.measured() {
			if lost := lacks(c, byID[c.ID]); lost != "" {
				return fmt.Errorf("%s was not measured with %s", c.ID, lost)
			}
			c.Date, c.Commit = part.Date, part.Commit
			byID[c.ID] = c
			taken++
		}
	}
	if taken == 0 {
		return errors.New("nothing was measured")
	}
	whole.Cells = nil
	for i := range matrix {
		if c := byID[matrix[i].ID]; c != nil {
			whole.Cells = append(whole.Cells, c)
			delete(byID, c.ID)
		}
	}
	if long := byID["long"]; long != nil { // it is in the matrix of those alone who ask for it
		whole.Cells = append(whole.Cells, long)
	}
	return nil
}

// lacks gives a peer that an earlier run of a cell has and this one has not, "" for none. Those that no goal is set by can be missing.
func lacks(c, earlier *CellRun) string {
	if earlier == nil {
		return ""
	}
	of := func(c *CellRun) (out []string) {
		for i := range c.Blocks {
			out = append(out, c.Blocks[i].Of)
		}
		return out
	}
	envoy, classic := groups()
	now := of(c)
	for _, name := range of(earlier) {
		if slices.Contains(append(envoy, classic...), name) && !slices.Contains(now, name) {
			return name
		}
	}
	return ""
}

// putInto does so with the files of two runs, and makes the reports of the whole once more.
func putInto(part, whole string) error {
	var p, w Run
	if err := errors.Join(readRun(part, &p), readRun(whole, &w)); err != nil {
		return err
	}
	if err := put(&p, &w, matrix()); err != nil {
		return fmt.Errorf("%s does not go into %s: %w", part, whole, err)
	}
	b, err := json.MarshalIndent(&w, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(whole, append(b, '\n'), 0o644); err != nil { //nolint:gosec // for everybody to read
		return err
	}
	return writeReports(whole)
}

func readRun(path string, r *Run) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, r); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// apart says of a cell that it was not measured with the others, "" where it was.
func apart(c *CellRun) string {
	if c.Date == "" {
		return ""
	}
	return fmt.Sprintf(" Measured apart, %s, commit %s.", c.Date, c.Commit)
}

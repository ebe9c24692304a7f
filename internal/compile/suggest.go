package compile

import (
	"slices"
	"strings"
)

// suggest words the fix for a value that looks like one of the candidates, or is empty.
func suggest(value string, candidates []string) string {
	if near, ok := nearest(value, candidates); ok {
		return "did you mean \"" + near + "\"?"
	}
	return ""
}

// nearest gives the candidate with the fewest edits from value: at most two, and at most one in three characters of
// the first label, for the rest of a host name is alike for all hosts. Of equals the first in order wins.
func nearest(value string, candidates []string) (string, bool) {
	candidates = slices.Sorted(slices.Values(candidates))
	label, _, _ := strings.Cut(value, ".")
	best, limit := "", min(2, len(label)/3)
	for _, c := range candidates {
		if d := distance(value, c, limit); d <= limit && c != value {
			best, limit = c, d-1
		}
	}
	return best, best != ""
}

// distance counts the insertions, deletions, replacements and swaps of neighbours between a and b (optimal string
// alignment). It gives more than limit at once where the lengths make that certain.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	var twoAbove, above []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		twoAbove, above, row = above, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replaced := above[j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			row[j] = min(replaced, above[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], twoAbove[j-2]+1)
			}
		}
	}
	return row[len(b)]
}

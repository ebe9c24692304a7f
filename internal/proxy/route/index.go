package route

import (
	"slices"
	"sort"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
)

// fewEntries is up to how many entries a table is read from its beginning: an index is no faster there.
const fewEntries = 8

// index finds the entries of a table that may take a path: by what their paths must begin with. Those that say the same of
// the path, or nothing that is known beforehand (patterns, letters of either case, no path at all), are tried one after the
// other.
type index struct {
	// literals are sorted. Those that a path begins with are the last one that is not behind it in this order, where that is
	// one, and the ancestors of that one: whatever stands between a literal and a path that begins with it begins with it too.
	literals []literal
	rest     []int32 // entries that are tried for every path, in their order
}

// literal is what a path begins with, and the entries that ask for it, in their order.
type literal struct {
	text    string
	parent  int32 // the longest other literal that it begins with, -1 for none
	entries []int32
}

func newIndex(entries []Route) *index {
	x := &index{}
	at := map[string][]int32{}
	for i := range entries {
		p := &entries[i].when.path
		switch {
		case p.kind == model.Exact && !p.fold, p.kind == model.Prefix && !p.fold, p.kind == model.PathPrefix && !p.fold:
			at[p.value] = append(at[p.value], int32(i))
		default:
			x.rest = append(x.rest, int32(i))
		}
	}
	for text, entries := range at {
		x.literals = append(x.literals, literal{text: text, parent: -1, entries: entries})
	}
	slices.SortFunc(x.literals, func(a, b literal) int { return strings.Compare(a.text, b.text) })
	for i := range x.literals {
		// The one before is the parent, or shares it.
		for p := int32(i) - 1; p >= 0; p = x.literals[p].parent {
			if strings.HasPrefix(x.literals[i].text, x.literals[p].text) {
				x.literals[i].parent = p
				break
			}
		}
	}
	return x
}

// longest gives the place of the last literal that a path begins with, -1 where it begins with none.
func (x *index) longest(path []byte) int32 {
	at := int32(sort.Search(len(x.literals), func(i int) bool { return x.literals[i].text > string(path) })) - 1
	for at >= 0 && !hasPrefix(path, x.literals[at].text) {
		at = x.literals[at].parent
	}
	return at
}

func hasPrefix(path []byte, text string) bool {
	return len(path) >= len(text) && string(path[:len(text)]) == text // compared in place
}

// asking is what conditions are about.
type asking struct {
	req         *httpx.Request
	path, query []byte
	from        Caller
	port        uint16
}

// find gives the place of the first entry that takes the request, -1 where none does.
func (t *Table) find(a *asking) int32 {
	found := int32(-1)
	for at := t.index.longest(a.path); at >= 0; at = t.index.literals[at].parent {
		found = t.first(t.index.literals[at].entries, found, a)
	}
	return t.first(t.index.rest, found, a)
}

// first gives the first of some entries that takes the request, where that is before the one that was found.
func (t *Table) first(entries []int32, found int32, a *asking) int32 {
	for _, i := range entries {
		if found >= 0 && i > found {
			break
		}
		if t.entries[i].when.takes(a) {
			return i
		}
	}
	return found
}

// takes reports whether all conditions hold.
func (c *conditions) takes(a *asking) bool {
	return (c.port == 0 || c.port == a.port) && c.from.is(a.from) && c.hold(a.req, a.path, a.query)
}

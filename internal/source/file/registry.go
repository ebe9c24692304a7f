package file

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
)

// entryKey names one file under one of the paths.
type entryKey struct {
	root int // index into Options.Paths
	path string
}

// compare orders the files as they take precedence within one path: by name.
func (k entryKey) compare(o entryKey) int {
	return cmp.Or(cmp.Compare(k.root, o.root), cmp.Compare(k.path, o.path))
}

// entry is what is known of one file.
type entry struct {
	objects  []object // in force as far as this file goes: read now, or kept from a better day
	problems []model.Problem
	hides    []model.Ref // of a .deleted file
	// bystanders are the kinds of objects in it that mean nothing to a mesh, one for each object.
	bystanders []string
	// sum is that of the content, to pass over a file that was only touched. Zero after a failure.
	sum [sha256.Size]byte
}

// registry turns the contents of files into one set of objects. It does no I/O and is not safe for concurrent use.
type registry struct {
	decoder *decoder
	entries map[entryKey]*entry
	// claims are the files that hold an object, hides the paths (with their file) that hide it.
	claims map[model.Ref]map[entryKey]object
	hides  map[model.Ref]map[entryKey]struct{}

	published map[model.Ref]object
	reported  []model.Problem
	doubles   map[model.Ref][]model.Problem
	dirty     map[model.Ref]struct{}
	started   bool // something was published
}

func registryOf(d *decoder) *registry {
	return &registry{
		decoder: d,
		entries: map[entryKey]*entry{}, claims: map[model.Ref]map[entryKey]object{}, hides: map[model.Ref]map[entryKey]struct{}{},
		published: map[model.Ref]object{}, doubles: map[model.Ref][]model.Problem{}, dirty: map[model.Ref]struct{}{},
	}
}

// holds reports whether the file has any say now.
func (r *registry) holds(k entryKey) bool {
	e := r.entries[k]
	return e != nil && len(e.objects)+len(e.hides) > 0
}

// put takes the content of a file.
func (r *registry) put(k entryKey, data []byte) {
	old := r.entries[k]
	sum := sha256.Sum256(data)
	switch {
	case old == nil:
		old = &entry{}
	case old.sum == sum:
		return
	}
	var next *entry
	if filepath.Base(k.path) == hidesFile {
		next = hidesOf(k, data)
	} else {
		next = r.objectsOf(k, data, old)
	}
	next.sum = sum
	r.replace(k, old, next)
}

// objectsOf reads a manifest file, given what is known of it.
func (r *registry) objectsOf(k entryKey, data []byte, old *entry) *entry {
	c := r.decoder.decode(k.path, data)
	refused := c.refused() // by what the file says, not by what it says twice
	next := &entry{objects: firsts(c), bystanders: c.bystanders}
	next.problems = named(c, old.objects)
	if refused {
		next.objects = append(next.objects, missingFrom(next.objects, old.objects)...)
	}
	return next
}

// firsts gives the objects of a file, and makes a finding of each that is there twice.
func firsts(c *content) []object {
	seen := map[model.Ref]model.Position{}
	var out []object
	for _, o := range c.objects {
		if first, dup := seen[o.Ref]; dup {
			c.findings = append(c.findings, finding{Problem: doubleProblem(o, first), slot: o.slot, named: true})
			continue
		}
		seen[o.Ref] = o.Pos
		out = append(out, o)
	}
	return out
}

// doubleProblem says that o is elsewhere too.
func doubleProblem(o object, first model.Position) model.Problem {
	return model.Problem{
		Ref: o.Ref, Severity: model.Rejected, Pos: o.Pos,
		Message: fmt.Sprintf("written twice: the one at %s stays in force, this one is ignored", first),
		Fix:     "remove or rename one of them",
	}
}

// named gives the problems of a file; those whose object could not be told get the name of the object that stood in
// their place before.
func named(c *content, old []object) []model.Problem {
	problems := c.problems()
	for i, f := range c.findings {
		if f.named {
			continue
		}
		for _, o := range old {
			sameKind := o.Ref.Kind == f.Ref.Kind || f.Ref.Kind == unknownKind
			if o.slot == f.slot && sameKind && !containsRef(c.objects, o.Ref) {
				problems[i].Ref = o.Ref
			}
		}
	}
	return problems
}

func containsRef(objects []object, ref model.Ref) bool {
	return slices.ContainsFunc(objects, func(o object) bool { return o.Ref == ref })
}

// missingFrom gives the objects of old that next does not have.
func missingFrom(next, old []object) []object {
	have := map[model.Ref]struct{}{}
	for _, o := range next {
		have[o.Ref] = struct{}{}
	}
	var out []object
	for _, o := range old {
		if _, ok := have[o.Ref]; !ok {
			out = append(out, o)
		}
	}
	return out
}

// hidesOf reads a .deleted file.
func hidesOf(k entryKey, data []byte) *entry {
	next := &entry{}
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		ref, ok := parseRef(line)
		if !ok {
			next.problems = append(next.problems, model.Problem{
				Ref: model.Ref{Kind: "file", Key: model.Key{Name: k.path}}, Severity: model.Rejected,
				Message: fmt.Sprintf("%#q names no object", clip(line)), Fix: "one per line: `Kind namespace/name`",
				Pos: model.Position{File: k.path, Line: number},
			})
			continue
		}
		next.hides = append(next.hides, ref)
	}
	return next
}

// parseRef reads "Kind namespace/name" or "Kind name".
func parseRef(line string) (model.Ref, bool) {
	words := strings.Fields(line)
	if len(words) != 2 {
		return model.Ref{}, false
	}
	ref := model.Ref{Kind: words[0], Key: model.Key{Name: words[1]}}
	if namespace, name, ok := strings.Cut(words[1], "/"); ok {
		ref.Namespace, ref.Name = namespace, name
	}
	return ref, ref.Name != "" && !strings.Contains(ref.Name, "/")
}

// fail records that a file or directory cannot be read. What it held stays in force.
func (r *registry) fail(k entryKey, message, fix string) {
	old := r.entries[k]
	if old == nil {
		old = &entry{}
	}
	next := &entry{objects: old.objects, hides: old.hides}
	next.problems = []model.Problem{{
		Ref: model.Ref{Kind: "file", Key: model.Key{Name: k.path}}, Severity: model.Rejected, Message: message, Fix: fix,
		Pos: model.Position{File: k.path},
	}}
	r.replace(k, old, next)
}

// remove forgets a file that is gone.
func (r *registry) remove(k entryKey) {
	if old := r.entries[k]; old != nil {
		r.replace(k, old, &entry{})
		delete(r.entries, k)
	}
}

// replace makes next what is known of the file.
func (r *registry) replace(k entryKey, old, next *entry) {
	for _, o := range old.objects {
		drop(r.claims, o.Ref, k)
		r.dirty[o.Ref] = struct{}{}
	}
	for _, ref := range old.hides {
		drop(r.hides, ref, k)
		r.dirty[ref] = struct{}{}
	}
	for _, o := range next.objects {
		put(r.claims, o.Ref, k, o)
		r.dirty[o.Ref] = struct{}{}
	}
	for _, ref := range next.hides {
		put(r.hides, ref, k, struct{}{})
		r.dirty[ref] = struct{}{}
	}
	r.entries[k] = next
}

func put[V any](m map[model.Ref]map[entryKey]V, ref model.Ref, k entryKey, v V) {
	if m[ref] == nil {
		m[ref] = map[entryKey]V{}
	}
	m[ref][k] = v
}

func drop[V any](m map[model.Ref]map[entryKey]V, ref model.Ref, k entryKey) {
	delete(m[ref], k)
	if len(m[ref]) == 0 {
		delete(m, ref)
	}
}

// flush gives the change since the previous flush; ok is false where there is none. The first one always is.
func (r *registry) flush() (change source.Change, ok bool) {
	type upsert struct {
		key entryKey
		object
	}
	var upserts []upsert
	for ref := range r.dirty {
		key, winner := r.decide(ref)
		before, was := r.published[ref]
		switch {
		case winner == nil && was:
			delete(r.published, ref)
			change.Deletes = append(change.Deletes, ref)
		case winner != nil && (!was || !winner.same(&before)):
			r.published[ref] = *winner
			upserts = append(upserts, upsert{key, *winner})
		}
	}
	clear(r.dirty)
	slices.SortFunc(upserts, func(a, b upsert) int {
		return cmp.Or(a.key.compare(b.key), cmp.Compare(a.slot.document, b.slot.document), cmp.Compare(a.slot.item, b.slot.item))
	})
	for _, u := range upserts {
		change.Upserts = append(change.Upserts, u.Object)
	}
	slices.SortFunc(change.Deletes, compareRefs)
	change.Problems = r.problems()
	ok = !r.started || len(change.Upserts)+len(change.Deletes) > 0 || !slices.Equal(change.Problems, r.reported)
	r.started, r.reported = true, slices.Clone(change.Problems)
	return change, ok
}

// decide gives the version of an object that is in force, nil where it is in no file or hidden, and notes the
// versions that lose against another one of the same path.
func (r *registry) decide(ref model.Ref) (k entryKey, winner *object) {
	delete(r.doubles, ref)
	hiddenBelow := -1
	for hider := range r.hides[ref] {
		hiddenBelow = max(hiddenBelow, hider.root)
	}
	first := map[int]object{}
	for _, key := range slices.SortedFunc(maps.Keys(r.claims[ref]), entryKey.compare) {
		o := r.claims[ref][key]
		if other, dup := first[key.root]; dup {
			r.doubles[ref] = append(r.doubles[ref], doubleProblem(o, other.Pos))
			continue
		}
		first[key.root] = o
		if key.root >= hiddenBelow {
			k, winner = key, &o
		}
	}
	return k, winner
}

func compareRefs(a, b model.Ref) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), a.Compare(b.Key))
}

// problems gives all of them by file and line.
func (r *registry) problems() []model.Problem {
	var all []model.Problem
	for _, e := range r.entries {
		all = append(all, e.problems...)
	}
	for _, doubles := range r.doubles {
		all = append(all, doubles...)
	}
	slices.SortFunc(all, func(a, b model.Problem) int {
		return cmp.Or(
			cmp.Compare(a.Pos.File, b.Pos.File), cmp.Compare(a.Pos.Line, b.Pos.Line), compareRefs(a.Ref, b.Ref),
			cmp.Compare(a.Field, b.Field), cmp.Compare(a.Message, b.Message),
		)
	})
	return slices.Compact(all)
}

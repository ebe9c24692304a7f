package file

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
)

// patience bounds what a test waits for; nothing here takes longer than halfWritten.
const patience = 20 * time.Second

// live is a running Source.
type live struct {
	t       *testing.T
	dir     string
	changes chan source.Change
}

// run starts a Source on paths inside a fresh directory and waits for the first change.
func run(t *testing.T, dir string, paths ...string) (*live, source.Change) {
	t.Helper()
	return runPatient(t, halfWritten, dir, paths...)
}

// runPatient is run of a Source that believes for so long that a file is still being written: the writer is a test that may be stopped at any
// place.
func runPatient(t *testing.T, patience time.Duration, dir string, paths ...string) (*live, source.Change) {
	t.Helper()
	l := &live{t: t, dir: dir, changes: make(chan source.Change, 1024)}
	for i, path := range paths {
		paths[i] = filepath.Join(dir, path)
	}
	s, err := New(Options{Paths: paths})
	if err != nil {
		t.Fatal(err)
	}
	s.halfWritten = patience
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, func(c source.Change) { l.changes <- c }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	first := l.next()
	return l, first
}

func (l *live) next() source.Change {
	l.t.Helper()
	select {
	case c := <-l.changes:
		return c
	case <-time.After(patience):
		l.t.Fatal("no change")
		return source.Change{}
	}
}

// expect waits for one change and compares its summary, in which the directory is left out.
func (l *live) expect(want ...string) {
	l.t.Helper()
	l.compare(l.next(), want...)
}

func (l *live) compare(c source.Change, want ...string) {
	l.t.Helper()
	got := summary(c)
	for i := range got {
		got[i] = strings.ReplaceAll(got[i], l.dir+"/", "")
	}
	if !slices.Equal(got, want) {
		l.t.Errorf("change = \n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func (l *live) path(name string) string { return at(l.dir, name) }

// at gives a path inside dir.
func at(dir, name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }

func (l *live) write(name, text string) {
	l.t.Helper()
	writeFile(l.t, l.path(name), text)
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (l *live) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

func TestSourceFollowsEdits(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, at(dir, "m/a.yaml"), ruleFor("a", "a"))
	writeFile(t, at(dir, "m/.hidden.yaml"), ruleFor("hidden", "a"))
	writeFile(t, at(dir, "m/notes.txt"), "not a manifest")
	l, first := run(t, dir, "m")
	l.compare(first, "+DestinationRule myapp/a@m/a.yaml:1")

	l.write("m/a.yaml", ruleFor("a", "changed"))
	l.expect("+DestinationRule myapp/a@m/a.yaml:1")
	l.write("m/b.json", `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "b"}}`)
	l.expect("+Namespace b@m/b.json:1")
	l.must(os.Remove(l.path("m/a.yaml")))
	l.expect("-DestinationRule myapp/a")
	// An editor's way: a new file renamed over the old one, by way of names that are none of ours.
	l.write("m/.b.json.swp", "x")
	l.write("m/b.json~", "x")
	l.write("m/tmp.123", `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "c"}}`)
	l.must(os.Rename(l.path("m/tmp.123"), l.path("m/b.json")))
	l.expect("+Namespace c@m/b.json:1", "-Namespace b")
}

func TestSourceStartsEmpty(t *testing.T) {
	l, first := run(t, t.TempDir(), ".")
	l.compare(first)
	l.write("a.yaml", ruleFor("a", "a"))
	l.expect("+DestinationRule myapp/a@a.yaml:1")
}

func TestSourceKeepsTheLastGoodVersion(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, at(dir, "dr.yaml"), ruleFor("users", "users"))
	writeFile(t, at(dir, "se.yaml"), entryOK)
	l, _ := run(t, dir, ".")
	l.write("dr.yaml", metaBare)
	const bare = "!dr.yaml:3: error: DestinationRule myapp/users: meta: `meta` stands alone, without a colon (did you mean `metadata:`?)"
	l.expect(bare)
	l.write("se.yaml", entryBad)
	l.expect(bare, "!se.yaml:8: error: ServiceEntry myapp/pay: spec.endpoints[0].ports: `ports` is a list here; an endpoint's ports are a map of port name to number (write `ports: {https: 443}`)")
	l.write("se.yaml", entryOK)
	l.expect(bare)
	l.write("dr.yaml", ruleFor("users", "users"))
	l.expect() // the very same object: only the problem is gone
	l.must(os.Remove(l.path("dr.yaml")))
	l.expect("-DestinationRule myapp/users")
}

func TestSourceEmptyFileIsHalfWritten(t *testing.T) {
	t.Run("filled_again", func(t *testing.T) {
		dir := t.TempDir()
		writeFile(t, at(dir, "a.yaml"), ruleFor("a", "a"))
		l, _ := runPatient(t, time.Hour, dir, ".")
		l.must(os.Truncate(l.path("a.yaml"), 0))
		l.write("marker.yaml", "{apiVersion: v1, kind: Namespace, metadata: {name: marker}}")
		l.expect("+Namespace marker@marker.yaml:1") // so the truncation has been seen
		l.write("a.yaml", ruleFor("a", "b"))
		l.expect("+DestinationRule myapp/a@a.yaml:1")
	})
	t.Run("empty_for_good", func(t *testing.T) {
		dir := t.TempDir()
		writeFile(t, at(dir, "a.yaml"), ruleFor("a", "a"))
		l, _ := run(t, dir, ".")
		start := time.Now()
		l.must(os.Truncate(l.path("a.yaml"), 0))
		l.expect("-DestinationRule myapp/a")
		if after := time.Since(start); after < halfWritten/2 {
			t.Errorf("removed after %v, want about %v", after, halfWritten)
		}
	})
}

func TestSourceWaitsForTheWriter(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, at(dir, "a.yaml"), ruleFor("a", "a")+"---\n"+ruleFor("b", "b"))
	if !leasesWork(t, at(dir, "a.yaml")) {
		t.Log("this file system has no leases: a half that parses cannot be told from a whole")
		return
	}
	l, _ := runPatient(t, time.Hour, dir, ".")
	f, err := os.OpenFile(l.path("a.yaml"), os.O_WRONLY|os.O_TRUNC, 0)
	l.must(err)
	_, err = f.WriteString(ruleFor("a", "c")) // parses well, but is not all
	l.must(err)
	l.write("marker.yaml", "{apiVersion: v1, kind: Namespace, metadata: {name: marker}}")
	l.expect("+Namespace marker@marker.yaml:1")
	_, err = f.WriteString("---\n" + ruleFor("b", "c"))
	l.must(err)
	l.must(f.Close())
	l.expect("+DestinationRule myapp/a@a.yaml:1", "+DestinationRule myapp/b@a.yaml:9")
}

// leasesWork reports whether beingWritten can tell here.
func leasesWork(t *testing.T, path string) bool {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return beingWritten(path)
}

func TestSourceDirectories(t *testing.T) {
	dir := t.TempDir()
	l, _ := run(t, dir, ".")
	t.Run("new_ones_are_followed", func(t *testing.T) {
		l.t = t
		l.write("x/y/z/a.yaml", ruleFor("a", "a"))
		l.expect("+DestinationRule myapp/a@x/y/z/a.yaml:1")
		l.write("x/y/z/a.yaml", ruleFor("a", "b"))
		l.expect("+DestinationRule myapp/a@x/y/z/a.yaml:1")
	})
	t.Run("moved_ones_too", func(t *testing.T) {
		l.t = t
		l.must(os.Rename(l.path("x/y"), l.path("x/w")))
		l.expect("+DestinationRule myapp/a@x/w/z/a.yaml:1")
		l.write("x/w/z/a.yaml", ruleFor("a", "c"))
		l.expect("+DestinationRule myapp/a@x/w/z/a.yaml:1")
	})
	t.Run("removed_ones_are_gone", func(t *testing.T) {
		l.t = t
		l.must(os.RemoveAll(l.path("x")))
		l.expect("-DestinationRule myapp/a")
	})
	t.Run("loops_of_symlinks_end", func(t *testing.T) {
		l.t = t
		l.must(os.Mkdir(l.path("loop"), 0o755))
		l.must(os.Symlink("..", l.path("loop/up")))
		l.write("loop/a.yaml", ruleFor("a", "a"))
		l.expect("+DestinationRule myapp/a@loop/a.yaml:1")
	})
}

func TestSourceSingleFiles(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, at(dir, "one/a"), ruleFor("a", "a"))
	l, first := run(t, dir, "one/a", "two/later/b.yaml")
	const missing = "!two/later/b.yaml: error: file two/later/b.yaml: no such file or directory (it is read once it appears)"
	if len(first.Upserts) != 1 || len(first.Problems) != 1 {
		t.Fatalf("first change: %v", summary(first))
	}
	l.write("one/other.yaml", ruleFor("other", "not ours"))
	l.write("one/new", ruleFor("a", "b"))
	l.must(os.Rename(l.path("one/new"), l.path("one/a")))
	c := l.next()
	if len(c.Upserts) != 1 || c.Upserts[0].Ref.Name != "a" || len(c.Problems) != 1 {
		t.Errorf("change %v, want a upserted and still %s", summary(c), missing)
	}
	l.write("two/later/b.yaml", ruleFor("b", "b"))
	l.expect("+DestinationRule myapp/b@two/later/b.yaml:1")
	l.must(os.Remove(l.path("two/later/b.yaml")))
	c = l.next()
	if len(c.Deletes) != 1 || len(c.Problems) != 1 {
		t.Errorf("change %v, want b deleted and reported missing", summary(c))
	}
	l.write("two/later/b.yaml", ruleFor("b", "b"))
	l.expect("+DestinationRule myapp/b@two/later/b.yaml:1")
}

// TestSourceConfigMap: the kubelet updates a mounted ConfigMap by exchanging the symlink ..data.
func TestSourceConfigMap(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, at(dir, "cm/..one/a.yaml"), ruleFor("a", "one"))
	for link, target := range map[string]string{"cm/..data": "..one", "cm/a.yaml": "..data/a.yaml"} {
		if err := os.Symlink(target, at(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	l, first := run(t, dir, "cm")
	l.compare(first, "+DestinationRule myapp/a@cm/a.yaml:1")
	for _, version := range []string{"two", "three"} {
		l.write("cm/.."+version+"/a.yaml", ruleFor("a", version))
		l.must(os.Symlink(".."+version, l.path("cm/..data_tmp")))
		l.must(os.Rename(l.path("cm/..data_tmp"), l.path("cm/..data")))
		l.expect("+DestinationRule myapp/a@cm/a.yaml:1")
	}
}

func TestSourceSymlinkedFile(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, at(dir, "elsewhere/a.yaml"), ruleFor("a", "one"))
	writeFile(t, at(dir, "m/b.yaml"), ruleFor("b", "one"))
	if err := os.Symlink("../elsewhere/a.yaml", at(dir, "m/a.yaml")); err != nil {
		t.Fatal(err)
	}
	l, _ := run(t, dir, "m")
	l.write("elsewhere/a.yaml", ruleFor("a", "two"))
	l.expect("+DestinationRule myapp/a@m/a.yaml:1")
}

func TestSourceOverlay(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, at(dir, "base/a.yaml"), ruleFor("a", "a"))
	l, _ := run(t, dir, "base", "over")
	l.write("next/a.yaml", ruleFor("a", "b")) // a directory that is there before its file is a change, too: a path is missing no longer
	l.must(os.Rename(l.path("next"), l.path("over")))
	l.expect("+DestinationRule myapp/a@over/a.yaml:1")
	l.must(os.Remove(l.path("over/a.yaml")))
	l.expect("+DestinationRule myapp/a@base/a.yaml:1")
	l.write("over/.deleted", "DestinationRule myapp/a\n")
	l.expect("-DestinationRule myapp/a")
	l.must(os.Remove(l.path("over/.deleted")))
	l.expect("+DestinationRule myapp/a@base/a.yaml:1")
}

func TestSourceRefusesNothing(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("New without paths gives no error")
	}
	if _, err := New(Options{Paths: []string{""}}); err == nil {
		t.Error("New with an empty path gives no error")
	}
}

// TestSourceIsFast: the part of the way of an endpoint change that is spent here.
func TestSourceIsFast(t *testing.T) {
	const rounds, budget = 20, 50 * time.Millisecond
	l, _ := run(t, t.TempDir(), ".")
	var took []time.Duration
	for i := range rounds {
		l.write(".new", ruleFor("a", strings.Repeat("a", i+1)))
		start := time.Now()
		l.must(os.Rename(l.path(".new"), l.path("a.yaml")))
		l.expect("+DestinationRule myapp/a@a.yaml:1")
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	t.Logf("median %v, worst %v", took[rounds/2], took[rounds-1])
	if took[0] > budget { // a machine may be busy with something else at any of them, but hardly at all
		t.Errorf("the quickest took %v, want at most %v", took[0], budget)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, at(dir, "a.yaml"), ruleFor("a", "a"))
	writeFile(t, at(dir, "sub/b.yaml"), metaText)
	writeFile(t, at(dir, "over.yaml"), ruleFor("a", "b"))
	m, err := Load(LoadOptions{Paths: []string{dir, at(dir, "over.yaml")}})
	if err != nil || len(m.Objects) != 1 || len(m.Problems) != 2 {
		t.Fatalf("Load = %v, %v", m, err)
	}
	if want := (model.Position{File: at(dir, "over.yaml"), Line: 1}); m.Objects[0].Pos != want {
		t.Errorf("Pos = %v, want %v", m.Objects[0].Pos, want)
	}
	if _, err := Load(LoadOptions{Paths: []string{at(dir, "none")}}); err == nil || !strings.Contains(err.Error(), "none: no such file") {
		t.Errorf("Load of a missing path = %v", err)
	}
}

func TestSourceRootReplaced(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, at(dir, "m/a.yaml"), ruleFor("a", "a"))
	writeFile(t, at(dir, "n/a.yaml"), ruleFor("a", "b"))
	l, _ := run(t, dir, "m")
	l.must(os.RemoveAll(l.path("m")))
	for c := l.next(); len(c.Problems) == 0; c = l.next() { // the file may be seen to go before the directory
		l.compare(c, "-DestinationRule myapp/a")
	}
	l.must(os.Rename(l.path("n"), l.path("m")))
	l.expect("+DestinationRule myapp/a@m/a.yaml:1")
	l.write("m/a.yaml", ruleFor("a", "c"))
	l.expect("+DestinationRule myapp/a@m/a.yaml:1")
}

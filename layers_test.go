package fairlead

import (
	"bufio"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "fairlead.dev/fairlead"

// layer is one line of docs/layers.txt.
type layer struct{ may, never []string }

// pkg is what the Go files of one directory say.
type pkg struct {
	imports    map[string]bool // non-test
	documented bool
}

// TestLayers keeps docs/layers.txt true. It parses the files itself: asking the go command would be answered from
// the test cache.
func TestLayers(t *testing.T) {
	for _, problem := range checkLayers(readLayers(t, "docs/layers.txt"), readPackages(t, ".")) {
		t.Error(problem)
	}
}

func TestCheckLayersFindsEachKindOfViolation(t *testing.T) {
	imports := func(paths ...string) pkg {
		p := pkg{imports: map[string]bool{}, documented: true}
		for _, path := range paths {
			p.imports[path] = true
		}
		return p
	}
	in := func(p string) string { return module + "/" + p }
	tests := []struct {
		name   string
		layers map[string]layer
		pkgs   map[string]pkg
		want   string
	}{
		{"clean", map[string]layer{"a": {may: []string{"b"}}, "b": {}}, map[string]pkg{"a": imports(in("b")), "b": imports("fmt")}, ""},
		{"unlisted_package", map[string]layer{}, map[string]pkg{"a": imports()}, "a: not in docs/layers.txt"},
		{"package_that_is_gone", map[string]layer{"a": {}}, map[string]pkg{}, "a: in docs/layers.txt, but has no Go files"},
		{"unlisted_import", map[string]layer{"a": {}, "b": {}}, map[string]pkg{"a": imports(in("b")), "b": imports()}, "a: imports b, which docs/layers.txt does not allow"},
		{"unused_allowance", map[string]layer{"a": {may: []string{"b"}}, "b": {}}, map[string]pkg{"a": imports(), "b": imports()}, "a: docs/layers.txt allows b, which it does not import"},
		{"twice_allowed", map[string]layer{"a": {may: []string{"b", "b"}}, "b": {}}, map[string]pkg{"a": imports(in("b")), "b": imports()}, "a: docs/layers.txt allows b twice"},
		{"no_package_comment", map[string]layer{"a": {}}, map[string]pkg{"a": {}}, "a: has no package comment"},
		{"banned_import", map[string]layer{"a": {never: []string{"net/http"}}}, map[string]pkg{"a": imports("net/http")}, "a: reaches net/http (through a)"},
		{
			"banned_import_reached_through_another",
			map[string]layer{"a": {may: []string{"b"}, never: []string{"k8s.io"}}, "b": {}},
			map[string]pkg{"a": imports(in("b")), "b": imports("k8s.io/api/core/v1")},
			"a: reaches k8s.io/api/core/v1 (through b)",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := strings.Join(checkLayers(tt.layers, tt.pkgs), "\n"); got != tt.want {
				t.Errorf("checkLayers = %q, want %q", got, tt.want)
			}
		})
	}
}

func checkLayers(layers map[string]layer, pkgs map[string]pkg) []string {
	var problems []string
	for _, name := range slices.Sorted(maps.Keys(layers)) {
		if _, ok := pkgs[name]; !ok {
			problems = append(problems, name+": in docs/layers.txt, but has no Go files")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(pkgs)) {
		p := pkgs[name]
		rule, ok := layers[name]
		if !ok {
			problems = append(problems, name+": not in docs/layers.txt")
			continue
		}
		if !p.documented {
			problems = append(problems, name+": has no package comment")
		}
		for _, path := range slices.Sorted(maps.Keys(p.imports)) {
			if own, ok := strings.CutPrefix(path, module+"/"); ok && !slices.Contains(rule.may, own) {
				problems = append(problems, name+": imports "+own+", which docs/layers.txt does not allow")
			}
		}
		for i, own := range rule.may {
			if slices.Contains(rule.may[:i], own) {
				problems = append(problems, name+": docs/layers.txt allows "+own+" twice")
			}
			if !p.imports[module+"/"+own] {
				problems = append(problems, name+": docs/layers.txt allows "+own+", which it does not import")
			}
		}
		problems = append(problems, reaches(name, rule.never, pkgs)...)
	}
	return problems
}

// reaches lists the banned imports that name has, itself or through others of this module.
func reaches(name string, never []string, pkgs map[string]pkg) []string {
	var problems []string
	seen, queue := map[string]bool{name: true}, []string{name}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for _, path := range slices.Sorted(maps.Keys(pkgs[at].imports)) {
			for _, ban := range never {
				if path == ban || strings.HasPrefix(path, ban+"/") {
					problems = append(problems, name+": reaches "+path+" (through "+at+")")
				}
			}
			if own, ok := strings.CutPrefix(path, module+"/"); ok && !seen[own] {
				seen[own] = true
				queue = append(queue, own)
			}
		}
	}
	return problems
}

func readLayers(t *testing.T, file string) map[string]layer {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	layers := map[string]layer{}
	for s := bufio.NewScanner(f); s.Scan(); {
		line := strings.TrimSpace(s.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, ok := strings.Cut(line, ":")
		if !ok {
			t.Fatalf("%s: line without a colon: %s", file, line)
		}
		var l layer
		for word := range strings.FieldsSeq(rest) {
			if ban, ok := strings.CutPrefix(word, "!"); ok {
				l.never = append(l.never, ban)
			} else {
				l.may = append(l.may, word)
			}
		}
		layers[name] = l
	}
	return layers
}

func readPackages(t *testing.T, root string) map[string]pkg {
	t.Helper()
	pkgs := map[string]pkg{}
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); path != root && (base[0] == '.' || base == "testdata" || base == "bin") {
				return fs.SkipDir
			}
			if _, err := os.Stat(filepath.Join(path, "go.mod")); path != root && err == nil {
				return fs.SkipDir // a module of its own
			}
			return nil
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || dir == "." {
			return nil
		}
		f, err := parser.ParseFile(fset, path, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		return addFile(pkgs, dir, f)
	})
	if err != nil {
		t.Fatal(err)
	}
	return pkgs
}

func addFile(pkgs map[string]pkg, dir string, f *ast.File) error {
	p := pkgs[dir]
	if p.imports == nil {
		p.imports = map[string]bool{}
	}
	p.documented = p.documented || f.Doc != nil
	for _, i := range f.Imports {
		path, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return err
		}
		p.imports[path] = true
	}
	pkgs[dir] = p
	return nil
}

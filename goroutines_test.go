package fairlead

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPackagesThatStartGoroutinesCheckThatTheyEnd: each has a TestMain that calls leaktest.Run.
func TestPackagesThatStartGoroutinesCheckThatTheyEnd(t *testing.T) {
	starts, tested, checked := map[string]bool{}, map[string]bool{}, map[string]bool{}
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.Contains(path, "testdata/") {
			return err
		}
		f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		if strings.HasSuffix(path, "_test.go") {
			tested[dir] = true
			checked[dir] = checked[dir] || calls(f, "leaktest", "Run")
		} else {
			starts[dir] = starts[dir] || startsGoroutine(f)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range slices.Sorted(maps.Keys(starts)) {
		if starts[dir] && tested[dir] && !checked[dir] {
			t.Errorf("%s starts goroutines, and no TestMain of it calls leaktest.Run", dir)
		}
	}
}

// startsGoroutine looks for a go statement or a call of a method Go.
func startsGoroutine(f *ast.File) bool {
	found := false
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = true
		case *ast.CallExpr:
			s, ok := n.Fun.(*ast.SelectorExpr)
			found = found || ok && s.Sel.Name == "Go" && len(n.Args) == 1
		}
		return !found
	})
	return found
}

// calls looks for a call of pkg.name.
func calls(f *ast.File, pkg, name string) bool {
	found := false
	ast.Inspect(f, func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return !found
		}
		x, ok := s.X.(*ast.Ident)
		found = found || ok && x.Name == pkg && s.Sel.Name == name
		return !found
	})
	return found
}

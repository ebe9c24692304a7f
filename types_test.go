package fairlead

import (
	"fmt"
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

// maxMethods is how many methods a type may have where types tend to grow: one with more is two.
const maxMethods = 25

// TestTypesStaySmall counts the methods that types declare, those of embedded ones not included.
func TestTypesStaySmall(t *testing.T) {
	for _, root := range []string{"internal", "cmd", "deploy"} {
		methods := countMethods(t, root)
		if len(methods) == 0 {
			t.Errorf("%s: no type with methods is found", root)
		}
		for _, name := range slices.Sorted(maps.Keys(methods)) {
			if n := methods[name]; n > maxMethods {
				t.Errorf("%s has %d methods, at most %d are allowed: move a subject out of it", name, n, maxMethods)
			}
		}
	}
}

// countMethods gives the number of methods by "directory.Type", for all packages below root.
func countMethods(t *testing.T, root string) map[string]int {
	t.Helper()
	out := map[string]int{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv != nil {
				out[filepath.Dir(path)+"."+receiver(fn.Recv.List[0].Type)]++
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// receiver names the type of a receiver, without its pointer and type parameters.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return "?"
}

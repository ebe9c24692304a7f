package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestEveryMetricIsDocumented looks for names of metrics in the code.
func TestEveryMetricIsDocumented(t *testing.T) {
	page, err := os.ReadFile("reference/telemetry.md")
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`^(?:fairlead|istio|pilot|citadel|galley|sidecar_injection)_[a-z_]+(?:_total|_count|_time|_seconds|_milliseconds|_bytes|_up|_lines|_proxies|_services|_rules|_routes|_splits|_problems|_configs|_passed|_failed|_build|_xds|_pushes|_rejects)$`)
	seen := 0
	err = filepath.WalkDir("../internal", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(lit.Value)
			if err != nil || !name.MatchString(text) {
				return true
			}
			seen++
			documented := strings.Contains(string(page), "`"+text)
			if rest, injection := strings.CutPrefix(text, "sidecar_injection"); injection {
				documented = documented || strings.Contains(string(page), "`"+rest+"`")
			}
			if !documented {
				t.Errorf("%s: metric %s is not in reference/telemetry.md", path, text)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 30 {
		t.Errorf("only %d names were found: the pattern fits no more", seen)
	}
}

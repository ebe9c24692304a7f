// Package docs holds no code: this test keeps the documentation true where a machine can tell.
package docs

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/cli"
)

// page is one file of documentation, named from the root of the module.
type page struct{ name, text string }

// pages reads the README, CONTRIBUTING and everything below docs.
func pages(t *testing.T) []page {
	t.Helper()
	names := []string{"README.md", "CONTRIBUTING.md"}
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".md" {
			names = append(names, filepath.Join("docs", path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	all := make([]page, 0, len(names))
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page{name, string(text)})
	}
	return all
}

// TestManifests runs every YAML block through the command that users check their manifests with. What is shown as a
// mistake is shown as text.
func TestManifests(t *testing.T) {
	dir := t.TempDir()
	found := 0
	for _, p := range pages(t) {
		for _, block := range yamlBlocks(p.text) {
			found++
			file := filepath.Join(dir, fmt.Sprintf("%s.%d.yaml", strings.ReplaceAll(p.name, "/", "_"), found))
			if err := os.WriteFile(file, []byte(block), 0o600); err != nil {
				t.Fatal(err)
			}
			var out, errs bytes.Buffer
			code := cli.Execute(t.Context(), []string{"validate", "-f", file}, cli.Streams{Out: &out, Err: &errs})
			if code != 0 || !strings.Contains(out.String(), "object") || strings.Contains(out.String(), " 0 objects") {
				t.Errorf("%s: a yaml block is no valid manifest (lines are those of the page):\n%s%s", p.name,
					strings.ReplaceAll(out.String(), file, p.name), errs.String())
			}
		}
	}
	if found == 0 {
		t.Error("no yaml block in any page")
	}
}

// yamlBlocks gives the fenced blocks of YAML, each below as many empty lines as stand before it in the page, so that
// the positions of problems are the page's.
func yamlBlocks(text string) []string {
	var blocks []string
	var block *strings.Builder
	for i, line := range strings.Split(text, "\n") {
		switch fence := strings.TrimSpace(line); {
		case block == nil && fence == "```yaml":
			block = &strings.Builder{}
			block.WriteString(strings.Repeat("\n", i+1))
		case block != nil && fence == "```":
			blocks = append(blocks, block.String())
			block = nil
		case block != nil:
			block.WriteString(line + "\n")
		}
	}
	return blocks
}

var link = regexp.MustCompile(`\[([^\]]*)\]\(([^)\s]+)\)`)

// TestLinks checks that links within the repository lead somewhere: to a file, to a heading of a page, and where the
// text of a link names something in Go (`compile.Compile`, `(*table).Apply`), to the file that declares it.
func TestLinks(t *testing.T) {
	for _, p := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(p.text, -1) {
			if strings.Contains(m[2], "://") {
				continue
			}
			if why := follow(p, m[1], m[2]); why != "" {
				t.Errorf("%s: [%s](%s): %s", p.name, m[1], m[2], why)
			}
		}
	}
}

// follow says what is wrong with a link.
func follow(p page, text, target string) string {
	path, heading, _ := strings.Cut(target, "#")
	content := p.text
	if path != "" {
		file := filepath.Join("..", filepath.Dir(p.name), filepath.FromSlash(path))
		info, err := os.Stat(file)
		if err != nil {
			return "no such file"
		}
		if info.IsDir() {
			return ""
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			return err.Error()
		}
		content = string(raw)
	}
	if heading != "" && !hasHeading(content, heading) {
		return "no such heading"
	}
	name, isCode := strings.CutPrefix(text, "`")
	if !isCode || filepath.Ext(path) != ".go" {
		return ""
	}
	name = strings.TrimSuffix(name, "`")
	name = name[strings.LastIndex(name, ".")+1:]
	if !regexp.MustCompile(`(?m)^\s*(func (\([^)]*\) )?|type |const |var )?` + regexp.QuoteMeta(name) + `\b`).MatchString(content) {
		return "the file does not declare " + name
	}
	return ""
}

// hasHeading reports whether a page has a heading with this anchor, formed as code hosts do.
func hasHeading(text, anchor string) bool {
	for line := range strings.SplitSeq(text, "\n") {
		title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " ")
		if !ok || !strings.HasPrefix(line, "#") {
			continue
		}
		slug := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
				return r
			}
			return -1
		}, strings.ToLower(title))
		if slug == anchor {
			return true
		}
	}
	return false
}

var mention = regexp.MustCompile(`\bdocs/[\w./-]+\.(?:md|txt)`)

// TestMentions checks that the pages which the code names exist.
func TestMentions(t *testing.T) {
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == "bin" || d.Name() == "dist" || strings.HasPrefix(d.Name(), ".") && d.Name() != "..") {
			return fs.SkipDir
		}
		switch filepath.Ext(path) {
		case ".go", ".yaml", ".sh", ".proto":
		default:
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, page := range mention.FindAllString(string(text), -1) {
			if _, err := os.Stat(filepath.Join("..", page)); err != nil {
				t.Errorf("%s names %s, which does not exist", path, page)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestDecisions: a decision's number is its own, counted on from the one before, and its heading says it.
func TestDecisions(t *testing.T) {
	next := 1
	for _, p := range pages(t) {
		number, is := strings.CutPrefix(p.name, "docs/adr/")
		if !is {
			continue
		}
		number, _, _ = strings.Cut(number, "-")
		if want := fmt.Sprintf("%04d", next); number != want || !strings.HasPrefix(p.text, "# "+want+" ") {
			t.Errorf("%s has the number %s and begins with %.20q, want %s: two decisions with one number, one left out, or a heading of another",
				p.name, number, p.text, want)
		}
		next++
	}
}

package docs

import (
	"slices"
	"strings"
	"testing"
)

// legend is how wide the words at the left of the picture are.
const legend = len("what they    ")

// TestPackages keeps the picture of the packages true: each is there once, above everything that it may import.
func TestPackages(t *testing.T) {
	imports := map[string][]string{} // by package, both as the picture has them
	for line := range strings.Lines(read(t, "layers.txt")) {
		name, rest, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok || strings.HasPrefix(name, "#") || !strings.HasPrefix(name, "internal/") && !strings.HasPrefix(name, "cmd/") || strings.HasSuffix(name, "test") {
			continue
		}
		imports[drawn(name)] = nil
		for word := range strings.FieldsSeq(rest) {
			if strings.HasPrefix(word, "internal/") {
				imports[drawn(name)] = append(imports[drawn(name)], drawn(word))
			}
		}
	}
	_, picture, _ := strings.Cut(read(t, "packages.md"), "```\n")
	picture, _, _ = strings.Cut(picture, "```")
	at := map[string]int{} // by package: the line
	for i, line := range strings.Split(picture, "\n") {
		line = line[min(len(line), legend):]
		for word := range strings.FieldsSeq(line) {
			if _, known := imports[word]; !known {
				continue
			}
			if at[word] > 0 {
				t.Errorf("%s is there twice", word)
			}
			at[word] = i + 1
		}
	}
	for name, below := range imports {
		if at[name] == 0 {
			t.Errorf("%s is not there", name)
		}
		for _, other := range below {
			if at[other] <= at[name] {
				t.Errorf("%s imports %s, which does not stand below it", name, other)
			}
		}
	}
	if !slices.Contains(imports["plan"], "model") {
		t.Errorf("layers.txt was not understood: %v", imports)
	}
}

// drawn is how the picture calls a package.
func drawn(name string) string { return strings.TrimPrefix(name, "internal/") }

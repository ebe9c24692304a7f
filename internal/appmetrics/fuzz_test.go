package appmetrics

import (
	"bufio"
	"bytes"
	"regexp"
	"strings"
	"testing"
)

// wellFormed are the lines that may be written, as the format's description has them.
var wellFormed = regexp.MustCompile(`^(#[ \t]+(HELP[ \t]+[a-zA-Z_:][a-zA-Z0-9_:]*([ \t].*)?|TYPE[ \t]+[a-zA-Z_:][a-zA-Z0-9_:]*[ \t]+(counter|gauge|histogram|summary|untyped)[ \t]*)` +
	`|[a-zA-Z_:][a-zA-Z0-9_:]*[ \t]*(\{[ \t]*([a-zA-Z_][a-zA-Z0-9_]*[ \t]*=[ \t]*"([^"\\\n]|\\["\\n])*"[ \t]*(,[ \t]*|\}))*\}?)?[ \t]*\S+([ \t]+-?\+?[0-9]+)?[ \t]*)$`)

// FuzzFilter: whatever an app writes, what comes of it are well-formed lines, and filtering them again changes nothing.
func FuzzFilter(f *testing.F) {
	f.Add([]byte("# HELP a b\n# TYPE a counter\na{b=\"c\",d=\"e\\\"\\n\"} 1 2\nb NaN\n"))
	f.Add([]byte("a{b=\"c\"\n{\"a\"} 1\n# EOF\n\xff 1\nistio_x 1\n"))
	f.Fuzz(func(t *testing.T, page []byte) {
		once := filtered(t, page)
		for line := range strings.Lines(once) {
			if !wellFormed.MatchString(strings.TrimSuffix(line, "\n")) {
				t.Errorf("wrote %q", line)
			}
			if strings.HasPrefix(line, "istio_") || strings.HasPrefix(line, "fairlead_") {
				t.Errorf("wrote a metric of the mesh: %q", line)
			}
		}
		if twice := filtered(t, []byte(once)); twice != once {
			t.Errorf("filtered again:\n%q, want\n%q", twice, once)
		}
	})
}

func filtered(t *testing.T, page []byte) string {
	t.Helper()
	var out bytes.Buffer
	f := filter{out: bufio.NewWriter(&out)}
	if err := f.copy(bytes.NewReader(page)); err != nil {
		t.Fatal(err)
	}
	f.out.Flush()
	return out.String()
}

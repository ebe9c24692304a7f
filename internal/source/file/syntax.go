package file

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/internal/model"
)

var (
	parserError  = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)
	bareWord     = regexp.MustCompile(`^(\s*(?:- +)?)([A-Za-z][A-Za-z0-9_]*)(\s*(?:#.*)?)$`)
	missingSpace = regexp.MustCompile(`^(\s*(?:- +)?)([A-Za-z][A-Za-z0-9_]*):([^\s/].*)$`)
	kindLine     = regexp.MustCompile(`(?m)^kind:[ \t]*([A-Za-z]+)[ \t]*$`)
	metaBlock    = regexp.MustCompile(`(?m)^meta\w*:?[ \t]*\n((?:[ \t]+.*(?:\n|$))+)`)
	nameLine     = regexp.MustCompile(`(?m)^[ \t]+name:[ \t]*([-a-z0-9.]+)[ \t]*$`)
	spaceLine    = regexp.MustCompile(`(?m)^[ \t]+namespace:[ \t]*([-a-z0-9.]+)[ \t]*$`)
)

// unparsed reports a document that is no YAML. Where one small repair makes it YAML, the repair is the advice, and
// what else is wrong with the repaired document is reported too. The document stays refused.
func (d *decoder) unparsed(c *content, doc *document, err error) {
	m, repaired := diagnose(doc, err)
	inner := &content{}
	if repaired != "" {
		fixed := *doc
		fixed.text = repaired
		d.document(inner, &fixed)
	}
	ref, named := roughRef(d, doc)
	for _, o := range inner.objects {
		ref, named = o.Ref, true
	}
	at := doc.pos(m.line)
	problem := model.Problem{Severity: model.Rejected, Field: m.path, Message: m.message, Fix: m.fix, Pos: at}
	var others []finding
	for _, f := range inner.findings {
		ref, named = f.Ref, f.named
		if f.Pos == at { // the repaired line is wrong in itself: that is the advice
			problem.Field, problem.Fix = f.Field, f.Fix
			continue
		}
		if f.Severity == model.Rejected && f.Message != missingMessage { // likely missing for the same reason
			others = append(others, f)
		}
	}
	problem.Ref = ref
	c.findings = append(c.findings, finding{Problem: problem, slot: slot{document: doc.index}, named: named})
	c.findings = append(c.findings, others...)
}

// diagnose puts a syntax error into words. repaired is the text with the likely slip undone, or "".
func diagnose(doc *document, err error) (m mistake, repaired string) {
	line, words := parserWords(err)
	m = mistake{line: min(line, 1+strings.Count(doc.text, "\n"))}
	lines := strings.SplitAfter(doc.text, "\n")
	if !strings.HasSuffix(doc.file, ".json") {
		if tab := tabLine(lines); tab > 0 {
			m.line, m.message, m.fix = tab, "a tab indents this line", "YAML is indented with spaces"
			return m, spaced(doc.text)
		}
		if found, text, ok := repair(lines, line); ok {
			return found, text
		}
	}
	switch {
	case strings.Contains(words, "could not find expected ':'"):
		m.message, m.fix = "not YAML: a `:` is missing here or in the line before", ""
	case strings.Contains(words, "did not find expected key"), strings.Contains(words, "expected '-' indicator"):
		m.message = "not YAML: this line is indented unlike those it belongs to"
	case strings.Contains(words, "mapping values are not allowed"):
		m.message, m.fix = "not YAML: a second `: ` in one value", "quote the value, or check the indentation"
	case strings.Contains(words, "cannot start any token"):
		m.message, m.fix = "not YAML: a value begins with a reserved character", "quote the value"
	case strings.Contains(words, "unexpected end of stream"):
		m.message = "not YAML: something opened here or before is never closed"
	default:
		m.message = "not YAML: " + clip(words)
	}
	return m, ""
}

// parserWords takes the parser's message apart. Its errors about structure count lines from 0, the others from 1,
// and line 0 is left out.
func parserWords(err error) (line int, words string) {
	words = err.Error()
	if m := parserError.FindStringSubmatch(words); m != nil {
		words = m[2]
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
		}
	}
	if strings.HasPrefix(words, "did not find") || line == 0 {
		line++
	}
	return line, words
}

// tabLine gives the first line indented with a tab, or 0.
func tabLine(lines []string) int {
	for i, line := range lines {
		rest := strings.TrimLeft(line, " ")
		if strings.HasPrefix(rest, "\t") && strings.TrimSpace(rest) != "" {
			return i + 1
		}
	}
	return 0
}

// spaced replaces the tabs that indent lines.
func spaced(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		rest := strings.TrimLeft(line, " \t")
		b.WriteString(strings.ReplaceAll(line[:len(line)-len(rest)], "\t", "  "))
		b.WriteString(rest)
	}
	return b.String()
}

// repair looks for one line, nearest to the reported one, that makes the text YAML once its colon, or the space
// behind its colon, is put in.
func repair(lines []string, near int) (m mistake, text string, ok bool) {
	const tries = 24
	for _, i := range outward(near-1, len(lines), tries) {
		line := strings.TrimRight(lines[i], "\r\n")
		var fixed string
		switch {
		case bareWord.MatchString(line):
			g := bareWord.FindStringSubmatch(line)
			fixed = g[1] + g[2] + ":" + g[3]
			m = mistake{message: fmt.Sprintf("%#q stands alone, without a colon", g[2]), fix: fmt.Sprintf("write `%s:`", g[2])}
		case missingSpace.MatchString(line):
			g := missingSpace.FindStringSubmatch(line)
			fixed = g[1] + g[2] + ": " + g[3]
			m = mistake{message: "no space behind the colon", fix: fmt.Sprintf("write `%s: %s`", g[2], clip(g[3]))}
		default:
			continue
		}
		text = strings.Join(lines[:i], "") + fixed + lines[i][len(line):] + strings.Join(lines[i+1:], "")
		if root, err := parse(text); err == nil && root != nil {
			m.line = i + 1
			return m, text, true
		}
	}
	return mistake{}, "", false
}

// outward lists up to most indices below n, nearest to center first.
func outward(center, n, most int) []int {
	var order []int
	for step := 0; step <= n && len(order) < most; step++ {
		if i := center - step; i >= 0 && i < n {
			order = append(order, i)
		}
		if i := center + step; step > 0 && i >= 0 && i < n {
			order = append(order, i)
		}
	}
	return order
}

// roughRef identifies a document that does not parse by the look of its lines.
func roughRef(d *decoder, doc *document) (ref model.Ref, named bool) {
	s := written{doc: doc, slot: slot{document: doc.index}}
	s.kind = group1(kindLine, doc.text)
	block := group1(metaBlock, doc.text)
	s.name, s.namespace = group1(nameLine, block), group1(spaceLine, block)
	if s.kind == "" {
		s.name = ""
	}
	return d.ref(&s, d.kinds[s.kind], false)
}

func group1(re *regexp.Regexp, text string) string {
	if m := re.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

package route

import (
	"regexp"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
)

// originalPath carries the path as the app sent it, as Envoy does.
const originalPath = "x-envoy-original-path"

// pathChange says what a rewrite does to the path.
type pathChange uint8

const (
	keepPath pathChange = iota
	replacePrefix
	replaceWhole
	replaceRegex
)

// rewrite is a model.Rewrite, ready to be applied. The zero value changes nothing.
type rewrite struct {
	authority []byte
	pathRewrite
}

// pathRewrite replaces a path, or a part of it.
type pathRewrite struct {
	change pathChange
	with   []byte // replacement; a template of package regexp for replaceRegex
	regex  *regexp.Regexp
}

func compileRewrite(r *model.Rewrite) (rewrite, error) {
	if r == nil {
		return rewrite{}, nil
	}
	out := rewrite{pathRewrite: compilePath(r.Path, r.HasPath, r.ReplacePrefix)}
	if r.Authority != "" {
		out.authority = []byte(r.Authority)
	}
	if r.Regex == "" {
		return out, nil
	}
	re, err := model.CompileSearchRegex(r.Regex)
	out.pathRewrite = pathRewrite{change: replaceRegex, with: []byte(goTemplate(r.Substitution)), regex: re}
	return out, err
}

func compilePath(path string, has, prefix bool) pathRewrite {
	switch {
	case !has:
		return pathRewrite{}
	case prefix:
		return pathRewrite{change: replacePrefix, with: []byte(path)}
	}
	return pathRewrite{change: replaceWhole, with: []byte(path)}
}

// goTemplate turns RE2's substitution (\1, \\) into that of package regexp (${1}, $$).
func goTemplate(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '$':
			b.WriteString("$$")
		case s[i] == '\\' && i+1 < len(s):
			i++
			if '0' <= s[i] && s[i] <= '9' {
				b.WriteString("${" + s[i:i+1] + "}")
				continue
			}
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func (r *Route) rewriteRequest(req *httpx.Request, authority, path *rewrite) {
	if authority.authority != nil {
		req.Authority = authority.authority
	}
	if path.change == keepPath {
		return
	}
	f := &req.Fields
	before := req.Path
	req.Path = f.Keep(r.appendPath(f.Scratch(0), &path.pathRewrite, before))
	f.Del(originalPath)
	f.AddName(originalPath, before)
}

// appendPath appends what a rewrite makes of a request target. The query stays, behind what the replacement brings.
func (r *Route) appendPath(dst []byte, w *pathRewrite, target []byte) []byte {
	path, _ := splitPath(target)
	query := target[len(path):]
	switch w.change {
	case keepPath:
		return append(dst, target...)
	case replaceWhole:
		dst = append(dst, w.with...)
	case replacePrefix:
		dst = r.when.appendReplaced(dst, w.with, path)
	case replaceRegex:
		dst = append(dst, w.regex.ReplaceAll(path, w.with)...)
	}
	return append(dst, query...)
}

// appendReplaced replaces the part of a path that the condition matched as a prefix. Envoy replaces text, so that "/a"
// by "/" makes "//b" of "/a/b"; a whole path where it matched exactly or by pattern; "/" where no path was asked for.
// Gateway API's prefixes are replaced segment by segment.
func (c *conditions) appendReplaced(dst, with, path []byte) []byte {
	rest := path[min(len(c.path.value), len(path)):]
	switch c.path.kind {
	case model.Exact, model.Regex:
		return append(dst, with...)
	case model.PathPrefix:
		return appendSegments(dst, with, rest)
	case model.Prefix:
		return append(append(dst, with...), rest...)
	case model.Present:
	}
	if len(path) > 0 && path[0] == '/' {
		path = path[1:]
	}
	return append(append(dst, with...), path...)
}

// appendSegments joins a replacement and what follows the matched segments with one slash between them: /foo replaced
// by /xyz/ makes /xyz/bar of /foo/bar, by "" or "/" makes / of /foo (HTTPPathModifier of the Gateway API reference).
func appendSegments(dst, with, rest []byte) []byte {
	for len(with) > 0 && with[len(with)-1] == '/' {
		with = with[:len(with)-1]
	}
	if len(with) == 0 && len(rest) == 0 {
		return append(dst, '/')
	}
	return append(append(dst, with...), rest...)
}

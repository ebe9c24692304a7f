package istio

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"fairlead.dev/fairlead/internal/model"
)

// pathRules reads what rules make of paths.
type pathRules struct{ headerRules }

// path refuses what cannot be a part of a request target or of a Location.
func (t pathRules) path(field, text string) {
	if !model.SendablePath(text) {
		t.Reject(field, fmt.Sprintf("%q cannot be a path: it has blanks, control characters or %q", text, "#"), "percent-encode them")
	}
}

// doubtful warns of a rewrite that makes paths which its author can hardly have meant. The matched prefix is replaced
// letter by letter, as in Istio: "/common" by "/" makes "//api" of "/common/api". Where no prefix was asked for, it is
// "/" that is replaced.
func (t pathRules) doubtful(field, uri string, matches []model.HTTPMatch) {
	if uri == "" {
		return
	}
	if uri[0] != '/' {
		t.Warn(field, fmt.Sprintf("rewrite makes paths that begin with %q, which no server takes", uri), `begin it with "/"`)
		return
	}
	for _, prefix := range replacedPrefixes(matches) {
		rest, example := "api", prefix+"api"
		if !strings.HasSuffix(prefix, "/") {
			rest, example = "/api", prefix+"/api"
		}
		var fix string
		switch slash := strings.HasSuffix(uri, "/"); {
		case slash && rest == "/api":
			fix = fmt.Sprintf("match prefix %s/ as well, before it, or write uriRegexRewrite", prefix)
		case !slash && rest == "api":
			fix = `end it with "/"`
		default:
			continue
		}
		t.Warn(field, fmt.Sprintf("rewrite makes %s of %s", uri+rest, example), fix)
		return
	}
}

// replacedPrefixes lists what a rewrite replaces at the beginning of a path. Of a path that matched as a whole nothing
// is left, and it is not among them.
func replacedPrefixes(matches []model.HTTPMatch) []string {
	if len(matches) == 0 {
		return []string{"/"}
	}
	var out []string
	for i := range matches {
		switch m := matches[i].URI; {
		case m == nil:
			out = append(out, "/")
		case m.Kind == model.Prefix && m.Value != "":
			out = append(out, m.Value)
		}
	}
	return out
}

func (t pathRules) rewrite(field string, in *networking.HTTPRewrite) *model.Rewrite {
	if in == nil {
		return nil
	}
	out := &model.Rewrite{Authority: in.GetAuthority()}
	if in.GetAuthority() != "" {
		t.authority(field+".authority", in.GetAuthority())
	}
	t.path(field+".uri", in.GetUri())
	switch regex := in.GetUriRegexRewrite(); {
	case regex != nil && in.GetUri() != "":
		t.Reject(field, "both uri and uriRegexRewrite", "keep one of them")
	case regex != nil:
		t.regexRewrite(field+".uriRegexRewrite", regex)
		out.Regex, out.Substitution = regex.GetMatch(), regex.GetRewrite()
	case in.GetUri() != "":
		out.Path, out.HasPath, out.ReplacePrefix = in.GetUri(), true, true
	case in.GetAuthority() == "":
		t.Reject(field, "nothing to rewrite", "add uri, authority or uriRegexRewrite")
	}
	return out
}

func (t pathRules) regexRewrite(field string, in *networking.RegexRewrite) {
	if in.GetMatch() == "" || in.GetRewrite() == "" {
		t.Reject(field, "match and rewrite are both needed", "write both")
		return
	}
	t.path(field+".rewrite", in.GetRewrite())
	re, err := model.CompileSearchRegex(in.GetMatch())
	if err == nil && len(in.GetMatch()) > maxPattern {
		t.Reject(field+".match", fmt.Sprintf("%d bytes; the limit is %d", len(in.GetMatch()), maxPattern), "match on less")
	}
	if err != nil {
		t.Reject(field+".match", err.Error(), "patterns are RE2 (https://github.com/google/re2/wiki/Syntax)")
		return
	}
	if loose := looseBackslash(in.GetRewrite()); loose != "" {
		t.Reject(field+".rewrite", loose+" is neither a group nor a backslash", `write \1 for what a group of match took, \\ for a backslash`)
		return
	}
	if group := maxGroup(in.GetRewrite()); group > re.NumSubexp() {
		t.Reject(field+".rewrite", fmt.Sprintf("\\%d names a group that match does not have", group),
			fmt.Sprintf("match has %d groups", re.NumSubexp()))
	}
}

// looseBackslash finds a backslash in a substitution that has no digit and no other backslash behind it, which RE2 does not take.
func looseBackslash(substitution string) string {
	for i := 0; i < len(substitution); i++ {
		if substitution[i] != '\\' {
			continue
		}
		i++
		if i == len(substitution) {
			return `\ at the end`
		}
		if c := substitution[i]; c != '\\' && (c < '0' || '9' < c) {
			return `\` + substitution[i:i+1]
		}
	}
	return ""
}

// maxGroup is the highest group that a substitution such as "/\1/\2" names.
func maxGroup(substitution string) int {
	highest := 0
	for i := 0; i+1 < len(substitution); i++ {
		if substitution[i] != '\\' {
			continue
		}
		i++
		if c := substitution[i]; '0' <= c && c <= '9' {
			highest = max(highest, int(c-'0'))
		}
	}
	return highest
}

func (t pathRules) redirect(field string, in *networking.HTTPRedirect, matches []model.HTTPMatch) *model.Redirect {
	if in == nil {
		return nil
	}
	out := &model.Redirect{Scheme: in.GetScheme(), Authority: in.GetAuthority(), Code: http.StatusMovedPermanently}
	switch {
	case in.GetUri() != "" && in.GetPrefixRewrite() != "":
		t.Reject(field, "both uri and prefixRewrite", "keep one of them")
	case in.GetPrefixRewrite() != "":
		out.Path, out.HasPath, out.ReplacePrefix = in.GetPrefixRewrite(), true, true
		if !slices.ContainsFunc(matches, matchesPrefix) {
			t.Warn(field+".prefixRewrite", "no match of the rule is a uri prefix", "match on uri.prefix")
		}
	case in.GetUri() != "":
		out.Path, out.HasPath = in.GetUri(), true
	case in.GetScheme() == "" && in.GetAuthority() == "" && in.RedirectPort == nil:
		t.Reject(field, "redirects every request to itself", "add uri, prefixRewrite, authority, scheme or port")
	}
	switch port := in.GetRedirectPort().(type) {
	case *networking.HTTPRedirect_Port:
		out.Port = t.port(field+".port", port.Port)
	case *networking.HTTPRedirect_DerivePort:
		out.PortMode = model.PortFromProtocolDefault
		if port.DerivePort == networking.HTTPRedirect_FROM_REQUEST_PORT {
			out.PortMode = model.PortFromRequestAlways
		}
	}
	t.redirectTarget(field, in)
	out.Code = t.redirectCode(field+".redirectCode", in.GetRedirectCode())
	return out
}

// redirectTarget refuses what cannot stand in a Location.
func (t pathRules) redirectTarget(field string, in *networking.HTTPRedirect) {
	t.path(field+".uri", in.GetUri())
	t.path(field+".prefixRewrite", in.GetPrefixRewrite())
	if in.GetAuthority() != "" {
		t.authority(field+".authority", in.GetAuthority())
	}
	if scheme := in.GetScheme(); scheme != "" && scheme != "http" && scheme != "https" {
		t.Reject(field+".scheme", fmt.Sprintf("%q is not a scheme", scheme), "write http or https")
	}
}

func (t pathRules) redirectCode(field string, code uint32) int {
	switch {
	case code == 0:
		return http.StatusMovedPermanently
	case code < 300 || code > 399:
		t.Reject(field, fmt.Sprintf("%d is not a redirect", code), "write 301, 302, 303, 307 or 308")
	case !slices.Contains([]uint32{301, 302, 303, 307, 308}, code):
		t.Warn(field, fmt.Sprintf("%d takes few clients elsewhere, or none", code), "write 301, 302, 303, 307 or 308")
	}
	return int(code)
}

func matchesPrefix(m model.HTTPMatch) bool { return m.URI != nil && m.URI.Kind == model.Prefix }

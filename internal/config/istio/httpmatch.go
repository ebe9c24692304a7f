package istio

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"fairlead.dev/fairlead/internal/model"
)

// matchRules reads the conditions of HTTP rules.
type matchRules struct{ scope }

// matches reads the alternatives of a rule. ok is false where there are some and none applies to the mesh.
func (t matchRules) matches(field string, in []*networking.HTTPMatchRequest) (out []model.HTTPMatch, ok bool) {
	for i, match := range in {
		at := fmt.Sprintf("%s.match[%d]", field, i)
		if match == nil {
			t.Reject(at, "empty", "write conditions, or {} for every request")
			continue
		}
		if m := t.match(at, match); appliesToMesh(match.GetGateways()) {
			out = append(out, m)
		}
	}
	return out, len(in) == 0 || len(out) > 0
}

// appliesToMesh reports whether a match with these gateways is for sidecars; the object's own list decides first.
func appliesToMesh(gateways []string) bool {
	return len(gateways) == 0 || slices.Contains(gateways, mesh)
}

func (t matchRules) match(field string, in *networking.HTTPMatchRequest) model.HTTPMatch {
	m := model.HTTPMatch{
		Name:            in.GetName(),
		URI:             t.uriMatch(field+".uri", in.GetUri()),
		Scheme:          t.stringMatch(field+".scheme", in.GetScheme()),
		Method:          t.stringMatch(field+".method", in.GetMethod()),
		Authority:       t.stringMatch(field+".authority", in.GetAuthority()),
		Headers:         t.headerMatches(field+".headers", in.GetHeaders(), requiredHeader),
		Query:           t.queryMatches(field+".queryParams", in.GetQueryParams()),
		Port:            t.optionalPort(field+".port", in.GetPort()),
		SourceLabels:    maps.Clone(in.GetSourceLabels()),
		SourceNamespace: in.GetSourceNamespace(),
		StatPrefix:      in.GetStatPrefix(),
	}
	for _, without := range t.headerMatches(field+".withoutHeaders", in.GetWithoutHeaders(), absentHeader) {
		without.Invert = true
		m.Headers = append(m.Headers, without)
	}
	if m.URI != nil && (m.URI.Kind == model.Exact || m.URI.Kind == model.Prefix) {
		m.URI.IgnoreCase = in.GetIgnoreUriCase()
	}
	t.labels(field+".sourceLabels", in.GetSourceLabels())
	t.gatewayNames(field+".gateways", in.GetGateways())
	if in.GetSourceNamespace() != "" && !isLabel(in.GetSourceNamespace()) {
		t.Reject(field+".sourceNamespace", fmt.Sprintf("%q is not a namespace", in.GetSourceNamespace()), "")
	}
	return t.withGateways(field, in, m)
}

// withGateways drops the source conditions of a match that names gateways: Istio reads them for sidecars only where
// gateways is not set.
func (t matchRules) withGateways(field string, in *networking.HTTPMatchRequest, m model.HTTPMatch) model.HTTPMatch {
	if !slices.Contains(in.GetGateways(), mesh) || len(m.SourceLabels) == 0 && m.SourceNamespace == "" {
		return m
	}
	t.Warn(field+".gateways", "sourceLabels and sourceNamespace have no effect beside gateways, as in Istio", `remove gateways: ["mesh"]`)
	m.SourceLabels, m.SourceNamespace = nil, ""
	return m
}

// comparable refuses patterns in the matches of rules that delegate and of those that stand in their place, as Istio does: nothing
// would say which of two patterns is the narrower one.
func (t matchRules) comparable(field string, in []*networking.HTTPMatchRequest) {
	for i, match := range in {
		at := fmt.Sprintf("%s.match[%d]", field, i)
		parts := map[string]*networking.StringMatch{
			".uri": match.GetUri(), ".scheme": match.GetScheme(), ".method": match.GetMethod(), ".authority": match.GetAuthority(),
		}
		for list, named := range map[string]map[string]*networking.StringMatch{
			".headers": match.GetHeaders(), ".withoutHeaders": match.GetWithoutHeaders(), ".queryParams": match.GetQueryParams(),
		} {
			for name, m := range named {
				parts[list+"["+name+"]"] = m
			}
		}
		for _, part := range sortedKeys(parts) {
			if _, pattern := parts[part].GetMatchType().(*networking.StringMatch_Regex); pattern {
				t.Reject(at+part+".regex", "a pattern cannot go with delegation, on neither side", "write exact or prefix")
			}
		}
	}
}

// headerRole says what a header match is for.
type headerRole uint8

const (
	requiredHeader headerRole = iota + 1
	// absentHeader is one of withoutHeaders, where Istio takes the regex "*" for "any".
	absentHeader
)

func (t matchRules) headerMatches(field string, in map[string]*networking.StringMatch, role headerRole) []model.NamedMatch {
	var out []model.NamedMatch
	for _, name := range sortedKeys(in) {
		at := field + "[" + name + "]"
		switch {
		case strings.HasPrefix(name, "@request.auth.claims") && t.gatewayOnly:
		case strings.HasPrefix(name, "@request.auth.claims"):
			t.Reject(at, "JWT claims are known at gateways only", "match on a header that the application sets")
		case !isMatchName(name):
			t.Reject(at, fmt.Sprintf("%q is not a header name", name), `header names consist of letters, digits, "-" and "_"`)
		case in[name] == nil && role == requiredHeader:
			t.Reject(at, "nothing to compare with", "write exact, prefix or regex, or {} for any value")
		}
		if role == absentHeader && in[name].GetRegex() == "*" {
			out = append(out, model.NamedMatch{Name: name, Match: model.StringMatch{Kind: model.Present}})
			continue
		}
		out = append(out, t.namedMatch(at, name, in[name]))
	}
	return out
}

// isMatchName reports whether Istio takes s for a header name in a match.
func isMatchName(s string) bool { return s != "" && onlyOf(s, isAlphanumeric, "-_") }

func (t matchRules) queryMatches(field string, in map[string]*networking.StringMatch) []model.NamedMatch {
	var out []model.NamedMatch
	for _, name := range sortedKeys(in) {
		out = append(out, t.namedMatch(field+"["+name+"]", name, in[name]))
	}
	return out
}

func (t matchRules) namedMatch(field, name string, in *networking.StringMatch) model.NamedMatch {
	match := t.stringMatch(field, in)
	if match == nil {
		match = &model.StringMatch{Kind: model.Present}
	}
	return model.NamedMatch{Name: name, Match: *match}
}

// uriMatch is stringMatch for paths, of which every one begins with the empty prefix.
func (t matchRules) uriMatch(field string, in *networking.StringMatch) *model.StringMatch {
	if m, ok := in.GetMatchType().(*networking.StringMatch_Prefix); ok && m.Prefix == "" {
		return &model.StringMatch{Kind: model.Prefix}
	}
	return t.stringMatch(field, in)
}

// stringMatch gives nil where nothing is asked of the value.
func (t matchRules) stringMatch(field string, in *networking.StringMatch) *model.StringMatch {
	switch m := in.GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		return &model.StringMatch{Kind: model.Exact, Value: m.Exact}
	case *networking.StringMatch_Prefix:
		if m.Prefix == "" {
			t.Reject(field+".prefix", "empty", "write {} for any value")
		}
		return &model.StringMatch{Kind: model.Prefix, Value: m.Prefix}
	case *networking.StringMatch_Regex:
		t.regex(field+".regex", m.Regex)
		return &model.StringMatch{Kind: model.Regex, Value: m.Regex}
	}
	return nil
}

// maxPattern is Istio's limit for regular expressions, in bytes.
const maxPattern = 1024

func (t matchRules) regex(field, pattern string) {
	_, err := model.CompileRegex(pattern)
	switch {
	case pattern == "":
		t.Reject(field, "empty", `write ".*" for any value`)
	case len(pattern) > maxPattern:
		t.Reject(field, fmt.Sprintf("%d bytes; the limit is %d", len(pattern), maxPattern), "match on less, or by several matches")
	case err != nil:
		t.Reject(field, err.Error(), "patterns are RE2 (https://github.com/google/re2/wiki/Syntax) and match the whole value")
	}
}

package gwapi

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.dev/fairlead/internal/model"
)

// everyPath is the match of a rule that says nothing.
func everyPath() model.HTTPMatch {
	return model.HTTPMatch{URI: &model.StringMatch{Kind: model.PathPrefix, Value: "/"}}
}

func (t httpRules) match(field string, in *gatewayv1.HTTPRouteMatch) model.HTTPMatch {
	m := everyPath()
	if in.Path != nil {
		m.URI = t.path(field+".path", in.Path)
	}
	if in.Method != nil {
		m.Method = &model.StringMatch{Kind: model.Exact, Value: string(*in.Method)}
		if !slices.Contains(methods(), string(*in.Method)) {
			t.Reject(field+".method", fmt.Sprintf("%q is not a method", *in.Method), "write one of "+strings.Join(methods(), ", "))
		}
	}
	for i := range in.Headers {
		h := &in.Headers[i]
		at := fmt.Sprintf("%s.headers[%d]", field, i)
		if !isToken(string(h.Name)) {
			t.Reject(at+".name", fmt.Sprintf("%q is not a header name", h.Name), "")
		}
		kind := value(h.Type, gatewayv1.HeaderMatchExact)
		m.Headers = t.named(m.Headers, at, namedInput{string(h.Name), kind, h.Value}, strings.EqualFold)
	}
	for i := range in.QueryParams {
		q := &in.QueryParams[i]
		at := fmt.Sprintf("%s.queryParams[%d]", field, i)
		if q.Name == "" {
			t.Reject(at+".name", "no name", "name the parameter")
		}
		kind := value(q.Type, gatewayv1.QueryParamMatchExact)
		m.Query = t.named(m.Query, at, namedInput{string(q.Name), kind, q.Value}, func(a, b string) bool { return a == b })
	}
	return m
}

// methods lists what the specification lets a match name.
func methods() []string {
	return []string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodConnect,
		http.MethodOptions, http.MethodTrace, http.MethodPatch,
	}
}

// namedInput is a match on a header or a query parameter; both kinds of match are spelled alike.
type namedInput struct{ name, kind, value string }

// named adds a match. A name that is there already has no effect: "only the first entry with an equivalent name MUST be
// considered".
func (t *route) named(list []model.NamedMatch, field string, in namedInput, same func(a, b string) bool) []model.NamedMatch {
	if slices.ContainsFunc(list, func(m model.NamedMatch) bool { return same(m.Name, in.name) }) {
		t.Warn(field+".name", fmt.Sprintf("%q is there twice: only the first counts", in.name), "remove one")
		return list
	}
	m := model.StringMatch{Kind: model.Exact, Value: in.value}
	switch in.kind {
	case "Exact":
	case "RegularExpression":
		m.Kind = model.Regex
		t.regex(field+".value", in.value)
	default:
		t.Reject(field+".type", fmt.Sprintf("%q is not a type of match", in.kind), "write Exact or RegularExpression")
	}
	return append(list, model.NamedMatch{Name: in.name, Match: m})
}

// pathForm is what the specification lets an Exact or PathPrefix value consist of.
var pathForm = regexp.MustCompile(`^/(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})*$`)

func (t httpRules) path(field string, in *gatewayv1.HTTPPathMatch) *model.StringMatch {
	m := &model.StringMatch{Value: value(in.Value, "/")}
	switch kind := gatewayv1.PathMatchType(value(in.Type, gatewayv1.PathMatchPathPrefix)); kind {
	case gatewayv1.PathMatchExact:
		m.Kind = model.Exact
		t.plainPath(field+".value", m.Value)
	case gatewayv1.PathMatchPathPrefix:
		m.Kind = model.PathPrefix
		t.plainPath(field+".value", m.Value)
	case gatewayv1.PathMatchRegularExpression:
		m.Kind = model.Regex
		t.regex(field+".value", m.Value)
	default:
		t.Reject(field+".type", fmt.Sprintf("%q is not a type of match", kind), "write Exact, PathPrefix or RegularExpression")
	}
	return m
}

// plainPath refuses paths that a request never has once it is normalised.
func (t httpRules) plainPath(field, path string) {
	const fix = `write an absolute path without "//", "/./", "/../", "%2f" and "#"`
	bad := !pathForm.MatchString(path) || strings.HasSuffix(path, "/..") || strings.HasSuffix(path, "/.")
	for _, part := range []string{"//", "/./", "/../", "%2f", "%2F"} {
		bad = bad || strings.Contains(path, part)
	}
	if bad {
		t.Reject(field, fmt.Sprintf("%q is not a path", path), fix)
	}
}

// regex reports whether a pattern is one.
func (t *route) regex(field, pattern string) bool {
	_, err := model.CompileRegex(pattern)
	if err != nil {
		t.Reject(field, err.Error(), "patterns are RE2 (https://github.com/google/re2/wiki/Syntax) and match the whole value")
	}
	return err == nil
}

// tokenForm is a header name (RFC 9110 §5.6.2).
var tokenForm = regexp.MustCompile("^[-!#$%&'*+.^_`|~0-9A-Za-z]+$")

func isToken(s string) bool { return tokenForm.MatchString(s) }

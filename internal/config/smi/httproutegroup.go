package smi

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/model"
)

// HTTPRouteGroup is the object of v1alpha3 and v1alpha4, which differ in nothing that is read here.
type HTTPRouteGroup struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec HTTPRouteGroupSpec `json:"spec"`
}

// HTTPRouteGroupSpec describes requests: those that one of Matches is for.
type HTTPRouteGroupSpec struct {
	Matches []HTTPMatch `json:"matches"`
}

// HTTPMatch is for requests that all of its parts are for.
type HTTPMatch struct {
	Name string `json:"name"`
	// PathRegex is anchored to the beginning of the path, and to nothing else.
	PathRegex string `json:"pathRegex,omitempty"`
	// Methods are alternatives; "*" is every method, and so is an empty list.
	Methods []string `json:"methods,omitempty"`
	Headers Headers  `json:"headers,omitempty"`
}

// Headers holds a pattern for each header. It is written as one mapping, as the API's types have it, or as a list of mappings, as
// most examples of its specification do.
type Headers map[string]string

// UnmarshalJSON implements json.Unmarshaler.
func (h *Headers) UnmarshalJSON(text []byte) error {
	var one map[string]string
	if json.Unmarshal(text, &one) == nil {
		*h = one
		return nil
	}
	var list []map[string]string
	if err := json.Unmarshal(text, &list); err != nil {
		return fmt.Errorf("headers: a mapping of names to patterns is expected: %w", err)
	}
	out := Headers{}
	for _, part := range list {
		for name, pattern := range part {
			if _, twice := out[name]; twice {
				return fmt.Errorf("headers: %q is there twice", name)
			}
			out[name] = pattern
		}
	}
	*h = out
	return nil
}

// ReadGroup gives what an HTTPRouteGroup means.
func ReadGroup(in *HTTPRouteGroup) (*model.RouteGroup, []model.Problem) {
	key := model.Key{Namespace: cmp.Or(in.Namespace, metav1.NamespaceDefault), Name: in.Name}
	t := &group{Report: model.Report{Ref: model.Ref{Kind: "HTTPRouteGroup", Key: key}}}
	out := &model.RouteGroup{Ref: t.Ref}
	if len(in.Spec.Matches) == 0 {
		t.Reject("spec.matches", "no matches", "describe the requests that are meant")
	}
	names := map[string]bool{}
	for i := range in.Spec.Matches {
		m, field := &in.Spec.Matches[i], fmt.Sprintf("spec.matches[%d]", i)
		switch {
		case m.Name == "":
			t.Reject(field+".name", "no name", "name the match")
		case names[m.Name]:
			t.Reject(field+".name", fmt.Sprintf("%q is there twice", m.Name), "names of matches are their keys")
		}
		names[m.Name] = true
		out.Matches = append(out.Matches, t.match(field, m))
	}
	if t.Rejected() {
		return nil, t.Problems
	}
	return out, t.Problems
}

// group reads the parts of an HTTPRouteGroup.
type group struct{ model.Report }

// token is a method or a header's name (RFC 9110 §5.6.2).
var token = regexp.MustCompile("^[-!#$%&'*+.^_`|~0-9A-Za-z]+$")

func (t *group) match(field string, in *HTTPMatch) model.HTTPMatch {
	out := model.HTTPMatch{Name: in.Name, Method: t.methods(field+".methods", in.Methods)}
	if in.PathRegex != "" && t.regex(field+".pathRegex", in.PathRegex) {
		whole := "(?:" + in.PathRegex + ")(?s:.*)"
		t.regex(field+".pathRegex", whole) // may be too long
		out.URI = &model.StringMatch{Kind: model.Regex, Value: whole}
	}
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(in.Headers)) {
		at, lower := fmt.Sprintf("%s.headers[%s]", field, name), strings.ToLower(name)
		switch {
		case !token.MatchString(name):
			t.Reject(at, fmt.Sprintf("%q is not a header name", name), "")
		case seen[lower]:
			t.Reject(at, fmt.Sprintf("%q is there twice", lower), "header names have no case")
		case t.regex(at, in.Headers[name]):
			out.Headers = append(out.Headers, model.NamedMatch{Name: lower, Match: model.StringMatch{Kind: model.Regex, Value: in.Headers[name]}})
		}
		seen[lower] = true
	}
	return out
}

// methods gives one match for alternatives, nil for every method.
func (t *group) methods(field string, in []string) *model.StringMatch {
	var names []string
	for i, m := range in {
		if m != "*" && !token.MatchString(m) {
			t.Reject(fmt.Sprintf("%s[%d]", field, i), fmt.Sprintf("%q is not a method", m), `write one such as "GET", or "*"`)
		}
		names = append(names, regexp.QuoteMeta(m))
	}
	switch {
	case len(in) == 0 || slices.Contains(in, "*"):
		return nil
	case len(in) == 1:
		return &model.StringMatch{Kind: model.Exact, Value: in[0]}
	}
	return &model.StringMatch{Kind: model.Regex, Value: strings.Join(names, "|")}
}

func (t *group) regex(field, pattern string) bool {
	_, err := model.CompileRegex(pattern)
	if err != nil {
		t.Reject(field, err.Error(), "patterns are RE2 (https://github.com/google/re2/wiki/Syntax)")
	}
	return err == nil
}

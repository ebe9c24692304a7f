package istio

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"fairlead.dev/fairlead/internal/model"
)

// cors reads a CORS policy.
func (t virtualService) cors(field string, in *networking.CorsPolicy) *model.CORS {
	if in == nil {
		return nil
	}
	out := &model.CORS{
		Origins: t.origins(field, in),
		Methods: strings.Join(in.GetAllowMethods(), ","),
		Headers: strings.Join(in.GetAllowHeaders(), ","),
		Expose:  strings.Join(in.GetExposeHeaders(), ","),
		MaxAge:  t.duration(field+".maxAge", in.GetMaxAge()), Credentials: in.GetAllowCredentials().GetValue(),
		Ignore: in.GetUnmatchedPreflights() == networking.CorsPolicy_IGNORE,
	}
	t.allowed(field, in)
	if out.MaxAge%time.Second != 0 {
		t.Reject(field+".maxAge", fmt.Sprintf("%s is finer than a second", out.MaxAge), "write whole seconds")
	}
	return out
}

// origins reads which origins may read answers. The list of old, allowOrigin, counts where the other is empty, as in Istio.
func (t virtualService) origins(field string, in *networking.CorsPolicy) []model.StringMatch {
	var out []model.StringMatch
	for i, origin := range in.GetAllowOrigins() {
		at := fmt.Sprintf("%s.allowOrigins[%d]", field, i)
		if origin.GetExact() == "" && origin.GetPrefix() == "" && origin.GetRegex() == "" {
			t.Reject(at, "no origin", "write exact, prefix or regex")
			continue
		}
		if m := t.stringMatch(at, origin); m != nil {
			out = append(out, *m)
		}
	}
	old := in.GetAllowOrigin() //nolint:staticcheck // deprecated and still written
	for _, origin := range old {
		if len(in.GetAllowOrigins()) == 0 {
			out = append(out, model.StringMatch{Kind: model.Exact, Value: origin})
		}
	}
	switch {
	case len(in.GetAllowOrigins()) > 0 && len(old) > 0:
		t.Warn(field+".allowOrigin", "has no effect beside allowOrigins", "move its origins there")
	case len(out) == 0 && !t.Rejected():
		t.Warn(field, "no allowOrigins: no page of another origin may read an answer", "list the origins")
	}
	return out
}

// allowed checks the lists of methods and headers.
func (t virtualService) allowed(field string, in *networking.CorsPolicy) {
	methods := []string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace,
	}
	for i, method := range in.GetAllowMethods() {
		if !slices.Contains(methods, method) {
			t.Reject(fmt.Sprintf("%s.allowMethods[%d]", field, i), fmt.Sprintf("%q is not a method", method), `such as "GET"`)
		}
	}
	for _, list := range []struct {
		name  string
		names []string
	}{{"allowHeaders", in.GetAllowHeaders()}, {"exposeHeaders", in.GetExposeHeaders()}} {
		for i, name := range list.names {
			if name != "*" && !isMatchName(name) {
				t.Reject(fmt.Sprintf("%s.%s[%d]", field, list.name, i), fmt.Sprintf("%q is not a header name", name), "")
			}
		}
	}
}

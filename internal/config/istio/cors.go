package istio

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	networking "istio.io/api/networking/v1alpha3"
)

// cors checks a CORS policy, which is not obeyed: a mistake in it would otherwise wait for the day on which it is.
func (t virtualService) cors(field string, in *networking.CorsPolicy) {
	if in == nil {
		return
	}
	t.Unsupported(field)
	for i, origin := range in.GetAllowOrigins() {
		at := fmt.Sprintf("%s.allowOrigins[%d]", field, i)
		if origin.GetExact() == "" && origin.GetPrefix() == "" && origin.GetRegex() == "" {
			t.Reject(at, "no origin", "write exact, prefix or regex")
			continue
		}
		t.stringMatch(at, origin)
	}
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
	if age := t.duration(field+".maxAge", in.GetMaxAge()); age%time.Second != 0 {
		t.Reject(field+".maxAge", fmt.Sprintf("%s is finer than a second", age), "write whole seconds")
	}
}

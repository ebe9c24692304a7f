package gwapi

import (
	"fmt"
	"regexp"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.dev/fairlead/internal/model"
)

// HTTPRoute reads an HTTPRoute. One without a Service among its parents is
// another controller's and gives an empty RouteSet.
func HTTPRoute(in *gatewayv1.HTTPRoute, clusterDomain string) (*model.RouteSet, []model.Problem) {
	t, set := newRoute("HTTPRoute", &in.ObjectMeta, clusterDomain)
	if !t.attach(&in.Spec.CommonRouteSpec, in.Spec.Hostnames, set) {
		return t.result(set)
	}
	for i := range in.Spec.Rules {
		set.HTTP = append(set.HTTP, httpRules{t}.rule(fmt.Sprintf("spec.rules[%d]", i), &in.Spec.Rules[i]))
	}
	t.linkerd(in.Annotations, model.LinkerdTakes{HTTP: true}, set)
	if len(in.Spec.Rules) == 0 {
		set.HTTP = []model.HTTPRule{{Field: "spec.rules", Matches: []model.HTTPMatch{everyPath()}}}
	}
	return t.result(set)
}

// httpRules reads what only the rules of an HTTPRoute have.
type httpRules struct{ *route }

func (t httpRules) rule(field string, in *gatewayv1.HTTPRouteRule) model.HTTPRule {
	rule := model.HTTPRule{Name: value(in.Name, ""), Field: field}
	for i := range in.Matches {
		rule.Matches = append(rule.Matches, t.match(fmt.Sprintf("%s.matches[%d]", field, i), &in.Matches[i]))
	}
	if len(in.Matches) == 0 {
		rule.Matches = []model.HTTPMatch{everyPath()}
	}
	filters := t.filters(field, in.Filters, rule.Matches)
	rule.Headers, rule.Rewrite, rule.Redirect, rule.Mirrors = filters.headers, filters.rewrite, filters.redirect, filters.mirrors
	rule.CORS = filters.cors
	if rule.Unsupported = filters.unsupported; rule.Unsupported != "" {
		rule.Redirect = nil
	}
	if rule.Redirect != nil && len(in.BackendRefs) > 0 {
		t.Reject(field+".backendRefs", "cannot go with a RequestRedirect filter", "remove one of them")
	}
	for i := range in.BackendRefs {
		rule.Backends = append(rule.Backends, t.backend(fmt.Sprintf("%s.backendRefs[%d]", field, i), &in.BackendRefs[i], rule.Matches))
	}
	rule.Timeout, rule.BackendTimeout = t.timeouts(field+".timeouts", in.Timeouts)
	rule.Retry = t.retry(field+".retry", in.Retry)
	rule.Session = t.session(field+".sessionPersistence", in.SessionPersistence)
	return rule
}

func (t httpRules) backend(field string, in *gatewayv1.HTTPBackendRef, matches []model.HTTPMatch) model.WeightedBackend {
	b := t.weighted(field, &in.BackendRef)
	t.backendFilters(&b, t.filters(field, in.Filters, matches))
	return b
}

func (t httpRules) timeouts(field string, in *gatewayv1.HTTPRouteTimeouts) (request, backend time.Duration) {
	if in == nil {
		return 0, 0
	}
	request = t.duration(field+".request", in.Request)
	backend = t.duration(field+".backendRequest", in.BackendRequest)
	if request > 0 && backend > request {
		t.Reject(field+".backendRequest", fmt.Sprintf("%s is longer than request: %s", backend, request), "make it shorter")
	}
	return request, backend
}

// defaultAttempts is how often a request is tried again where the route asks for retries without saying how often.
const defaultAttempts = 2

// retry reads the retry stanza. Broken connections are retried where the request was provably not processed; the
// status codes are those that the user wrote.
func (t httpRules) retry(field string, in *gatewayv1.HTTPRouteRetry) *model.Retry {
	if in == nil {
		return nil
	}
	out := &model.Retry{
		Attempts: number(in.Attempts, defaultAttempts),
		Backoff:  t.duration(field+".backoff", in.Backoff),
		On:       []string{"connect-failure", "refused-stream", "reset-before-request"},
	}
	if out.Attempts < 0 {
		t.Reject(field+".attempts", fmt.Sprintf("%d is negative", out.Attempts), "write 0 to switch retries off")
	}
	for i, code := range in.Codes {
		if code < 400 || code > 599 {
			t.Reject(fmt.Sprintf("%s.codes[%d]", field, i), fmt.Sprintf("%d is not an error status", code), "write a number from 400 to 599")
		}
		out.Codes = append(out.Codes, int(code))
	}
	return out
}

// durationForm is GEP-2257: up to four numbers with units.
var durationForm = regexp.MustCompile(`^(\d{1,5}(h|m|s|ms)){1,4}$`)

// duration reads a GEP-2257 duration; 0 switches a timeout off, as does leaving it out.
func (t *route) duration(field string, in *gatewayv1.Duration) time.Duration {
	if in == nil {
		return 0
	}
	d, err := time.ParseDuration(string(*in))
	if err != nil || !durationForm.MatchString(string(*in)) {
		t.Reject(field, fmt.Sprintf("%q is not a duration", *in), `write it like "1m30s" or "300ms"`)
	}
	return d
}

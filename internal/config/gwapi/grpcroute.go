package gwapi

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.dev/fairlead/internal/model"
)

// GRPCRoute reads a GRPCRoute. A call is the request POST /service/method, so a match on these is a match on the path.
// One without a Service among its parents is
// another controller's and gives an empty RouteSet.
func GRPCRoute(in *gatewayv1.GRPCRoute, clusterDomain string) (*model.RouteSet, []model.Problem) {
	t, set := newRoute("GRPCRoute", &in.ObjectMeta, clusterDomain)
	if !t.attach(&in.Spec.CommonRouteSpec, in.Spec.Hostnames, set) {
		return t.result(set)
	}
	for i := range in.Spec.Rules {
		set.HTTP = append(set.HTTP, grpcRules{t}.rule(fmt.Sprintf("spec.rules[%d]", i), &in.Spec.Rules[i]))
	}
	t.linkerd(in.Annotations, model.LinkerdTakes{GRPC: true}, set)
	if len(in.Spec.Rules) == 0 {
		set.HTTP = []model.HTTPRule{{Field: "spec.rules", Matches: []model.HTTPMatch{everyPath()}}}
	}
	return t.result(set)
}

// grpcRules reads what only the rules of a GRPCRoute have.
type grpcRules struct{ *route }

func (t grpcRules) rule(field string, in *gatewayv1.GRPCRouteRule) model.HTTPRule {
	rule := model.HTTPRule{Name: value(in.Name, ""), Field: field}
	for i := range in.Matches {
		rule.Matches = append(rule.Matches, t.grpcMatch(fmt.Sprintf("%s.matches[%d]", field, i), &in.Matches[i]))
	}
	if len(in.Matches) == 0 {
		rule.Matches = []model.HTTPMatch{everyPath()}
	}
	f := t.grpcFilters(field, in.Filters)
	rule.Headers, rule.Rewrite, rule.Mirrors, rule.Unsupported = f.headers, f.rewrite, f.mirrors, f.unsupported
	for i := range in.BackendRefs {
		ref := &in.BackendRefs[i]
		at := fmt.Sprintf("%s.backendRefs[%d]", field, i)
		b := t.weighted(at, &ref.BackendRef)
		t.backendFilters(&b, t.grpcFilters(at, ref.Filters))
		rule.Backends = append(rule.Backends, b)
	}
	rule.Session = t.session(field+".sessionPersistence", in.SessionPersistence)
	return rule
}

// grpcFilters reads filters, which have the form of an HTTPRoute's; there are just fewer.
func (t grpcRules) grpcFilters(field string, in []gatewayv1.GRPCRouteFilter) filters {
	known := []gatewayv1.GRPCRouteFilterType{
		gatewayv1.GRPCRouteFilterRequestHeaderModifier, gatewayv1.GRPCRouteFilterResponseHeaderModifier,
		gatewayv1.GRPCRouteFilterRequestMirror, gatewayv1.GRPCRouteFilterExtensionRef,
	}
	list := make([]gatewayv1.HTTPRouteFilter, 0, len(in))
	for i := range in {
		f := &in[i]
		if !slices.Contains(known, f.Type) {
			t.Reject(fmt.Sprintf("%s.filters[%d].type", field, i), fmt.Sprintf("%q is not a filter of a GRPCRoute", f.Type), "")
			continue
		}
		list = append(list, gatewayv1.HTTPRouteFilter{
			Type:                  gatewayv1.HTTPRouteFilterType(f.Type),
			RequestHeaderModifier: f.RequestHeaderModifier, ResponseHeaderModifier: f.ResponseHeaderModifier,
			RequestMirror: f.RequestMirror, ExtensionRef: f.ExtensionRef,
		})
	}
	return t.filters(field, list, nil)
}

func (t grpcRules) grpcMatch(field string, in *gatewayv1.GRPCRouteMatch) model.HTTPMatch {
	m := everyPath()
	if in.Method != nil {
		m.URI = t.grpcMethod(field+".method", in.Method)
	}
	for i := range in.Headers {
		h := &in.Headers[i]
		at := fmt.Sprintf("%s.headers[%d]", field, i)
		if !isToken(string(h.Name)) {
			t.Reject(at+".name", fmt.Sprintf("%q is not a header name", h.Name), "")
		}
		kind := value(h.Type, gatewayv1.GRPCHeaderMatchExact)
		m.Headers = t.named(m.Headers, at, namedInput{string(h.Name), kind, h.Value}, strings.EqualFold)
	}
	return m
}

// What a name may consist of, by the API's own validation: a service is a dotted name, a method one part of it.
var (
	serviceForm = regexp.MustCompile(`^\.?[A-Za-z_][A-Za-z_0-9]*(\.[A-Za-z_][A-Za-z_0-9]*)*$`)
	methodForm  = regexp.MustCompile(`^[A-Za-z_][A-Za-z_0-9]*$`)
)

// anyName is the pattern of a service or method that is not said.
const anyName = "[^/]+"

// grpcMethod turns service and method into a match on the path (gRPC over HTTP/2, "Path").
func (t grpcRules) grpcMethod(field string, in *gatewayv1.GRPCMethodMatch) *model.StringMatch {
	service, method := text(in.Service), text(in.Method)
	if service == "" && method == "" {
		t.Reject(field, "neither service nor method", "name one of them, or leave the match out")
	}
	switch kind := gatewayv1.GRPCMethodMatchType(value(in.Type, gatewayv1.GRPCMethodMatchExact)); kind {
	case gatewayv1.GRPCMethodMatchExact:
		t.plainName(field+".service", service, serviceForm)
		t.plainName(field+".method", method, methodForm)
	case gatewayv1.GRPCMethodMatchRegularExpression:
		whole := "/" + nameRegex(service) + "/" + nameRegex(method)
		if t.regex(field+".service", service) && t.regex(field+".method", method) {
			t.regex(field, whole) // together they may be too long
		}
		return &model.StringMatch{Kind: model.Regex, Value: whole}
	default:
		t.Reject(field+".type", fmt.Sprintf("%q is not a type of match", kind), "write Exact or RegularExpression")
	}
	switch {
	case service == "":
		return &model.StringMatch{Kind: model.Regex, Value: "/" + anyName + "/" + method}
	case method == "":
		return &model.StringMatch{Kind: model.Prefix, Value: "/" + service + "/"}
	}
	return &model.StringMatch{Kind: model.Exact, Value: "/" + service + "/" + method}
}

func (t grpcRules) plainName(field, name string, form *regexp.Regexp) {
	if name != "" && !form.MatchString(name) {
		t.Reject(field, fmt.Sprintf("%q is not a name", name), `names consist of letters, digits and "_", those of services of several with dots between`)
	}
}

func nameRegex(pattern string) string {
	if pattern == "" {
		return anyName
	}
	return "(?:" + pattern + ")"
}

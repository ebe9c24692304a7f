package gwapi

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.dev/fairlead/internal/model"
)

// HTTPRoute reads an HTTPRoute. One without a Service among its parents gives a RouteSet without hosts.
func HTTPRoute(in *gatewayv1.HTTPRoute, clusterDomain string) (*model.RouteSet, []model.Problem) {
	namespace := cmp.Or(in.Namespace, metav1.NamespaceDefault)
	t := &httpRoute{
		Report:        model.Report{Ref: model.Ref{Kind: "HTTPRoute", Key: model.Key{Namespace: namespace, Name: in.Name}}},
		clusterDomain: clusterDomain,
	}
	set := &model.RouteSet{Ref: t.Ref, CreatedAt: in.CreationTimestamp.Time}
	t.parents(in.Spec.ParentRefs, set)
	if len(in.Spec.Hostnames) > 0 && len(set.Parents) > 0 {
		t.Warn("spec.hostnames", "has no effect for a Service parent (GEP-1426)", `match on the header "Host" instead`)
	}
	for i := range in.Spec.Rules {
		set.HTTP = append(set.HTTP, t.rule(fmt.Sprintf("spec.rules[%d]", i), &in.Spec.Rules[i]))
	}
	if len(in.Spec.Rules) == 0 {
		set.HTTP = []model.HTTPRule{{Field: "spec.rules", Matches: []model.HTTPMatch{everyPath()}}}
	}
	if t.Rejected() {
		return nil, t.Problems
	}
	return set, t.Problems
}

// httpRoute reads the parts of an HTTPRoute.
type httpRoute struct {
	model.Report

	clusterDomain string
}

// parents reads the Services that the route is attached to.
func (t *httpRoute) parents(in []gatewayv1.ParentReference, set *model.RouteSet) {
	consumers := false
	for i := range in {
		p := &in[i]
		field := fmt.Sprintf("spec.parentRefs[%d]", i)
		group, kind := value(p.Group, gatewayv1.GroupName), value(p.Kind, "Gateway")
		if group != "" || kind != "Service" {
			if group != gatewayv1.GroupName || kind != "Gateway" {
				t.Warn(field, fmt.Sprintf("a parent of kind %s is not supported by Fairlead: the route is not attached to it", kindName(group, kind)),
					`attach it to a Service: group: "", kind: Service`)
			}
			continue
		}
		service := model.Key{Namespace: value(p.Namespace, gatewayv1.Namespace(t.Ref.Namespace)), Name: string(p.Name)}
		parent := model.RouteParent{
			Service:  service,
			Host:     model.ServiceHost(service.Name, service.Namespace, t.clusterDomain),
			PortName: value(p.SectionName, ""),
		}
		if p.Port != nil {
			parent.Port = t.port(field+".port", int64(*p.Port))
		}
		consumer := service.Namespace != t.Ref.Namespace
		if len(set.Parents) > 0 && consumer != consumers {
			t.Warn(field, "Services of the own and of other namespaces in one route: the route is not attached to this one",
				"write a second route, for they are in force for different callers")
			continue
		}
		consumers = consumer
		set.Parents = append(set.Parents, parent)
		if !slices.Contains(set.Hosts, parent.Host) {
			set.Hosts = append(set.Hosts, parent.Host)
		}
	}
	if consumers {
		set.ConsumerNamespace = t.Ref.Namespace
	}
}

func (t *httpRoute) rule(field string, in *gatewayv1.HTTPRouteRule) model.HTTPRule {
	rule := model.HTTPRule{Name: value(in.Name, ""), Field: field}
	for i := range in.Matches {
		rule.Matches = append(rule.Matches, t.match(fmt.Sprintf("%s.matches[%d]", field, i), &in.Matches[i]))
	}
	if len(in.Matches) == 0 {
		rule.Matches = []model.HTTPMatch{everyPath()}
	}
	filters := t.filters(field, in.Filters, rule.Matches)
	rule.Headers, rule.Rewrite, rule.Redirect, rule.Mirrors = filters.headers, filters.rewrite, filters.redirect, filters.mirrors
	if filters.invalid != "" {
		// "Requests that would have been processed by that filter MUST receive a HTTP error response."
		rule.Direct = &model.DirectResponse{Status: 500, Body: []byte(t.Ref.String() + " " + field + ": " + filters.invalid + "\n")}
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
	if in.SessionPersistence != nil {
		t.Unsupported(field + ".sessionPersistence")
	}
	return rule
}

func (t *httpRoute) backend(field string, in *gatewayv1.HTTPBackendRef, matches []model.HTTPMatch) model.WeightedBackend {
	b := t.reference(field, &in.BackendObjectReference)
	b.Weight = 1
	if in.Weight != nil {
		if *in.Weight < 0 || *in.Weight > 1_000_000 {
			t.Reject(field+".weight", fmt.Sprintf("%d is not a weight", *in.Weight), "write a number from 0 to 1000000")
		}
		b.Weight = uint32(max(*in.Weight, 0))
	}
	filters := t.filters(field, in.Filters, matches)
	switch {
	case filters.redirect != nil:
		filters.invalid = "the filter RequestRedirect is not supported on a backend: its calls are answered 500"
	case len(filters.mirrors) > 0:
		filters.invalid = "the filter RequestMirror is not supported on a backend: its calls are answered 500"
	}
	b.Headers, b.Rewrite = filters.headers, filters.rewrite
	b.Invalid = cmp.Or(b.Invalid, filters.invalid)
	return b
}

// reference reads which Service is meant. One of another kind is answered with 500, as the specification demands.
func (t *httpRoute) reference(field string, in *gatewayv1.BackendObjectReference) model.WeightedBackend {
	namespace := value(in.Namespace, gatewayv1.Namespace(t.Ref.Namespace))
	b := model.WeightedBackend{Field: field, Host: model.ServiceHost(string(in.Name), namespace, t.clusterDomain)}
	if in.Port != nil {
		b.Port = t.port(field+".port", int64(*in.Port))
	}
	group, kind := value(in.Group, ""), value(in.Kind, "Service")
	switch {
	case group != "" || kind != "Service":
		b.Invalid = fmt.Sprintf("a backend of kind %s is not supported: its calls are answered 500", kindName(group, kind))
	case in.Name == "":
		t.Reject(field+".name", "no name", "name the Service to call")
	case in.Port == nil:
		t.Reject(field+".port", "no port", "a Service needs the port to call")
	}
	return b
}

func (t *httpRoute) timeouts(field string, in *gatewayv1.HTTPRouteTimeouts) (request, backend time.Duration) {
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
func (t *httpRoute) retry(field string, in *gatewayv1.HTTPRouteRetry) *model.Retry {
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
func (t *httpRoute) duration(field string, in *gatewayv1.Duration) time.Duration {
	if in == nil {
		return 0
	}
	d, err := time.ParseDuration(string(*in))
	if err != nil || !durationForm.MatchString(string(*in)) {
		t.Reject(field, fmt.Sprintf("%q is not a duration", *in), `write it like "1m30s" or "300ms"`)
	}
	return d
}

func (t *httpRoute) port(field string, number int64) uint16 {
	if number < 1 || number > 65535 {
		t.Reject(field, fmt.Sprintf("port %d is out of range", number), "write a number from 1 to 65535")
		return 0
	}
	return uint16(number)
}

func kindName(group, kind string) string {
	if group == "" {
		return kind
	}
	return group + "/" + kind
}

// value gives what an optional field holds, as a plain string.
func value[T ~string](p *T, otherwise T) string {
	if p == nil {
		return string(otherwise)
	}
	return string(*p)
}

// number gives an optional number.
func number(p *int, otherwise int) int {
	if p == nil {
		return otherwise
	}
	return *p
}

package gwapi

import (
	"cmp"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.dev/fairlead/internal/model"
)

// route reads the parts that routes of all kinds share.
type route struct {
	model.Report

	clusterDomain string
}

func newRoute(kind string, in *metav1.ObjectMeta, clusterDomain string) (*route, *model.RouteSet) {
	key := model.Key{Namespace: cmp.Or(in.Namespace, metav1.NamespaceDefault), Name: in.Name}
	t := &route{Report: model.Report{Ref: model.Ref{Kind: kind, Key: key}}, clusterDomain: clusterDomain}
	return t, &model.RouteSet{Ref: t.Ref, CreatedAt: in.CreationTimestamp.Time}
}

// result gives the value, nil where a problem refuses it.
func (t *route) result(set *model.RouteSet) (*model.RouteSet, []model.Problem) {
	if t.Rejected() {
		return nil, t.Problems
	}
	return set, t.Problems
}

// attach reads what the route is for and reports whether a Service is among it.
func (t *route) attach(in *gatewayv1.CommonRouteSpec, hostnames []gatewayv1.Hostname, set *model.RouteSet) bool {
	for i := range in.ParentRefs {
		t.parent(parentField(i), &in.ParentRefs[i], set)
	}
	if len(hostnames) > 0 && len(set.Parents) > 0 {
		t.Warn("spec.hostnames", "has no effect for a Service parent (GEP-1426)", `match on the header "Host" instead`)
	}
	return len(set.Parents) > 0
}

// linkerd has the annotations of the route go before the fields of its rules, as Linkerd does.
func (t *route) linkerd(annotations map[string]string, takes model.LinkerdTakes, set *model.RouteSet) {
	p := model.ReadLinkerdPolicy(&t.Report, annotations, takes)
	for i := range set.HTTP {
		h := &set.HTTP[i]
		if p.Retry != nil {
			h.Retry = p.Retry
		}
		h.Timed = p.LinkerdTimes != model.LinkerdTimes{}
		h.Timeout, h.ResponseTimeout, h.IdleTimeout = cmp.Or(p.Request, h.Timeout), p.Response, p.Idle
	}
}

// parentField is the path of a parent in the object.
func parentField(i int) string { return fmt.Sprintf("spec.parentRefs[%d]", i) }

// isService reports whether a reference is to a Service. The API server calls its group "", some tools "core".
func isService(group, kind string) bool { return (group == "" || group == "core") && kind == "Service" }

// parentKind gives group and kind of a parent: a Gateway where nothing is said.
func parentKind(p *gatewayv1.ParentReference) (group, kind string) {
	return value(p.Group, gatewayv1.GroupName), value(p.Kind, "Gateway")
}

func (t *route) parent(field string, p *gatewayv1.ParentReference, set *model.RouteSet) {
	namespace := value(p.Namespace, gatewayv1.Namespace(t.Ref.Namespace))
	if group, kind := parentKind(p); !isService(group, kind) {
		if group == gatewayv1.GroupName && kind == "Gateway" {
			key := model.Key{Namespace: namespace, Name: string(p.Name)}
			set.Gateways = append(set.Gateways, model.GatewayParent{Field: field, Key: key, Assumed: p.Group == nil && p.Kind == nil})
		} else {
			t.Warn(field, fmt.Sprintf("a parent of kind %s is not supported by Fairlead: the route is not attached to it", kindName(group, kind)),
				`attach it to a Service: group: "", kind: Service`)
		}
		return
	}
	service := model.Key{Namespace: namespace, Name: string(p.Name)}
	parent := model.RouteParent{
		Field: field, Service: service,
		Host:     model.ServiceHost(service.Name, service.Namespace, t.clusterDomain),
		PortName: value(p.SectionName, ""),
	}
	if p.Port != nil {
		parent.Port = t.port(field+".port", int64(*p.Port))
	}
	set.Parents = append(set.Parents, parent)
	if !slices.Contains(set.Hosts, parent.Host) {
		set.Hosts = append(set.Hosts, parent.Host)
	}
}

// weighted reads a backend without its filters.
func (t *route) weighted(field string, in *gatewayv1.BackendRef) model.WeightedBackend {
	b := t.reference(field, &in.BackendObjectReference)
	b.Weight = 1
	if in.Weight != nil {
		if *in.Weight < 0 || *in.Weight > 1_000_000 {
			t.Reject(field+".weight", fmt.Sprintf("%d is not a weight", *in.Weight), "write a number from 0 to 1000000")
		}
		b.Weight = uint32(max(*in.Weight, 0))
	}
	return b
}

// backendFilters adds the filters of one backend.
func (*route) backendFilters(b *model.WeightedBackend, f filters) {
	switch {
	case f.redirect != nil:
		f.unsupported = "the filter RequestRedirect is not supported on a backend: its calls are answered 500"
	case f.cors != nil:
		f.unsupported = "the filter CORS is not supported on a backend: its calls are answered 500"
	case len(f.mirrors) > 0:
		f.unsupported = "the filter RequestMirror is not supported on a backend: its calls are answered 500"
	}
	b.Headers, b.Rewrite, b.Unsupported = f.headers, f.rewrite, f.unsupported
}

// reference reads which Service is meant. One of another kind is answered with 500, as the specification demands.
func (t *route) reference(field string, in *gatewayv1.BackendObjectReference) model.WeightedBackend {
	namespace := value(in.Namespace, gatewayv1.Namespace(t.Ref.Namespace))
	b := model.WeightedBackend{Field: field, Host: model.ServiceHost(string(in.Name), namespace, t.clusterDomain)}
	if in.Port != nil {
		b.Port = t.port(field+".port", int64(*in.Port))
	}
	group, kind := value(in.Group, ""), value(in.Kind, "Service")
	switch {
	case !isService(group, kind):
		b.Invalid = fmt.Sprintf("a backend of kind %s is not supported: its calls are answered 500", kindName(group, kind))
	case in.Name == "":
		t.Reject(field+".name", "no name", "name the Service to call")
	case in.Port == nil:
		t.Reject(field+".port", "no port", "a Service needs the port to call")
	}
	return b
}

func (t *route) port(field string, number int64) uint16 {
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

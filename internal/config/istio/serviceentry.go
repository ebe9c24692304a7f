package istio

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"fairlead.dev/fairlead/internal/model"
)

// ServiceEntry reads a ServiceEntry: one Service per host, named after it. Hosts are full names as written; a short
// one is not given the namespace, as in Istio.
func ServiceEntry(in *networkingv1.ServiceEntry, clusterDomain string) ([]*model.Service, []model.Problem) {
	t := serviceEntry{newReport("ServiceEntry", &in.ObjectMeta, clusterDomain)}
	spec := &in.Spec
	common := model.Service{
		Origin:             t.Ref,
		Ports:              t.ports(spec.GetPorts()),
		External:           spec.GetLocation() == networking.ServiceEntry_MESH_EXTERNAL,
		Resolution:         t.resolution(spec),
		Selector:           t.selector(spec),
		VIPs:               t.addresses(spec),
		ExportTo:           t.exportTo(spec.GetExportTo()),
		SubjectAltNames:    slices.Clone(spec.GetSubjectAltNames()),
		CreatedAt:          in.CreationTimestamp.Time,
		ResourceGeneration: in.Generation,
	}
	common.Endpoints = t.endpoints(spec, common.Resolution)
	t.toldApart(spec)
	var out []*model.Service
	for _, host := range t.hosts(spec, common.Resolution) {
		s := common
		s.Host = host
		s.Key = model.Key{Namespace: t.namespace, Name: string(host)}
		out = append(out, &s)
	}
	if t.Rejected() {
		return nil, t.Problems
	}
	return out, t.Problems
}

// serviceEntry reads the parts of a ServiceEntry.
type serviceEntry struct{ *report }

// toldApart refuses several hosts on ports where nothing in a connection says which of them is meant. With resolution
// NONE the hosts do not matter.
func (t serviceEntry) toldApart(spec *networking.ServiceEntry) {
	if spec.GetResolution() == networking.ServiceEntry_NONE || len(spec.GetHosts()) < 2 {
		return
	}
	for i, p := range spec.GetPorts() {
		switch protocols[strings.ToLower(p.GetProtocol())] {
		case model.HTTP, model.HTTP2, model.GRPC, model.GRPCWeb, model.TLS:
		case model.TCP, model.UDP, model.Undeclared:
			t.Reject(fmt.Sprintf("spec.ports[%d].protocol", i), "several hosts on a port that is neither HTTP nor TLS: which of them is called cannot be told",
				"write a ServiceEntry for each host")
			return
		}
	}
}

func resolvesNames(r model.Resolution) bool {
	return r == model.ResolveDNS || r == model.ResolveDNSRoundRobin
}

func (t serviceEntry) hosts(spec *networking.ServiceEntry, resolution model.Resolution) []model.Hostname {
	if len(spec.GetHosts()) == 0 {
		t.Reject("spec.hosts", "no hosts", "name the hosts that the entry adds")
	}
	var out []model.Hostname
	for i, written := range spec.GetHosts() {
		field := fmt.Sprintf("spec.hosts[%d]", i)
		host := model.CanonicalHost(written)
		switch {
		case host == "*":
			t.Reject(field, `"*" would take every call`, `name the hosts, or use a wildcard such as "*.example.com"`)
		case !isWildcardHost(written):
			t.Reject(field, fmt.Sprintf("%q is not a host", written), "write a DNS name, without scheme, port or path")
		case host.Wildcard() && resolvesNames(resolution) && len(spec.GetEndpoints()) == 0:
			t.Reject(field, fmt.Sprintf("%q cannot be looked up", written), "use resolution: NONE for wildcards, or add endpoints")
		case slices.Contains(out, host):
			t.Warn(field, fmt.Sprintf("%q is there twice", written), "remove one")
		default:
			out = append(out, host)
		}
	}
	return out
}

func (t serviceEntry) resolution(spec *networking.ServiceEntry) model.Resolution {
	switch spec.GetResolution() {
	case networking.ServiceEntry_NONE:
		if len(spec.GetEndpoints()) > 0 {
			t.Reject("spec.endpoints", "resolution NONE calls the address that the app dialled", "use resolution: STATIC or DNS")
		}
		return model.ResolveNone
	case networking.ServiceEntry_STATIC:
		if len(spec.GetEndpoints()) == 0 && spec.GetWorkloadSelector() == nil {
			t.Warn("spec.endpoints", "resolution STATIC without endpoints: every call fails", "add endpoints or workloadSelector")
		}
		return model.ResolveStatic
	case networking.ServiceEntry_DNS:
		return model.ResolveDNS
	case networking.ServiceEntry_DNS_ROUND_ROBIN:
		if len(spec.GetEndpoints()) > 1 {
			t.Reject("spec.endpoints", "DNS_ROUND_ROBIN takes one endpoint", "use resolution: DNS for several")
		}
		return model.ResolveDNSRoundRobin
	case networking.ServiceEntry_DYNAMIC_DNS:
		t.dynamic(spec)
		return model.ResolveDynamicDNS
	default:
		t.Reject("spec.resolution", fmt.Sprintf("%d is not a resolution", spec.GetResolution()), "write NONE, STATIC, DNS, DNS_ROUND_ROBIN or DYNAMIC_DNS")
		return model.ResolveNone
	}
}

// dynamic checks what resolution DYNAMIC_DNS demands, which is that every call names its host.
func (t serviceEntry) dynamic(spec *networking.ServiceEntry) {
	for i, h := range spec.GetHosts() {
		if !model.CanonicalHost(h).Wildcard() {
			t.Reject(fmt.Sprintf("spec.hosts[%d]", i), fmt.Sprintf("%q with resolution DYNAMIC_DNS, which is for wildcards", h), "use resolution: DNS")
		}
	}
	if len(spec.GetAddresses()) > 0 {
		t.Reject("spec.addresses", "resolution DYNAMIC_DNS calls the host that a call names, whatever address was dialled", "remove the addresses")
	}
	if len(spec.GetEndpoints()) > 0 {
		t.Reject("spec.endpoints", "resolution DYNAMIC_DNS calls the host that a call names", "remove the endpoints, or use resolution: DNS")
	}
	for i, p := range spec.GetPorts() {
		switch protocols[strings.ToLower(p.GetProtocol())] {
		case model.HTTP, model.HTTP2, model.GRPC, model.GRPCWeb, model.TLS:
		case model.TCP, model.UDP, model.Undeclared:
			t.Reject(fmt.Sprintf("spec.ports[%d].protocol", i), fmt.Sprintf("%q with resolution DYNAMIC_DNS: nothing in such a connection names a host", p.GetProtocol()),
				"write HTTP, HTTP2, GRPC or TLS")
		}
	}
}

func (t serviceEntry) selector(spec *networking.ServiceEntry) map[string]string {
	if spec.GetWorkloadSelector() == nil {
		return nil
	}
	if len(spec.GetEndpoints()) > 0 {
		t.Reject("spec.workloadSelector", "both workloadSelector and endpoints", "keep one of them")
	}
	if spec.GetResolution() == networking.ServiceEntry_NONE || spec.GetResolution() == networking.ServiceEntry_DYNAMIC_DNS {
		t.Warn("spec.workloadSelector", "used with resolution STATIC and DNS only", "set resolution: STATIC")
	}
	if len(spec.GetWorkloadSelector().GetLabels()) == 0 {
		t.Warn("spec.workloadSelector", "no labels: every pod of the namespace is an endpoint", "add labels")
	}
	t.labels("spec.workloadSelector.labels", spec.GetWorkloadSelector().GetLabels())
	return maps.Clone(spec.GetWorkloadSelector().GetLabels())
}

func (t serviceEntry) addresses(spec *networking.ServiceEntry) []netip.Prefix {
	var out []netip.Prefix
	for i, written := range spec.GetAddresses() {
		field := fmt.Sprintf("spec.addresses[%d]", i)
		prefix, ok := parsePrefix(written)
		switch {
		case !ok:
			t.Reject(field, fmt.Sprintf("%q is not an address", written), `write an address ("10.1.2.3") or a prefix ("10.1.0.0/16")`)
		case !prefix.IsSingleIP() && spec.GetResolution() != networking.ServiceEntry_NONE && spec.GetResolution() != networking.ServiceEntry_STATIC:
			t.Reject(field, fmt.Sprintf("prefix %q with resolution %s", written, spec.GetResolution()), "prefixes need resolution NONE or STATIC")
		default:
			out = append(out, prefix)
		}
	}
	return out
}

func (t serviceEntry) ports(in []*networking.ServicePort) []model.ServicePort {
	if len(in) == 0 {
		t.Warn("spec.ports", "no ports: nothing can be called", "list the ports of the host")
	}
	var out []model.ServicePort
	names, numbers := map[string]bool{}, map[uint16]bool{}
	for i, p := range in {
		field := fmt.Sprintf("spec.ports[%d]", i)
		port := model.ServicePort{
			Name:       p.GetName(),
			Port:       t.port(field+".number", p.GetNumber()),
			TargetPort: t.optionalPort(field+".targetPort", p.GetTargetPort()),
			Protocol:   t.protocol(field+".protocol", p.GetProtocol()),
		}
		if port.TargetPort == 0 {
			port.TargetPort = port.Port
		}
		switch {
		case port.Name == "":
			t.Reject(field+".name", "no name", "give the port a name")
		case !isLabel(strings.ToLower(port.Name)):
			t.Reject(field+".name", fmt.Sprintf("%q cannot be the name of a port", port.Name), `use letters, digits and "-", at most 63`)
		case names[port.Name]:
			t.Reject(field+".name", fmt.Sprintf("there are two ports %q", port.Name), "give each its own name")
		}
		if numbers[port.Port] && port.Port != 0 {
			t.Reject(field+".number", fmt.Sprintf("port %d is there twice", port.Port), "remove one")
		}
		names[port.Name], numbers[port.Port] = true, true
		out = append(out, port)
	}
	return out
}

// protocols are the spellings that Istio takes, in lower case.
var protocols = map[string]model.Protocol{
	"": model.Undeclared, "http": model.HTTP, "http_proxy": model.HTTP, "http2": model.HTTP2, "grpc": model.GRPC, "grpc-web": model.GRPCWeb,
	"https": model.TLS, "tls": model.TLS, "tcp": model.TCP, "mongo": model.TCP, "mysql": model.TCP, "redis": model.TCP,
	"udp": model.UDP,
}

func (t serviceEntry) protocol(field, written string) model.Protocol {
	p, ok := protocols[strings.ToLower(written)]
	if !ok {
		t.Reject(field, fmt.Sprintf("%q is not a protocol", written), "write HTTP, HTTP2, GRPC, GRPC-Web, HTTPS, TLS, TCP or UDP")
	}
	return p
}

func (t serviceEntry) endpoints(spec *networking.ServiceEntry, resolution model.Resolution) []model.StaticEndpoint {
	ports := make(map[string]bool, len(spec.GetPorts()))
	for _, p := range spec.GetPorts() {
		ports[p.GetName()] = true
	}
	var out []model.StaticEndpoint
	for i, in := range spec.GetEndpoints() {
		field := fmt.Sprintf("spec.endpoints[%d]", i)
		e := model.StaticEndpoint{
			Labels:         maps.Clone(in.GetLabels()),
			Network:        in.GetNetwork(),
			Locality:       t.locality(field+".locality", in.GetLocality()),
			Weight:         max(in.GetWeight(), 1),
			ServiceAccount: in.GetServiceAccount(),
			Ports:          t.endpointPorts(field+".ports", in.GetPorts(), ports),
		}
		if strings.HasPrefix(in.GetAddress(), unixPrefix) {
			t.socketPorts(spec, field, len(in.GetPorts()))
		}
		t.labels(field+".labels", in.GetLabels())
		if in.GetAddress() == "" && in.GetNetwork() != "" {
			t.Warn(field+".address", "no address, for it is in another network, which Fairlead does not support: the endpoint is left out", "write an address that can be reached")
			continue
		}
		if t.address(field+".address", in.GetAddress(), resolution, &e) {
			out = append(out, e)
		}
	}
	return out
}

const unixPrefix = "unix://"

// socketPorts checks what a Unix socket demands, which has no ports.
func (t serviceEntry) socketPorts(spec *networking.ServiceEntry, field string, ports int) {
	if ports > 0 {
		t.Reject(field+".ports", "a Unix socket has no ports", "remove them")
	}
	if n := len(spec.GetPorts()); n != 1 {
		t.Reject("spec.ports", fmt.Sprintf("%d ports: %s is a Unix socket, to which one alone can lead", n, field), "write a ServiceEntry for each port")
	}
}

// address reads where an endpoint is. It reports false for one that cannot be called, after saying so.
func (t serviceEntry) address(field, written string, resolution model.Resolution, e *model.StaticEndpoint) bool {
	addr, err := netip.ParseAddr(written)
	switch {
	case err == nil:
		e.Address = addr
	case written == "":
		t.Reject(field, "no address", "write an IP address or a DNS name")
	case strings.HasPrefix(written, unixPrefix) && resolvesNames(resolution):
		t.Reject(field, fmt.Sprintf("%q is a socket; resolution DNS takes names and addresses", written), "use resolution: STATIC")
	case strings.HasPrefix(written, unixPrefix):
		path := strings.TrimPrefix(written, unixPrefix)
		if !model.IsSocketPath(path) {
			t.Reject(field, fmt.Sprintf("%q is not an absolute path to a socket, of at most 107 visible characters", path), "write unix:///PATH, or unix://@NAME")
		}
		e.Unix = path
	case !isHost(written):
		t.Reject(field, fmt.Sprintf("%q is neither an address nor a host", written), "write an IP address or a DNS name, without port")
	case !resolvesNames(resolution) && resolution != model.ResolveDynamicDNS: // has been refused
		t.Reject(field, fmt.Sprintf("%q is a name; resolution STATIC takes addresses", written), "use resolution: DNS")
	default:
		e.DNS = model.CanonicalHost(written)
	}
	return true
}

func (t serviceEntry) endpointPorts(field string, in map[string]uint32, known map[string]bool) map[string]uint16 {
	if len(in) == 0 {
		return nil
	}
	out := make(map[string]uint16, len(in))
	for _, name := range sortedKeys(in) {
		at := field + "[" + name + "]"
		if !known[name] {
			t.Reject(at, fmt.Sprintf("no port %q in spec.ports", name), "use the name of one of "+strings.Join(sortedKeys(known), ", "))
		}
		out[name] = t.port(at, in[name])
	}
	return out
}

// locality reads where an endpoint is, as far as the text goes.
func (t serviceEntry) locality(field, written string) model.Locality {
	if written == "" {
		return model.Locality{}
	}
	l, err := model.ParseLocality(written)
	if err != nil {
		t.Warn(field, err.Error()+": the endpoint is in no locality", "write region, region/zone or region/zone/subzone")
	}
	return l
}

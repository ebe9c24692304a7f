package consul

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
)

// Bounds of what is taken from a catalog; what is beyond them is left out, and said.
const (
	maxServices  = 5000 // of a datacenter
	maxInstances = 2000 // of a service
	maxPorts     = 16   // of a service
	maxLabels    = 64   // of an instance
)

// What Meta of a service may say to the mesh. Consul's keys have no dots and no slashes.
const (
	metaProtocol = "fairlead-protocol"  // as of a ServiceEntry's port
	metaSPIFFEID = "fairlead-spiffe-id" // the instance takes mutual TLS, and is this
	metaPort     = "fairlead-port"      // a port by which the service is called beside those of its instances
)

// tagLabel is before the name of a tag that is no NAME=VALUE.
const tagLabel = "tag.consul.fairlead.dev/"

// tlsMode keeps the instances of a service plain that do not say who they are, beside others that do.
const tlsMode, tlsModeOff = "security.istio.io/tlsMode", "disabled"

var (
	dnsLabel   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	labelName  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)
	labelValue = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$`)
)

// translation is what a service of a datacenter means to the mesh.
type translation struct {
	spec     *networking.ServiceEntry // without hosts; nil where there is nothing to call
	problems []model.Problem
}

// translate makes it of the instances of a service. It reads no clock and no file; equal instances in another order are the same.
func translate(ref model.Ref, list []entry) translation {
	t := &translator{ref: ref}
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.Node.Node, b.Node.Node), cmp.Compare(a.Service.ID, b.Service.ID))
	})
	if len(list) > maxInstances {
		t.warn("instances", fmt.Sprintf("%d of them, %d are called", len(list), maxInstances), "")
		list = list[:maxInstances]
	}
	var called []entry
	for i := range list {
		if t.callable(&list[i]) {
			called = append(called, list[i])
		}
	}
	if len(called) == 0 {
		return translation{problems: t.problems}
	}
	spec := &networking.ServiceEntry{
		Location: networking.ServiceEntry_MESH_INTERNAL, Resolution: networking.ServiceEntry_STATIC,
		Ports: t.ports(called), SubjectAltNames: t.identity(called),
	}
	for i := range called {
		if weight := weightOf(&called[i]); weight > 0 {
			spec.Endpoints = append(spec.Endpoints, endpoint(&called[i], spec, weight))
		}
		if _, err := netip.ParseAddr(addressOf(&called[i])); err != nil {
			spec.Resolution = networking.ServiceEntry_DNS
		}
	}
	if len(spec.GetEndpoints()) == 0 { // names would mean the host itself, and there is nobody behind it
		spec.Resolution = networking.ServiceEntry_STATIC
	}
	return translation{spec: spec, problems: t.problems}
}

type translator struct {
	ref      model.Ref
	problems []model.Problem
}

func (t *translator) warn(field, message, fix string) {
	t.problems = append(t.problems, model.Problem{Ref: t.ref, Severity: model.Warning, Field: field, Message: message, Fix: fix})
}

// callable reports whether an instance is one that apps call: proxies and gateways are not, nor what would lead a caller to itself.
func (t *translator) callable(e *entry) bool {
	if e.Service.Kind != "" {
		return false
	}
	field := "instance " + strconv.Quote(e.Service.ID)
	if e.Service.Port < 1 || e.Service.Port > 65535 {
		t.warn(field, fmt.Sprintf("port %d: it is left out", e.Service.Port), "register it with the port at which it is called")
		return false
	}
	address := addressOf(e)
	a, err := netip.ParseAddr(address)
	switch {
	case err != nil && !isHost(address):
		t.warn(field, fmt.Sprintf("address %.100q is neither an address nor a name: it is left out", address), "register it with the address at which it is called")
	case err == nil && (a.Zone() != "" || a.Unmap().IsLoopback() || a.IsUnspecified() || a.Unmap().IsMulticast() || a.Unmap().IsLinkLocalUnicast()):
		t.warn(field, fmt.Sprintf("address %s is another one for each caller: it is left out", a), "register it with the address at which others call it")
	default:
		return true
	}
	return false
}

// isHost reports whether s is a DNS name, which no badly written address is.
func isHost(s string) bool {
	parts := strings.Split(strings.ToLower(strings.TrimSuffix(s, ".")), ".")
	last := parts[len(parts)-1]
	return len(s) <= 253 && strings.Trim(last, "0123456789") != "" &&
		!slices.ContainsFunc(parts, func(l string) bool { return !dnsLabel.MatchString(l) })
}

// addressOf is where an instance is: its own address, or else its node's.
func addressOf(e *entry) string { return cmp.Or(e.Service.Address, e.Node.Address) }

// weightOf is 0 for an instance that is not to be called.
func weightOf(e *entry) uint32 {
	w := e.Service.Weights
	if w == (weights{}) {
		w = weights{Passing: 1, Warning: 1}
	}
	weight := w.Passing
	for _, c := range e.Checks {
		switch c.Status {
		case "passing":
		case "warning":
			weight = min(weight, w.Warning)
		default: // critical, maintenance, or what nobody knows
			return 0
		}
	}
	return uint32(min(max(weight, 0), 65535))
}

// ports are those of the instances, each of which leads to all instances, whatever their own are.
func (t *translator) ports(list []entry) []*networking.ServicePort {
	numbers := map[int]bool{}
	for i := range list {
		numbers[list[i].Service.Port] = true
		written := list[i].Service.Meta[metaPort]
		switch n, err := strconv.ParseUint(written, 10, 16); {
		case written == "":
		case err != nil || n == 0:
			t.warn("Meta["+metaPort+"]", fmt.Sprintf("%.20q is not a port", written), "write a number from 1 to 65535")
		default:
			numbers[int(n)] = true
		}
	}
	sorted := slices.Sorted(maps.Keys(numbers))
	if len(sorted) > maxPorts {
		t.warn("ports", fmt.Sprintf("instances listen at %d ports, the service is called by the lowest %d", len(sorted), maxPorts),
			"write Meta "+metaPort+" with one that is the same for all, in all instances")
		sorted = sorted[:maxPorts]
	}
	protocol := t.protocol(list)
	out := make([]*networking.ServicePort, len(sorted))
	for i, n := range sorted {
		out[i] = &networking.ServicePort{Number: uint32(n), Name: fmt.Sprint("port-", n), Protocol: protocol}
	}
	return out
}

// protocol is what instances say in common, and detected where they do not.
func (t *translator) protocol(list []entry) string {
	said := list[0].Service.Meta[metaProtocol]
	for i := range list {
		if list[i].Service.Meta[metaProtocol] != said {
			t.warn("Meta["+metaProtocol+"]", "instances say different things: the protocol is detected", "write the same in all instances")
			return ""
		}
	}
	return said
}

// identity is who the instances are that say it.
func (t *translator) identity(list []entry) []string {
	var said []string
	for i := range list {
		id := list[i].Service.Meta[metaSPIFFEID]
		switch {
		case id == "":
		case !strings.HasPrefix(id, "spiffe://") || len(id) > 2048:
			t.warn("Meta["+metaSPIFFEID+"]", fmt.Sprintf("%.100q is not a SPIFFE ID", id), "write spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT")
		default:
			said = append(said, id)
		}
	}
	slices.Sort(said)
	if said = slices.Compact(said); len(said) > 1 {
		t.warn("Meta["+metaSPIFFEID+"]", fmt.Sprintf("instances are %s and others: all have to be the first", said[0]), "write the same in all instances")
		said = said[:1]
	}
	return said
}

func endpoint(e *entry, spec *networking.ServiceEntry, weight uint32) *networking.WorkloadEntry {
	out := &networking.WorkloadEntry{Address: addressOf(e), Weight: weight, Labels: labels(e), Ports: map[string]uint32{}}
	if a, err := netip.ParseAddr(out.GetAddress()); err == nil {
		out.Address = a.Unmap().String()
	}
	for _, p := range spec.GetPorts() {
		out.Ports[p.GetName()] = uint32(e.Service.Port)
	}
	if len(spec.GetSubjectAltNames()) > 0 && e.Service.Meta[metaSPIFFEID] == "" {
		out.Labels[tlsMode] = tlsModeOff
	}
	at := e.Service.Locality
	if at == nil {
		at = e.Node.Locality
	}
	if at != nil && labelName.MatchString(at.Region) {
		out.Locality = at.Region
		if labelName.MatchString(at.Zone) {
			out.Locality += "/" + at.Zone
		}
	}
	return out
}

// labels are what DestinationRules tell instances apart by: Meta, and tags. What cannot be a label is none; Meta goes first.
func labels(e *entry) map[string]string {
	out := map[string]string{}
	add := func(name, value string) {
		if _, known := out[name]; !known && len(out) < maxLabels && labelValue.MatchString(value) {
			out[name] = value
		}
	}
	for _, key := range slices.Sorted(maps.Keys(e.Service.Meta)) {
		if labelName.MatchString(key) {
			add(key, e.Service.Meta[key])
		}
	}
	for _, tag := range slices.Sorted(slices.Values(e.Service.Tags)) {
		name, value, pair := strings.Cut(tag, "=")
		switch {
		case !labelName.MatchString(name):
		case pair:
			add(name, value)
		default:
			add(tagLabel+name, "true")
		}
	}
	return out
}

// object is a ServiceEntry for one host. Its name can be that of none that a user writes.
func object(ref model.Ref, host string, spec *networking.ServiceEntry) source.Object {
	out := &networkingv1.ServiceEntry{ObjectMeta: metav1.ObjectMeta{Namespace: ref.Namespace, Name: ref.Name}}
	spec.DeepCopyInto(&out.Spec)
	out.Spec.Hosts = []string{host}
	return source.Object{Ref: ref, NoStatus: true, Value: out}
}

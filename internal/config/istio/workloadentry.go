package istio

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"fairlead.dev/fairlead/internal/model"
)

// healthChecked is the annotation of entries whose condition Healthy counts, as whoever checks the workload writes it.
const healthChecked = "proxy.istio.io/health-checks-enabled"

// WorkloadEntry reads a WorkloadEntry. One that cannot be called is not in force and gives nil.
func WorkloadEntry(in *networkingv1.WorkloadEntry, clusterDomain string) (*model.WorkloadEntry, []model.Problem) {
	t := serviceEntry{newReport("WorkloadEntry", &in.ObjectMeta, clusterDomain)}
	spec := &in.Spec
	out := &model.WorkloadEntry{Ref: t.Ref, Endpoint: model.StaticEndpoint{
		Name: t.Ref.Name, Network: spec.GetNetwork(), Locality: t.locality("spec.locality", spec.GetLocality()),
		Weight: max(spec.GetWeight(), 1), ServiceAccount: spec.GetServiceAccount(), Ports: t.entryPorts(spec.GetPorts()),
		Unhealthy: !entryHealthy(in),
	}}
	t.labels("spec.labels", spec.GetLabels())
	out.Endpoint.Labels = mergeLabels(spec.GetLabels(), in.Labels)
	called := t.entryAddress(spec, &out.Endpoint)
	if t.Rejected() || !called {
		return nil, t.Problems
	}
	return out, t.Problems
}

// mergeLabels gives an entry's labels, of which those of the object go first, as in Istio.
func mergeLabels(spec, object map[string]string) map[string]string {
	out := maps.Clone(spec)
	if out == nil {
		out = make(map[string]string, len(object))
	}
	maps.Copy(out, object)
	return out
}

// entryAddress reads an address, which may be a name: what resolves names is decided by who selects the entry. It reports
// false for one that cannot be called.
func (t serviceEntry) entryAddress(spec *networking.WorkloadEntry, e *model.StaticEndpoint) bool {
	const field = "spec.address"
	resolution := model.ResolveDNS
	switch written := spec.GetAddress(); {
	case written == "" && spec.GetNetwork() != "":
		t.Warn(field, "no address, for it is in another network, which Fairlead does not support: it is no endpoint", "write an address that can be reached")
		return false
	case strings.HasPrefix(written, unixPrefix):
		resolution = model.ResolveStatic
		if len(spec.GetPorts()) > 0 {
			t.Reject("spec.ports", "a Unix socket has no ports", "remove them")
		}
	}
	return t.address(field, spec.GetAddress(), resolution, e)
}

func (t serviceEntry) entryPorts(in map[string]uint32) map[string]uint16 {
	out := make(map[string]uint16, len(in))
	for _, name := range sortedKeys(in) {
		at := "spec.ports[" + name + "]"
		if !isLabel(strings.ToLower(name)) {
			t.Reject(at, fmt.Sprintf("%q cannot be the name of a port", name), `use letters, digits and "-", at most 63`)
		}
		out[name] = t.port(at, in[name])
	}
	return out
}

// entryHealthy reads the condition of an entry that is checked: without one it is not healthy yet.
func entryHealthy(in *networkingv1.WorkloadEntry) bool {
	if checked, err := strconv.ParseBool(in.Annotations[healthChecked]); err != nil || !checked {
		return true
	}
	for _, c := range in.Status.GetConditions() {
		if c.GetType() == "Healthy" {
			return strings.EqualFold(c.GetStatus(), "true")
		}
	}
	return false
}

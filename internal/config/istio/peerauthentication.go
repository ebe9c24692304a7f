package istio

import (
	"fmt"
	"maps"
	"slices"

	security "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"fairlead.dev/fairlead/internal/model"
)

// PeerAuthentication reads a PeerAuthentication. Whether its namespace is the root one, and it therefore is for the
// whole mesh, is for internal/compile to know.
func PeerAuthentication(in *securityv1.PeerAuthentication) (*model.PeerAuthentication, []model.Problem) {
	t := peerAuthentication{newReport("PeerAuthentication", &in.ObjectMeta, "")}
	selector := in.Spec.GetSelector().GetMatchLabels()
	if in.Spec.GetSelector() != nil && len(selector) == 0 {
		t.Warn("spec.selector", "no labels: the policy is for every pod of the namespace", "add matchLabels, or remove it")
	}
	t.labels("spec.selector.matchLabels", selector)
	policy := &model.PeerAuthentication{
		Ref: t.Ref, CreatedAt: in.CreationTimestamp.Time, Selector: selectorOf(selector),
		Mode:    t.mode("spec.mtls.mode", in.Spec.GetMtls()),
		PerPort: t.ports(in.Spec.GetPortLevelMtls()),
	}
	if len(selector) == 0 && len(policy.PerPort) > 0 {
		t.Reject("spec.portLevelMtls", "ports of which workload is not said", "add spec.selector.matchLabels")
	}
	if t.Rejected() {
		return nil, t.Problems
	}
	return policy, t.Problems
}

// selectorOf keeps the labels that select; none at all is one way to write it, not two.
func selectorOf(labels map[string]string) map[string]string {
	if len(labels) == 0 {
		return nil
	}
	return maps.Clone(labels)
}

// peerAuthentication reads the parts of a PeerAuthentication.
type peerAuthentication struct{ *report }

func (t peerAuthentication) ports(in map[uint32]*security.PeerAuthentication_MutualTLS) map[uint16]model.MTLSMode {
	if len(in) == 0 {
		return nil
	}
	out := make(map[uint16]model.MTLSMode, len(in))
	for _, number := range slices.Sorted(maps.Keys(in)) {
		field := fmt.Sprintf("spec.portLevelMtls[%d]", number)
		out[t.port(field, number)] = t.mode(field+".mode", in[number])
	}
	return out
}

func (t peerAuthentication) mode(field string, in *security.PeerAuthentication_MutualTLS) model.MTLSMode {
	switch mode := in.GetMode(); mode {
	case security.PeerAuthentication_MutualTLS_UNSET:
		return model.MTLSUnset
	case security.PeerAuthentication_MutualTLS_PERMISSIVE:
		return model.MTLSPermissive
	case security.PeerAuthentication_MutualTLS_STRICT:
		return model.MTLSStrict
	case security.PeerAuthentication_MutualTLS_DISABLE:
		return model.MTLSDisable
	default:
		t.Reject(field, fmt.Sprintf("%d is not a mode", mode), "write STRICT, PERMISSIVE or DISABLE")
		return model.MTLSUnset
	}
}

package linkerd

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/model"
)

// ControllerName is how the entries of Fairlead in a Link's status are told from those of others.
const ControllerName = "fairlead.dev/mesh-controller"

// Mirrored is the condition of an entry.
const Mirrored = "Mirrored"

// mostEntries bounds a status: an object of an API server has a size.
const mostEntries = 500

// Outcome is what became of a Service that a Link selects.
type Outcome struct {
	Remote, Local   model.Key
	Holds           bool
	Reason, Message string
}

// Status words what became of Services; now becomes the transition time of conditions that change, see MergeStatus.
func Status(list []Outcome, now metav1.Time) []ServiceStatus {
	out := make([]ServiceStatus, 0, min(len(list), mostEntries))
	for _, o := range list[:min(len(list), mostEntries)] {
		c := Condition{Type: Mirrored, Status: metav1.ConditionFalse, Reason: o.Reason, Message: o.Message, LastTransitionTime: now}
		if o.Holds {
			local := refOf(o.Local)
			c.Status, c.LocalRef = metav1.ConditionTrue, &local
		}
		out = append(out, ServiceStatus{ControllerName: ControllerName, RemoteRef: refOf(o.Remote), Conditions: []Condition{c}})
	}
	return out
}

func refOf(k model.Key) ObjectRef {
	return ObjectRef{Kind: "Service", Namespace: k.Namespace, Name: k.Name}
}

// MergeStatus puts entries of ours in the place of those that were there, keeps those of others, and the times of conditions whose
// status is what it was.
func MergeStatus(existing LinkStatus, mirrors, federated []ServiceStatus) LinkStatus {
	return LinkStatus{MirrorServices: merged(existing.MirrorServices, mirrors), FederatedServices: merged(existing.FederatedServices, federated)}
}

func merged(existing, ours []ServiceStatus) []ServiceStatus {
	var out []ServiceStatus
	before := map[ObjectRef]Condition{}
	for _, e := range existing {
		if e.ControllerName != ControllerName {
			out = append(out, e)
		} else if len(e.Conditions) == 1 {
			before[e.RemoteRef] = e.Conditions[0]
		}
	}
	for _, s := range ours {
		if was, ok := before[s.RemoteRef]; ok && was.Type == Mirrored && was.Status == s.Conditions[0].Status {
			s.Conditions[0].LastTransitionTime = was.LastTransitionTime
		}
		out = append(out, s)
	}
	return out
}

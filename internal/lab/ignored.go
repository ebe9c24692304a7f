package lab

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/internal/model"
)

// ignored is a field that a kubelet would obey and the lab does not.
type ignored struct{ field, instead string }

// ignoredFields lists what a pod asks for and does not get here, so that the reason is not looked for in the mesh. What
// changes nothing that an app on this machine could see (images, resources, affinity, tolerations) is not listed.
func ignoredFields(spec *corev1.PodSpec) []ignored {
	var out []ignored
	add := func(is bool, field, instead string) {
		if is {
			out = append(out, ignored{field, instead})
		}
	}
	add(spec.HostNetwork, "hostNetwork", "the pod gets a network of its own, and no sidecar, as on a node's network")
	add(spec.HostPID, "hostPID", "apps see the processes of the lab")
	add(spec.HostIPC, "hostIPC", "")
	add(len(spec.Volumes) > 0, "volumes", "apps see this machine's files")
	add(spec.DNSConfig != nil, "dnsConfig", "")
	add(spec.DNSPolicy != "" && spec.DNSPolicy != corev1.DNSClusterFirst, "dnsPolicy", "names are asked of the cluster DNS")
	for _, list := range []struct {
		name       string
		containers []corev1.Container
	}{{"initContainers", spec.InitContainers}, {"containers", spec.Containers}} {
		for i := range list.containers {
			c, at := &list.containers[i], fmt.Sprintf("%s[%d].", list.name, i)
			add(len(c.VolumeMounts) > 0, at+"volumeMounts", "apps see this machine's files")
			add(c.Lifecycle != nil && c.Lifecycle.PostStart != nil, at+"lifecycle.postStart", "")
		}
	}
	return out
}

// warnings are the ignored fields of a workload as problems; prefix leads to its pod's spec.
func warnings(ref model.Ref, prefix string, spec *corev1.PodSpec, locate func(string) model.Position) []model.Problem {
	var out []model.Problem
	for _, f := range ignoredFields(spec) {
		p := model.Problem{
			Ref: ref, Severity: model.Warning, Field: prefix + f.field, Message: "has no effect in the lab", Fix: f.instead,
		}
		if locate != nil {
			p.Pos = locate(p.Field)
		}
		out = append(out, p)
	}
	return out
}

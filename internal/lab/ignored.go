package lab

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
)

// ignored is a field that a kubelet would obey and the lab does not, or not as a kubelet would.
type ignored struct{ field, message, instead string }

const noEffect = "has no effect in the lab"

// ignoredFields lists what a pod asks for and does not get here, so that the reason is not looked for in the mesh. What
// changes nothing that an app on this machine could see (images, resources, affinity, tolerations) is not listed.
func ignoredFields(spec *corev1.PodSpec) []ignored {
	var out []ignored
	add := func(is bool, field, instead string) {
		if is {
			out = append(out, ignored{field, noEffect, instead})
		}
	}
	add(spec.HostNetwork, "hostNetwork", "the pod gets a network of its own, and no sidecar, as on a node's network")
	add(spec.HostPID, "hostPID", "apps see the processes of the lab")
	add(spec.HostIPC, "hostIPC", "")
	add(spec.DNSConfig != nil, "dnsConfig", "")
	add(spec.DNSPolicy != "" && spec.DNSPolicy != corev1.DNSClusterFirst, "dnsPolicy", "names are asked of the cluster DNS")
	out = append(out, ignoredVolumes(spec.Volumes)...)
	for _, list := range []struct {
		name       string
		containers []corev1.Container
	}{{"initContainers", spec.InitContainers}, {"containers", spec.Containers}} {
		for i := range list.containers {
			c, at := &list.containers[i], fmt.Sprintf("%s[%d].", list.name, i)
			add(len(c.VolumeDevices) > 0, at+"volumeDevices", "")
			for j := range c.VolumeMounts {
				p := c.VolumeMounts[j].MountPropagation
				add(p != nil && *p != corev1.MountPropagationNone, fmt.Sprintf("%svolumeMounts[%d].mountPropagation", at, j), "")
			}
			add(c.Lifecycle != nil && c.Lifecycle.PostStart != nil, at+"lifecycle.postStart", "")
		}
	}
	return out
}

// ignoredVolumes lists the volumes that are not those of a cluster.
func ignoredVolumes(volumes []corev1.Volume) []ignored {
	var out []ignored
	for i := range volumes {
		v, at := &volumes[i], fmt.Sprintf("volumes[%d]", i)
		switch {
		case kindOfVolume(v) == absentVolume:
			out = append(out, ignored{at, noEffect, "nothing is mounted for it; the lab has emptyDir, configMap, secret, projected, downwardAPI, hostPath and claims"})
		case v.HostPath != nil:
			out = append(out, ignored{at + ".hostPath", "is this machine's own path", "what the pod writes there stays; a path that is not there is an empty directory of the pod"})
		case v.Projected != nil:
			for j := range v.Projected.Sources {
				s := &v.Projected.Sources[j]
				if s.ConfigMap == nil && s.Secret == nil && s.DownwardAPI == nil && s.ServiceAccountToken == nil {
					out = append(out, ignored{fmt.Sprintf("%s.projected.sources[%d]", at, j), noEffect, "the lab has configMap, secret, downwardAPI and serviceAccountToken"})
				}
			}
		}
	}
	return out
}

// ignoredOfJob lists what a Job asks for in vain.
func ignoredOfJob(spec *batchv1.JobSpec) []ignored {
	var out []ignored
	for _, f := range []struct {
		is    bool
		field string
	}{
		{spec.BackoffLimitPerIndex != nil, "backoffLimitPerIndex"},
		{spec.MaxFailedIndexes != nil, "maxFailedIndexes"},
		{spec.PodFailurePolicy != nil, "podFailurePolicy"},
		{spec.SuccessPolicy != nil, "successPolicy"},
		{spec.TTLSecondsAfterFinished != nil, "ttlSecondsAfterFinished"},
		{spec.PodReplacementPolicy != nil && *spec.PodReplacementPolicy == batchv1.Failed, "podReplacementPolicy"},
	} {
		if f.is {
			out = append(out, ignored{f.field, noEffect, ""})
		}
	}
	return out
}

// warningsOf are what a workload asks for in vain.
func warningsOf(o *source.Object, w *workload) []model.Problem {
	var fields []ignored
	if j, ok := o.Value.(*batchv1.Job); ok {
		for _, f := range ignoredOfJob(&j.Spec) {
			f.field = "spec." + f.field
			fields = append(fields, f)
		}
	}
	for _, f := range ignoredFields(&w.template.Spec) {
		f.field = w.specAt + f.field
		fields = append(fields, f)
	}
	return warnings(o.Ref, fields, o.Locate)
}

// warnings are ignored fields as problems.
func warnings(ref model.Ref, fields []ignored, locate func(string) model.Position) []model.Problem {
	var out []model.Problem
	for _, f := range fields {
		p := model.Problem{
			Ref: ref, Severity: model.Warning, Field: f.field, Message: f.message, Fix: f.instead,
		}
		if locate != nil {
			p.Pos = locate(p.Field)
		}
		out = append(out, p)
	}
	return out
}

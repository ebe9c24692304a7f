package core

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/model"
)

const (
	// statusAnnotation is what the injector leaves on a pod it changed.
	statusAnnotation = "fairlead.dev/status"
	// proxyContainer is the name of the sidecar's container.
	proxyContainer = "fairlead-proxy"
	// agentTemplate is what that annotation says of a pod with an agent.
	agentTemplate  = "grpc-agent"
	defaultAccount = "default"
)

// Pod translates a Pod. One without an address yet has no IPs.
func Pod(in *corev1.Pod) (*model.Workload, []model.Problem) {
	r := newReport("Pod", &in.ObjectMeta)
	out := &model.Workload{
		Key:            r.Ref.InCluster(),
		IPs:            podIPs(r, &in.Status),
		Labels:         maps.Clone(in.Labels),
		Annotations:    meshAnnotations(in.Annotations),
		ServiceAccount: cmp.Or(in.Spec.ServiceAccountName, in.Spec.DeprecatedServiceAccount, defaultAccount),
		Node:           in.Spec.NodeName,
		Locality:       localityLabel(r, in.Labels),
		HostIP:         hostIP(in.Status.HostIP),
		HostNetwork:    in.Spec.HostNetwork,
		Terminating:    in.DeletionTimestamp != nil,
		Well:           well(in),
		Checks:         checkResults(in.Status.Conditions),
		CheckGates:     checkGates(in.Spec.ReadinessGates),
		CreatedAt:      in.CreationTimestamp.Time,
	}
	if out.Terminating && in.DeletionGracePeriodSeconds != nil {
		out.Grace = time.Duration(max(0, *in.DeletionGracePeriodSeconds)) * time.Second
	}
	out.OwnerKind, out.OwnerName = owner(&in.ObjectMeta)
	out.CanonicalName, out.CanonicalRevision = canonical(in.Labels, out.OwnerName)
	out.Ports = namedPorts(slices.Concat(in.Spec.Containers, sidecars(in.Spec.InitContainers)))
	if !in.Spec.HostNetwork {
		out.Meshed, out.Agent = injected(in.Annotations, slices.Concat(in.Spec.InitContainers, in.Spec.Containers))
	}
	return out, r.Problems
}

// hostIP reads the address of a pod's node, which a pod that waits for one has not.
func hostIP(written string) netip.Addr {
	addr, err := netip.ParseAddr(written)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap()
}

// localityLabel is where a pod is by its own label. Of Istio's two the first that is there counts. A label has no slashes,
// so its value may have dots for them.
func localityLabel(r *model.Report, labels map[string]string) model.Locality {
	for _, label := range [...]string{"topology.istio.io/locality", "istio-locality"} {
		written, ok := labels[label]
		if !ok || written == "" {
			continue
		}
		l, err := model.ParseLocality(strings.ReplaceAll(written, ".", "/"))
		if err != nil {
			r.Warn("metadata.labels["+label+"]", fmt.Sprintf("%q is no locality: that of the node counts", written), "write region.zone.subzone")
		}
		return l
	}
	return model.Locality{}
}

// well says what the kubelet last said of the pod: a node that falls silent changes the condition Ready, not the others.
func well(in *corev1.Pod) bool {
	is := func(kind corev1.PodConditionType) bool {
		return slices.ContainsFunc(in.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == kind && c.Status == corev1.ConditionTrue })
	}
	for _, gate := range in.Spec.ReadinessGates {
		if !is(gate.ConditionType) {
			return false
		}
	}
	return is(corev1.ContainersReady)
}

// checkResults reads what health checks have found, which the control plane keeps in the pod's status.
func checkResults(conditions []corev1.PodCondition) []model.CheckResult {
	var out []model.CheckResult
	for i := range conditions {
		c := &conditions[i]
		if policy, ok := strings.CutPrefix(string(c.Type), model.HealthCondition); ok {
			out = append(out, model.CheckResult{
				Policy: policy, Failing: c.Status == corev1.ConditionFalse, Why: c.Message, Since: c.LastTransitionTime.Time,
			})
		}
	}
	return out
}

// checkGates lists the policies whose checks a pod's readiness depends on.
func checkGates(gates []corev1.PodReadinessGate) []string {
	var out []string
	for _, g := range gates {
		if policy, ok := strings.CutPrefix(string(g.ConditionType), model.HealthCondition); ok {
			out = append(out, policy)
		}
	}
	return out
}

// podIPs reads the addresses of the status, of which a dual-stack pod has two.
func podIPs(r *model.Report, status *corev1.PodStatus) []netip.Addr {
	var out []netip.Addr
	add := func(field, written string) {
		addr, err := netip.ParseAddr(written)
		if err != nil {
			r.Warn(field, fmt.Sprintf("%#q is no IP address: it is left out", written), "")
			return
		}
		if addr = addr.Unmap(); !slices.Contains(out, addr) {
			out = append(out, addr)
		}
	}
	if status.PodIP != "" {
		add("status.podIP", status.PodIP)
	}
	for i, ip := range status.PodIPs {
		add(fmt.Sprintf("status.podIPs[%d].ip", i), ip.IP)
	}
	return out
}

// cronJob matches the name of a Job that a CronJob made: its own, a dash, and the scheduled time in minutes.
var cronJob = regexp.MustCompile(`^(.+)-\d{8,10}$`)

// owner names the workload that people know: the Deployment behind a ReplicaSet, which is told by the hash its
// controller appends, the CronJob behind a Job, otherwise the controller, otherwise the pod itself.
func owner(meta *metav1.ObjectMeta) (kind, name string) {
	ref := metav1.GetControllerOfNoCopy(meta)
	if ref == nil {
		return "Pod", meta.Name
	}
	switch hash := meta.Labels[appsv1.DefaultDeploymentUniqueLabelKey]; ref.Kind {
	case "ReplicaSet":
		if deployment, ok := strings.CutSuffix(ref.Name, "-"+hash); ok && hash != "" && deployment != "" {
			return "Deployment", deployment
		}
	case "Job":
		if m := cronJob.FindStringSubmatch(ref.Name); m != nil {
			return "CronJob", m[1]
		}
	}
	return ref.Kind, ref.Name
}

// canonical gives what telemetry calls a workload, by Istio's order of labels.
func canonical(labels map[string]string, owner string) (name, revision string) {
	name = cmp.Or(labels["service.istio.io/canonical-name"], labels["app.kubernetes.io/name"], labels["app"], owner)
	revision = cmp.Or(labels["service.istio.io/canonical-revision"], labels["app.kubernetes.io/version"], labels["version"], "latest")
	return name, revision
}

// sidecars gives the init containers that keep running.
func sidecars(init []corev1.Container) []corev1.Container {
	return slices.DeleteFunc(slices.Clone(init), func(c corev1.Container) bool {
		return c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways
	})
}

// namedPorts gives the ports that a targetPort may name. Where two containers use a name, the first wins, as it does
// for kube-proxy.
func namedPorts(containers []corev1.Container) map[string]uint16 {
	var out map[string]uint16
	for i := range containers {
		for _, p := range containers[i].Ports {
			if p.Name == "" || p.Protocol == corev1.ProtocolSCTP || p.ContainerPort < 1 || p.ContainerPort > maxPort {
				continue
			}
			if out == nil {
				out = map[string]uint16{}
			}
			if _, taken := out[p.Name]; !taken {
				out[p.Name] = uint16(p.ContainerPort)
			}
		}
	}
	return out
}

// injected says what a pod was given: a sidecar, an agent in its place, or something else, which is neither.
func injected(annotations map[string]string, containers []corev1.Container) (sidecar, agent bool) {
	if status := annotations[statusAnnotation]; status != "" {
		var of struct{ Template string }
		if json.Unmarshal([]byte(status), &of) != nil {
			return true, false
		}
		return of.Template == "", of.Template == agentTemplate
	}
	return slices.ContainsFunc(containers, func(c corev1.Container) bool { return c.Name == proxyContainer }), false
}

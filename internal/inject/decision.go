package inject

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Decision says whether a pod gets a sidecar, and why.
type Decision struct {
	// Reason is [Injected], or why not.
	Reason Reason
	// Detail is the reason in words.
	Detail string
	// Warnings are what the owner of the pod should know, one line each.
	Warnings []string
}

// Inject reports whether the pod gets a sidecar.
func (d Decision) Inject() bool { return d.Reason == Injected }

// String gives "injected: …" or "skipped: …".
func (d Decision) String() string {
	if d.Inject() {
		return "injected: " + d.Detail
	}
	return "skipped: " + d.Detail
}

// Reason is a word for one kind of decision. It may be the label of a metric.
type Reason string

// The reasons.
const (
	// Injected is the reason of a pod that gets a sidecar.
	Injected Reason = "injected"
	// NamespaceExcluded is that of a pod in a namespace that Kubernetes or Fairlead itself lives in.
	NamespaceExcluded Reason = "namespace_excluded"
	// Disabled is that of a pod that says no, or whose namespace does.
	Disabled Reason = "disabled"
	// NotOptedIn is that of a pod where neither it nor its namespace says yes.
	NotOptedIn Reason = "not_opted_in"
	// AlreadyInjected is that of a pod with a sidecar.
	AlreadyInjected Reason = "already_injected"
	// HostNetwork is that of a pod in the node's network, whose traffic cannot be told from the node's.
	HostNetwork Reason = "host_network"
	// StaticPod is that of a kubelet's own pod, which the API server only mirrors.
	StaticPod Reason = "static_pod"
	// Windows is that of a pod for nodes without nftables.
	Windows Reason = "windows"
	// OtherMesh is that of a pod with another mesh's sidecar.
	OtherMesh Reason = "other_mesh"
)

// enabled is how a namespace or a pod opts in.
const enabled = "enabled"

// EnabledNamespace gives the labels of a namespace that opts in.
func EnabledNamespace() map[string]string { return map[string]string{keyInject: enabled} }

// OptsIn reports whether a namespace with these labels opts in, by the one spelling that the webhook's selector takes.
func OptsIn(labels map[string]string) bool { return labels[keyInject] == enabled }

// NamespaceWarnings says what a namespace's labels do not mean, although they look like it.
func NamespaceWarnings(labels map[string]string) []string {
	value, ok := labels[keyInject]
	if !ok || slices.Contains([]string{enabled, "disabled", "false"}, value) {
		return nil
	}
	return []string{fmt.Sprintf("%s=%s opts nothing in: on a namespace, %s is what counts", keyInject, value, enabled)}
}

// decide looks at everything that could keep a sidecar away. The error refuses the pod.
func decide(pod *corev1.Pod, r Request) (Decision, error) {
	d, err := wanted(pod, r)
	if err != nil || d.Reason != "" {
		return d, err
	}
	if hasContainer(pod, proxyContainer) {
		if pod.Annotations[keyStatus] != "" {
			return Decision{Reason: AlreadyInjected, Detail: "the pod has a sidecar already"}, nil
		}
		return d, fmt.Errorf("container %s is there without the annotation %s: it was not put there by the injector; rename it, or set %s: \"false\"",
			proxyContainer, keyStatus, keyInject)
	}
	if status, ok, err := ParseStatus(pod.Annotations); err == nil && ok && status.Template != "" && hasContainer(pod, agentContainer) {
		return Decision{Reason: AlreadyInjected, Detail: "the pod has what template " + status.Template + " gives already"}, nil
	}
	for _, test := range []struct {
		applies bool
		reason  Reason
		detail  string
	}{
		{pod.Annotations[keyStaticPod] != "", StaticPod, "a static pod is the kubelet's, what is created here only mirrors it"},
		{pod.Spec.HostNetwork, HostNetwork, "hostNetwork: the pod shares the network of its node, where nothing can be redirected for it alone"},
		{forWindows(pod), Windows, "the pod is for Windows nodes"},
		{hasContainer(pod, istioContainer), OtherMesh, "the pod has a sidecar of Istio (container istio-proxy); two meshes cannot redirect the same traffic"},
		{hasContainer(pod, "linkerd-proxy"), OtherMesh, "the pod has a sidecar of Linkerd (container linkerd-proxy); two meshes cannot redirect the same traffic"},
	} {
		if test.applies {
			return Decision{Reason: test.reason, Detail: test.detail}, nil
		}
	}
	return d, nameTaken(pod)
}

// wanted asks the namespace and the pod. The zero Decision is a yes.
//
// It agrees with the selectors of the MutatingWebhookConfiguration, which see labels only: a namespace that says no is
// never asked further; a pod's label or annotation that says no counts before one that says yes; in a namespace that
// says nothing, only the pod's label opts in.
func wanted(pod *corev1.Pod, r Request) (Decision, error) {
	if slices.Contains(ExcludedNamespaces(), r.Namespace) {
		return Decision{Reason: NamespaceExcluded, Detail: "nothing is injected in namespace " + r.Namespace}, nil
	}
	byNamespace, err := choice(keyInject, r.NamespaceLabels[keyInject])
	if err != nil {
		return Decision{}, fmt.Errorf("label of namespace %s: %w", r.Namespace, err)
	}
	if byNamespace == No {
		return Decision{Reason: Disabled, Detail: fmt.Sprintf("namespace %s has the label %s: %s", r.Namespace, keyInject, r.NamespaceLabels[keyInject])}, nil
	}
	label, annotated, err := podChoices(pod)
	if err != nil {
		return Decision{}, err
	}
	if label == No {
		return Decision{Reason: Disabled, Detail: "the pod says no by its label " + keyInject}, nil
	}
	if annotated == No {
		return Decision{Reason: Disabled, Detail: "the pod says no by its annotation " + keyInject}, nil
	}
	yes := byNamespace == Yes || label == Yes
	if label == Auto && annotated == Auto {
		if how := istioSaysNo(pod); how != "" && yes {
			return Decision{Reason: Disabled, Detail: "the pod says no by its " + how + " " + istioInject}, nil
		}
	}
	if !yes {
		return Decision{Reason: NotOptedIn, Detail: fmt.Sprintf("neither namespace %s nor the pod has the label %s: %s", r.Namespace, keyInject, enabled)}, nil
	}
	return Decision{}, nil
}

// podChoices reads the pod's own label and annotation.
func podChoices(pod *corev1.Pod) (label, annotated Choice, err error) {
	if label, err = choice(keyInject, pod.Labels[keyInject]); err != nil {
		return "", "", fmt.Errorf("label %w", err)
	}
	if annotated, err = choice(keyInject, pod.Annotations[keyInject]); err != nil {
		return "", "", fmt.Errorf("annotation %w", err)
	}
	return label, annotated, nil
}

// choice reads a label or annotation; empty is [Auto].
func choice(key, value string) (Choice, error) {
	if value == "" {
		return Auto, nil
	}
	yes, err := parseBool(value)
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: %q is neither \"enabled\" nor \"disabled\"", key, value)
	case yes:
		return Yes, nil
	}
	return No, nil
}

// istioSaysNo reads sidecar.istio.io/inject in the spellings that Istio takes. Its yes is not ours: a pod that opts
// into Istio in a namespace without labels does not ask for Fairlead.
func istioSaysNo(pod *corev1.Pod) (how string) {
	no := []string{"false", "no", "n", "off"}
	switch {
	case slices.Contains(no, strings.ToLower(pod.Annotations[istioInject])):
		return "annotation"
	case slices.Contains(no, strings.ToLower(pod.Labels[istioInject])):
		return "label"
	}
	return ""
}

// ExcludedNamespaces are those where nothing is ever injected: those of Kubernetes itself, and our own, for the
// injector cannot wait for itself.
func ExcludedNamespaces() []string {
	return []string{"kube-system", "kube-public", "kube-node-lease", "fairlead-system"}
}

func forWindows(pod *corev1.Pod) bool {
	return pod.Spec.OS != nil && pod.Spec.OS.Name == corev1.Windows || pod.Spec.NodeSelector[corev1.LabelOSStable] == string(corev1.Windows)
}

func hasContainer(pod *corev1.Pod, name string) bool {
	named := func(c corev1.Container) bool { return c.Name == name }
	return slices.ContainsFunc(pod.Spec.InitContainers, named) || slices.ContainsFunc(pod.Spec.Containers, named)
}

// nameTaken refuses a pod that uses a name of ours for something else.
func nameTaken(pod *corev1.Pod) error {
	for _, name := range []string{initContainer, validationContainer} {
		if hasContainer(pod, name) {
			return fmt.Errorf("container %s: the injector needs this name; rename the container", name)
		}
	}
	for _, v := range pod.Spec.Volumes {
		if v.Name == identityVolume || v.Name == stateVolume || v.Name == emptyVolume {
			return fmt.Errorf("volume %s: the injector needs this name; rename the volume", v.Name)
		}
	}
	return nil
}

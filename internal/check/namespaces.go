package check

import (
	"fmt"
	"slices"
	"strings"
)

// Labels and annotations by which namespaces opt into other meshes.
const (
	istioInjection = "istio-injection"
	istioRevision  = "istio.io/rev"
	linkerdInject  = "linkerd.io/inject"

	// podSecurity is the level that Kubernetes enforces in a namespace (Pod Security Standards).
	podSecurity = "pod-security.kubernetes.io/enforce"
)

// optedIn are the namespaces with the label that the webhook's selector asks for.
func (f *Facts) optedIn() []Namespace {
	return slices.DeleteFunc(slices.Clone(f.Namespaces.Value), func(n Namespace) bool { return n.Labels[injectLabel] != enabled || n.Terminating })
}

// judgeLabels finds namespaces that look as if they had opted in and have not, and those that opted into two meshes.
func judgeLabels(f *Facts) verdict {
	if f.Namespaces.Err != nil {
		return unknown(f.Namespaces.Err)
	}
	others := f.otherMeshes()
	var wrong []string
	for i := range f.Namespaces.Value {
		n := &f.Namespaces.Value[i]
		value, labelled := n.Labels[injectLabel]
		foreign := n.foreignLabel()
		switch {
		case n.Terminating:
		case labelled && value != enabled && value != "disabled" && value != "false":
			wrong = append(wrong, fmt.Sprintf("namespace %s has the label %s=%s, which means nothing: %s or disabled is what counts on a namespace", n.Name, injectLabel, value, enabled))
		case foreign != "" && value == enabled && len(others) > 0:
			wrong = append(wrong, fmt.Sprintf("namespace %s has opted in, and has %s for another mesh that is here too: its pods get whichever sidecar comes first", n.Name, foreign))
		case foreign != "" && !labelled && len(others) == 0 && f.Webhooks.Err == nil:
			wrong = append(wrong, fmt.Sprintf("namespace %s has %s, for a mesh that has no injector here; Fairlead does not read it", n.Name, foreign))
		case n.Annotated != "":
			wrong = append(wrong, fmt.Sprintf("namespace %s has the annotation %s=%s: it has to be a label", n.Name, injectLabel, n.Annotated))
		}
	}
	slices.Sort(wrong)
	return judge(wrong, warn, fmt.Sprintf("kubectl label namespace NAME %s=%s --overwrite, then restart its workloads", injectLabel, enabled))
}

// foreignLabel gives what opts a namespace into another mesh, or "".
func (n *Namespace) foreignLabel() string {
	switch {
	case n.Labels[istioInjection] == enabled:
		return istioInjection + "=" + enabled
	case n.Labels[istioRevision] != "":
		return istioRevision + "=" + n.Labels[istioRevision]
	case n.Linkerd == enabled || n.Linkerd == "ingress":
		return linkerdInject + "=" + n.Linkerd
	}
	return ""
}

// judgePodSecurity finds namespaces that opted in and whose Pod Security Standard refuses the init container that
// redirects traffic: it runs as root with CAP_NET_ADMIN, which only the level "privileged" allows.
func judgePodSecurity(f *Facts) verdict {
	if f.Namespaces.Err != nil {
		return unknown(f.Namespaces.Err)
	}
	if usesCNI(f) {
		return pass()
	}
	var wrong []string
	for _, n := range f.optedIn() {
		if level := n.Labels[podSecurity]; level == "restricted" || level == "baseline" {
			wrong = append(wrong, fmt.Sprintf("namespace %s has %s=%s: the API server refuses its pods, for fairlead-init needs CAP_NET_ADMIN", n.Name, podSecurity, level))
		}
	}
	slices.Sort(wrong)
	return judge(wrong, fail, "install with cni.enabled: then pods need no privilege; docs/reference/cni.md")
}

// judgeUsers finds app containers that run as the sidecar's user.
func judgeUsers(f *Facts) verdict {
	var wrong []string
	for _, w := range f.meshed() {
		if len(w.AsProxy) > 0 {
			wrong = append(wrong, fmt.Sprintf("pod %s/%s, %s: runs as user or group 1337, so its calls bypass the mesh", w.Namespace, w.Name, strings.Join(w.AsProxy, ", ")))
		}
	}
	slices.Sort(wrong)
	return judge(wrong, warn, "give the container another runAsUser and runAsGroup: 1337 is how the redirection tells the sidecar from the app")
}

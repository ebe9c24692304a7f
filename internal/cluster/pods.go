package cluster

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// PodRef is how a user names a pod: by itself, or by something that has pods.
type PodRef struct {
	// Kind is "pod", or the plural of a workload or Service as the API spells it.
	Kind      string
	Namespace string
	Name      string
}

// String is the form that errors name it by.
func (r PodRef) String() string {
	return fmt.Sprintf("%s %s/%s", strings.TrimSuffix(r.Kind, "s"), r.Namespace, r.Name)
}

// ParsePodRef reads POD, POD.NAMESPACE, KIND/NAME and KIND/NAME.NAMESPACE, with kubectl's short names for kinds.
// namespace is what -n says; where it is empty a name with a dot ends in its namespace, as istioctl prints it, and
// otherwise fallback is used.
func ParsePodRef(s, namespace, fallback string) (PodRef, error) {
	r := PodRef{Kind: "pods", Namespace: namespace, Name: s}
	if kind, name, ok := strings.Cut(s, "/"); ok {
		if r.Kind, ok = plural(kind); !ok {
			return r, fmt.Errorf("%q: kind %q has no pods: use pod, deploy, statefulset, daemonset, replicaset, job or service", s, kind)
		}
		r.Name = name
	}
	if r.Namespace == "" {
		r.Namespace = fallback
		if at := strings.LastIndexByte(r.Name, '.'); at >= 0 {
			r.Name, r.Namespace = r.Name[:at], r.Name[at+1:]
		}
	}
	if r.Name == "" || r.Namespace == "" || strings.Contains(r.Name, "/") {
		return r, fmt.Errorf("%q names no pod: use POD, POD.NAMESPACE or deploy/NAME", s)
	}
	return r, nil
}

// plural gives the API's name of a kind that has pods.
func plural(kind string) (string, bool) {
	kind, _, _ = strings.Cut(strings.ToLower(kind), ".") // deployments.apps
	for _, names := range [][]string{
		{"pods", "pod", "po"},
		{"deployments", "deployment", "deploy"},
		{"statefulsets", "statefulset", "sts"},
		{"daemonsets", "daemonset", "ds"},
		{"replicasets", "replicaset", "rs"},
		{"jobs", "job"},
		{"services", "service", "svc"},
	} {
		if slices.Contains(names, kind) {
			return names[0], true
		}
	}
	return "", false
}

// path is where the API server has what r names.
func (r PodRef) path() string {
	prefix := "/apis/apps/v1"
	switch r.Kind {
	case "pods", "services":
		prefix = "/api/v1"
	case "jobs":
		prefix = "/apis/batch/v1"
	}
	return Path(prefix, r.Namespace, r.Kind, r.Name)
}

// FindPod gives the pod that r names. Of several pods of a workload it is one that is ready, the first by name.
func (c *Client) FindPod(ctx context.Context, r PodRef) (*corev1.Pod, error) {
	if r.Kind == "pods" {
		pod := &corev1.Pod{}
		if err := c.Get(ctx, r.path(), pod); err != nil {
			return nil, err
		}
		return pod, nil
	}
	pods, err := c.PodsOf(ctx, r)
	if err != nil {
		return nil, err
	}
	pods = slices.DeleteFunc(pods, func(p corev1.Pod) bool { return p.Status.Phase != corev1.PodRunning })
	if len(pods) == 0 {
		return nil, fmt.Errorf("%s has no running pod", r)
	}
	return &pods[0], nil
}

// PodsOf lists the pods of a workload or Service, ready ones first, then by name.
func (c *Client) PodsOf(ctx context.Context, r PodRef) ([]corev1.Pod, error) {
	selector, err := c.selector(ctx, r)
	if err != nil {
		return nil, err
	}
	return c.pods(ctx, r.Namespace, selector)
}

// PodsWith lists the pods that a label selector selects, in one namespace, or in all where it is empty, in the order of
// PodsOf.
func (c *Client) PodsWith(ctx context.Context, namespace, selector string) ([]corev1.Pod, error) {
	return c.pods(ctx, namespace, selector)
}

// selector reads which pods belong to a workload or Service.
func (c *Client) selector(ctx context.Context, r PodRef) (string, error) {
	if r.Kind == "services" {
		svc := corev1.Service{}
		if err := c.Get(ctx, r.path(), &svc); err != nil {
			return "", err
		}
		if len(svc.Spec.Selector) == 0 {
			return "", fmt.Errorf("%s has no selector, so no pods", r)
		}
		return labels.SelectorFromSet(svc.Spec.Selector).String(), nil
	}
	var workload struct {
		Spec struct {
			Selector *metav1.LabelSelector `json:"selector"`
		} `json:"spec"`
	}
	if err := c.Get(ctx, r.path(), &workload); err != nil {
		return "", err
	}
	selector, err := metav1.LabelSelectorAsSelector(workload.Spec.Selector)
	if err != nil {
		return "", fmt.Errorf("%s: selector: %w", r, err)
	}
	if selector.Empty() || workload.Spec.Selector == nil { // in a query, no selector would mean every pod
		return "", fmt.Errorf("%s has no selector, so no pods", r)
	}
	return selector.String(), nil
}

// pods lists the pods that a label selector selects, in the order of PodsOf.
func (c *Client) pods(ctx context.Context, namespace, selector string) ([]corev1.Pod, error) {
	var pods []corev1.Pod
	query := url.Values{"labelSelector": {selector}}
	if err := Each(ctx, c, Path("/api/v1", namespace, "pods", ""), query, func(p *corev1.Pod) { pods = append(pods, *p) }); err != nil {
		return nil, err
	}
	slices.SortFunc(pods, func(a, b corev1.Pod) int {
		if ra, rb := Ready(&a), Ready(&b); ra != rb {
			if ra {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return pods, nil
}

// Ready reports whether a pod takes traffic: its condition Ready is true and it is not being deleted.
func Ready(p *corev1.Pod) bool {
	if p.DeletionTimestamp != nil {
		return false
	}
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

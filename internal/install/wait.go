package install

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// pollEvery is how often the cluster is asked while something is waited for.
const pollEvery = 500 * time.Millisecond

// awaitRelease waits until what was applied works.
func (i *Installer) awaitRelease(ctx context.Context, r *Release) error {
	ctx, cancel := context.WithTimeout(ctx, i.o.Timeout)
	defer cancel()
	seen := observed{i.o}
	for _, o := range r.Objects {
		ref := refOf(o)
		var check func(context.Context) (string, error)
		switch ref.kind {
		case "CustomResourceDefinition":
			check = func(ctx context.Context) (string, error) { return seen.established(ctx, ref) }
		case "Deployment":
			check = func(ctx context.Context) (string, error) { return seen.deployed(ctx, ref) }
		case "DaemonSet":
			check = func(ctx context.Context) (string, error) { return seen.onAllNodes(ctx, ref) }
		case "MutatingWebhookConfiguration":
			check = func(ctx context.Context) (string, error) { return seen.trusted(ctx, ref) }
		default:
			continue
		}
		if err := i.await(ctx, ref.String(), i.o.Timeout, check); err != nil {
			return err
		}
	}
	i.say("fairlead %s is ready", r.Version)
	return nil
}

// await asks check until it has nothing more to wait for or ctx ends, after timeout at the latest, and tells why it
// waits, once for each reason.
func (i *Installer) await(ctx context.Context, what string, timeout time.Duration, check func(context.Context) (string, error)) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	told := ""
	for {
		why, err := check(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			why = err.Error() // an API server that restarts comes back
		case err == nil && why == "":
			return nil
		}
		if why != "" && why != told && ctx.Err() == nil {
			i.say("waiting for %s: %s", what, why)
			told = why
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("waited %s for %s: %s", timeout, what, told)
			}
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// observed is the cluster as it is: why something does not work yet, "" where it does.
type observed struct{ InstallerOptions }

// established says why a kind is not served yet.
func (c observed) established(ctx context.Context, ref objectRef) (string, error) {
	crd := &unstructured.Unstructured{}
	if err := c.Cluster.Get(ctx, ref.path(), crd); err != nil {
		return "", err
	}
	conditions, _, err := unstructured.NestedSlice(crd.Object, "status", "conditions")
	if err != nil {
		return "", err
	}
	why := "not established"
	for _, entry := range conditions {
		condition, ok := entry.(map[string]any)
		if !ok {
			continue
		}
		switch {
		case condition["type"] == "Established" && condition["status"] == "True":
			return "", nil
		case condition["status"] == "False":
			why = fmt.Sprint(condition["message"])
		}
	}
	return why, nil
}

// deployed says why a Deployment is not complete.
func (c observed) deployed(ctx context.Context, ref objectRef) (string, error) {
	var d appsv1.Deployment
	if err := c.Cluster.Get(ctx, ref.path(), &d); err != nil {
		return "", err
	}
	want := int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	s := d.Status
	if s.ObservedGeneration >= d.Generation && s.UpdatedReplicas == want && s.AvailableReplicas == want && s.Replicas == want {
		return "", nil
	}
	why := fmt.Sprintf("%d of %d replicas updated, %d available", s.UpdatedReplicas, want, s.AvailableReplicas)
	if old := s.Replicas - s.UpdatedReplicas; old > 0 {
		why += fmt.Sprintf(", %d old", old)
	}
	return c.withPods(ctx, why, "controller")
}

// onAllNodes says why a DaemonSet is not complete.
func (c observed) onAllNodes(ctx context.Context, ref objectRef) (string, error) {
	var d appsv1.DaemonSet
	if err := c.Cluster.Get(ctx, ref.path(), &d); err != nil {
		return "", err
	}
	s := d.Status
	if s.ObservedGeneration >= d.Generation && s.UpdatedNumberScheduled == s.DesiredNumberScheduled && s.NumberAvailable == s.DesiredNumberScheduled {
		return "", nil
	}
	why := fmt.Sprintf("%d of %d nodes updated, %d available", s.UpdatedNumberScheduled, s.DesiredNumberScheduled, s.NumberAvailable)
	return c.withPods(ctx, why, "cni")
}

// trusted says why the API server cannot call the webhooks: the controller writes the certificate authority.
func (c observed) trusted(ctx context.Context, ref objectRef) (string, error) {
	var hook admissionv1.MutatingWebhookConfiguration
	if err := c.Cluster.Get(ctx, ref.path(), &hook); err != nil {
		return "", err
	}
	for _, w := range hook.Webhooks {
		if len(w.ClientConfig.CABundle) == 0 {
			return "webhook " + w.Name + " has no caBundle: the controller has not written it yet", nil
		}
	}
	return "", nil
}

// withPods adds to a reason what is wrong with the pods of a component.
func (c observed) withPods(ctx context.Context, why, component string) (string, error) {
	pods, err := c.pods(ctx, component)
	if err != nil {
		return "", err
	}
	for n := range pods {
		if pods[n].DeletionTimestamp != nil {
			continue // on its way out
		}
		if trouble := podTrouble(&pods[n]); trouble != "" {
			return why + "; pod " + pods[n].Name + ": " + trouble, nil
		}
	}
	return why, nil
}

// pods lists the pods of a component, or all of ours where it is empty.
func (c observed) pods(ctx context.Context, component string) ([]corev1.Pod, error) {
	selector := "app.kubernetes.io/name=" + releaseName
	if component != "" {
		selector += ",app.kubernetes.io/component=" + component
	}
	var list corev1.PodList
	path := objectRef{"v1", "Pod", c.Namespace, ""}.path() + "?" + url.Values{"labelSelector": {selector}}.Encode()
	if err := c.Cluster.Get(ctx, path, &list); err != nil {
		return nil, err
	}
	slices.SortFunc(list.Items, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return list.Items, nil
}

// podTrouble is what keeps a pod from being ready, in the words of the scheduler, the kubelet or its container.
func podTrouble(p *corev1.Pod) string {
	for _, c := range p.Status.ContainerStatuses {
		if last := c.LastTerminationState.Terminated; last != nil && !c.Ready {
			return fmt.Sprintf("container %s ended with exit code %d, restarted %d times: see kubectl -n %s logs %s -p", c.Name, last.ExitCode, c.RestartCount, p.Namespace, p.Name)
		}
		if w := c.State.Waiting; w != nil && w.Reason != "ContainerCreating" && w.Reason != "PodInitializing" {
			return strings.TrimSuffix(w.Reason+": "+w.Message, ": ")
		}
	}
	for _, c := range p.Status.ContainerStatuses {
		if c.State.Running != nil && !c.Ready {
			return fmt.Sprintf("container %s runs but is not ready: see kubectl -n %s logs %s", c.Name, p.Namespace, p.Name)
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return "not scheduled: " + c.Message
		}
	}
	return ""
}

// equalJSON compares two objects as the API server would write them.
func equalJSON(a, b map[string]any) bool {
	x, errA := json.Marshal(a)
	y, errB := json.Marshal(b)
	return errA == nil && errB == nil && bytes.Equal(x, y)
}

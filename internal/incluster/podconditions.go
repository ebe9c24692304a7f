package incluster

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// PodConditionsOptions configure PodConditions. All fields are required.
type PodConditionsOptions struct {
	Client *Client
	// Logger gets a line for what cannot be written.
	Logger *slog.Logger
}

// PodConditions writes conditions into the statuses of pods, beside those of the kubelet, who keeps them. Every replica
// runs it, for the pods whose sidecars it serves. Of one pod a condition is written at once, and with pauses of up to a
// minute where it changes again and again; all pods together are bounded as all requests of the Client are.
type PodConditions struct {
	client  *Client
	repairs *repairs

	mu   sync.Mutex
	want map[string]podConditions // guarded by mu, by "namespace/name"
}

// podConditions is what one pod is to have.
type podConditions struct {
	pod        Pod
	conditions []PodCondition
}

// Pod is one pod; another one of the name has another UID.
type Pod struct{ Namespace, Name, UID string }

// PodCondition is one condition.
type PodCondition struct {
	Type, Reason, Message string
	Holds                 bool
	// Since is when it became so.
	Since time.Time
}

// NewPodConditions checks the options. It sends nothing.
func NewPodConditions(o PodConditionsOptions) (*PodConditions, error) {
	if o.Client == nil || o.Logger == nil {
		return nil, errors.New("pod conditions: Client and Logger are required")
	}
	p := &PodConditions{client: o.Client, want: make(map[string]podConditions)}
	p.repairs = newRepairs(o.Logger, p.write)
	return p, nil
}

func (p Pod) key() string { return p.Namespace + "/" + p.Name }

// Set has the conditions written, in place of what was asked for before and is not written yet. It does not block, and may
// be called when Run is not running.
func (p *PodConditions) Set(pod Pod, conditions []PodCondition) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.want[pod.key()] = podConditions{pod, conditions}
	p.repairs.want(pod.key())
}

// Forget says that a pod is gone, or another replica's to care for.
func (p *PodConditions) Forget(namespace, name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := Pod{Namespace: namespace, Name: name}.key()
	delete(p.want, key)
	p.repairs.forget(key)
}

// Run writes until ctx ends.
func (p *PodConditions) Run(ctx context.Context) { p.repairs.run(ctx) }

func (p *PodConditions) write(ctx context.Context, key string) error {
	p.mu.Lock()
	w, ok := p.want[key]
	p.mu.Unlock()
	if !ok {
		return nil
	}
	body, err := w.patch()
	if err != nil {
		return err
	}
	err = p.client.patch(ctx, target{resource: pods(), namespace: w.pod.Namespace, name: w.pod.Name, sub: "status"}, types.StrategicMergePatchType, body)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) { // gone, or another one by now
		return nil
	}
	return err
}

// patch merges the conditions by their types into those that there are. The UID is a precondition.
func (w *podConditions) patch() ([]byte, error) {
	type condition struct {
		Type               string                 `json:"type"`
		Status             corev1.ConditionStatus `json:"status"`
		Reason             string                 `json:"reason"`
		Message            string                 `json:"message"`
		LastTransitionTime metav1.Time            `json:"lastTransitionTime"`
	}
	type meta struct {
		UID string `json:"uid,omitempty"`
	}
	type status struct {
		Conditions []condition `json:"conditions"`
	}
	var patch struct {
		Metadata meta   `json:"metadata"`
		Status   status `json:"status"`
	}
	patch.Metadata.UID = w.pod.UID
	for _, c := range w.conditions {
		s := corev1.ConditionFalse
		if c.Holds {
			s = corev1.ConditionTrue
		}
		patch.Status.Conditions = append(patch.Status.Conditions, condition{c.Type, s, c.Reason, c.Message, metav1.NewTime(c.Since)})
	}
	return json.Marshal(patch)
}

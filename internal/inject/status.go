package inject

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Mode is the way in which a sidecar runs.
type Mode string

// The modes.
const (
	// Native is an init container that keeps running.
	Native Mode = "native"
	// Classic is a container beside the app's.
	Classic Mode = "classic"
)

// Status is what the injector writes down of what it did, in the annotation fairlead.dev/status: [Remove] takes out
// what it lists and nothing else.
type Status struct {
	// Version is the tag of the sidecar's image.
	Version string `json:"version"`
	Mode    Mode   `json:"mode"`
	// Template is what the pod got in the place of a sidecar, empty for a sidecar.
	Template         string   `json:"template,omitempty"`
	InitContainers   []string `json:"initContainers,omitempty"`
	Containers       []string `json:"containers,omitempty"`
	Volumes          []string `json:"volumes,omitempty"`
	ImagePullSecrets []string `json:"imagePullSecrets,omitempty"`
	Annotations      []string `json:"annotations,omitempty"`
	// Env are the variables that containers of the app got, by the container.
	Env map[string][]string `json:"env,omitempty"`
	// Replaced are annotations as they were before the injector wrote others in their place.
	Replaced map[string]string `json:"replaced,omitempty"`
	// Redirect is, where a CNI plugin redirects the traffic, what it is to give to `fairlead-proxy init`; nil elsewhere.
	// internal/cni reads it.
	Redirect []string `json:"redirect,omitzero"`
	// ProbePorts are the names of ports in probes that were rewritten, by the probe's new path.
	ProbePorts map[string]string `json:"probePorts,omitempty"`
}

// lists reports whether a container was put in by the injector.
func (s *Status) lists(container string) bool {
	return slices.Contains(s.InitContainers, container) || slices.Contains(s.Containers, container)
}

// ParseStatus reads the annotation of a pod. ok is false where there is none.
func ParseStatus(annotations map[string]string) (s Status, ok bool, err error) {
	written := annotations[keyStatus]
	if written == "" {
		return s, false, nil
	}
	if err := json.Unmarshal([]byte(written), &s); err != nil {
		return s, false, fmt.Errorf("annotation %s is not what the injector writes: %w", keyStatus, err)
	}
	return s, true, nil
}

func (b *builder) writeStatus() error {
	written, err := compact(b.status)
	b.annotate(keyStatus, written)
	return err
}

// imageTag gives what follows the name of an image; the whole image where nothing does.
func imageTag(image string) string {
	name, digest, _ := strings.Cut(image, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		return name[i+1:]
	}
	if digest != "" {
		return digest
	}
	return "latest"
}

// Remove takes out of a pod what [Pod] put in. It gives the pod itself and false where there is nothing to take out.
// pod is not changed.
func Remove(pod *corev1.Pod) (*corev1.Pod, bool, error) {
	status, ok, err := ParseStatus(pod.Annotations)
	if err != nil || !ok {
		return pod, false, err
	}
	out := pod.DeepCopy()
	releaseApps(out)
	for _, c := range containersOf(out) {
		if c.Name != proxyContainer {
			continue
		}
		probes, err := probesOf(c)
		if err != nil {
			return pod, false, err
		}
		restoreProbes(out, probes, status.ProbePorts)
	}
	takeBack(out, &status)
	out.Spec.InitContainers = without(out.Spec.InitContainers, status.InitContainers, func(c corev1.Container) string { return c.Name })
	out.Spec.Containers = without(out.Spec.Containers, status.Containers, func(c corev1.Container) string { return c.Name })
	out.Spec.Volumes = without(out.Spec.Volumes, status.Volumes, func(v corev1.Volume) string { return v.Name })
	out.Spec.ImagePullSecrets = without(out.Spec.ImagePullSecrets, status.ImagePullSecrets, func(r corev1.LocalObjectReference) string { return r.Name })
	for _, key := range append(status.Annotations, keyStatus) {
		delete(out.Annotations, key)
	}
	maps.Copy(out.Annotations, status.Replaced)
	if len(out.Annotations) == 0 {
		out.Annotations = nil
	}
	return out, true, nil
}

// without gives list less the elements with one of the names; nil where nothing is left.
func without[T any](list []T, names []string, name func(T) string) []T {
	list = slices.DeleteFunc(list, func(e T) bool { return slices.Contains(names, name(e)) })
	if len(list) == 0 {
		return nil
	}
	return list
}

package inject

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// What a pod has whose sidecar is a stock Envoy. Its image is the operator's and knows nothing of the mesh: an init container
// puts `fairlead-proxy` beside it, which runs it.
const (
	envoyContainer = "fairlead-envoy"
	// programPath is where the copy is, in the volume of the sidecar's state.
	programPath = stateDir + "/bin/" + proxyContainer
)

// setProxy reads which sidecar a pod wants.
func setProxy(s *settings, value string) error {
	switch strings.TrimSpace(value) {
	case "envoy":
		if s.EnvoyImage == "" {
			return errors.New("envoy: no image of an Envoy is known here; the mesh's operator sets one: proxy.envoyImage of the chart's values, envoyImage of injector.yaml")
		}
		s.envoy = true
	case "", "fairlead":
	default:
		return fmt.Errorf("%q is no proxy; write envoy or fairlead", value)
	}
	return nil
}

// forEnvoy leaves out what only Fairlead's own sidecar does: it answers DNS, holds the app's end back, and shows the app's
// metrics behind its own, which a pod that has some is better off without.
func (s *settings) forEnvoy(written map[string]string) {
	if !s.envoy {
		return
	}
	s.CaptureDNS, s.HoldAppEnd = false, false
	for key := range written {
		if scrapeName(key) != "" {
			s.MergeMetrics = false
		}
	}
}

// copyContainer puts `fairlead-proxy` where the Envoy's container finds it.
func (s *settings) copyContainer() corev1.Container {
	return corev1.Container{
		Name: envoyContainer, Image: s.Image, ImagePullPolicy: s.ImagePullPolicy, Args: []string{"copy", programPath},
		Resources:                *s.resources.DeepCopy(),
		VolumeMounts:             []corev1.VolumeMount{{Name: stateVolume, MountPath: stateDir}, noAPIAccess()},
		SecurityContext:          unprivileged(proxyUser),
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
	}
}

// inEnvoy makes the sidecar one that runs an Envoy, in the Envoy's image.
func (s *settings) inEnvoy(c *corev1.Container) {
	c.Image = s.EnvoyImage
	c.Command = []string{programPath}
	c.Args = []string{
		"envoy", "--dir=" + stateDir + "/envoy", "--pod=$(POD_NAME)", "--namespace=$(POD_NAMESPACE)", "--pod-ip=$(POD_IPS)",
		"--controller=" + s.Controller, "--controller-name=" + s.ControllerName,
		"--drain=" + s.drain.String(), "--log-level=" + s.LogLevel, "--concurrency=" + strconv.Itoa(s.envoyThreads()),
	}
	// The limit is the Envoy's, whose memory is not Go's.
	c.Env = slices.DeleteFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == "GOMEMLIMIT" })
	if c.Lifecycle != nil {
		for _, h := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
			h.Exec.Command[0] = programPath
		}
	}
}

// envoyThreads is as many as the container may have processors, and two where it may have all of them, as Istio's default.
func (s *settings) envoyThreads() int {
	if limit, ok := s.resources.Limits[corev1.ResourceCPU]; ok {
		return max(1, int((limit.MilliValue()+999)/1000))
	}
	return 2
}

package inject

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Request is what is known beside the pod.
type Request struct {
	// Namespace is the pod's, which the pod itself does not know before it is stored.
	Namespace       string
	NamespaceLabels map[string]string
	Config          Config
	// Native says that the API server knows native sidecars: init containers with restartPolicy Always, on by default
	// since Kubernetes 1.29.
	Native bool
}

// Pod decides whether a pod gets a sidecar and gives the pod as it should be: itself where nothing is to be done. The
// error refuses the pod, in one line for its owner. pod is not changed.
func Pod(pod *corev1.Pod, r Request) (*corev1.Pod, Decision, error) {
	d, err := decide(pod, r)
	if err == nil && d.Reason == AlreadyInjected {
		return again(pod, r, d)
	}
	if err != nil || d.Reason != "" {
		return pod, d, err
	}
	s, warnings, err := newSettings(r.Config, pod.Annotations)
	if err != nil {
		return pod, Decision{}, err
	}
	if s.template, err = template(pod); err != nil {
		return pod, Decision{}, err
	}
	native := s.NativeSidecar == Yes || s.NativeSidecar == Auto && r.Native
	b := builder{pod: pod.DeepCopy(), s: s, status: Status{Version: imageTag(s.Image), Mode: Classic}, warnings: warnings}
	if native {
		b.status.Mode = Native
	}
	if s.template != "" {
		if err := b.buildProxyless(); err != nil {
			return pod, Decision{}, err
		}
		return b.pod, Decision{Reason: Injected, Detail: "no sidecar, template " + s.template, Warnings: warnings}, nil
	}
	if err := b.build(); err != nil {
		return pod, Decision{}, err
	}
	b.warn(r)
	d = Decision{Reason: Injected, Detail: string(b.status.Mode) + " sidecar", Warnings: b.warnings}
	if s.CNI {
		d.Detail += ", redirected by the CNI plugin"
	}
	return b.pod, d, nil
}

// again looks at a pod that has a sidecar. Containers that another webhook added since, which is why the API server
// asks twice (reinvocationPolicy IfNeeded), get their probes rewritten too; everything else is left as it is.
func again(pod *corev1.Pod, r Request, d Decision) (*corev1.Pod, Decision, error) {
	status, _, err := ParseStatus(pod.Annotations)
	if err != nil || status.Template != "" {
		return pod, d, err
	}
	s, _, err := newSettings(r.Config, pod.Annotations)
	if err != nil {
		return pod, d, err
	}
	b := builder{pod: pod.DeepCopy(), s: s, status: status}
	probes := b.rewriteProbes()
	held := b.holdApps()
	switch {
	case len(probes) > 0:
		d.Detail += ", which now answers for the probes of containers added since"
	case held:
		d.Detail += ", which now says when containers added since may end"
	default:
		return pod, d, nil
	}
	for _, c := range containersOf(b.pod) {
		if c.Name != proxyContainer || len(probes) == 0 {
			continue
		}
		known, err := probesOf(c)
		if err != nil {
			return pod, d, err
		}
		maps.Copy(known, probes)
		env, err := probesEnv(known)
		if err != nil {
			return pod, d, err
		}
		c.Env = append(slices.DeleteFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == probesVariable }), env...)
	}
	if err := b.writeStatus(); err != nil {
		return pod, d, err
	}
	d.Warnings = b.warnings
	return b.pod, d, nil
}

// builder holds what is being made.
type builder struct {
	pod      *corev1.Pod
	s        settings
	status   Status
	warnings []string
	// appMetrics is where the app shows metrics, as the sidecar is told; empty where it shows none.
	appMetrics string
}

// build puts everything into the pod, in the order in which it works.
func (b *builder) build() error {
	// Probes first: the sidecar is told of them.
	probes, err := probesEnv(b.rewriteProbes())
	if err != nil {
		return err
	}
	b.holdApps() // after the probes: it is the sidecar that is asked already
	b.mergeMetrics()
	b.addVolumes()
	b.addPullSecrets()
	// The rules come before everything that has traffic, …
	before := []corev1.Container{b.redirectContainer()}
	proxy := b.proxyContainer(probes)
	if b.status.Mode == Classic {
		proxy.Lifecycle = b.hold()
	}
	if b.s.envoy {
		before = append(before, b.s.copyContainer())
		b.s.inEnvoy(&proxy)
	}
	if b.status.Mode == Native {
		// … then the sidecar, so that init containers of the app have the network that the app will have. The kubelet
		// ends it after the app, and it does not keep a Job from completing (KEP-753).
		always := corev1.ContainerRestartPolicyAlways
		proxy.RestartPolicy = &always
		before = append(before, proxy)
	} else {
		// … and the sidecar first of all containers: the kubelet starts them in order and waits for the postStart hook
		// of each before it starts the next.
		b.pod.Spec.Containers = slices.Insert(b.pod.Spec.Containers, 0, proxy)
		b.status.Containers = []string{proxy.Name}
		b.keepMainContainer()
	}
	for _, c := range before {
		b.status.InitContainers = append(b.status.InitContainers, c.Name)
	}
	b.pod.Spec.InitContainers = slices.Insert(b.pod.Spec.InitContainers, 0, before...)
	if err := b.tellTools(); err != nil {
		return err
	}
	return b.writeStatus()
}

// keepMainContainer keeps `kubectl logs` and `kubectl exec`, which take the first container, at the app's.
func (b *builder) keepMainContainer() {
	if _, said := b.pod.Annotations[keyMainLogs]; said || len(b.pod.Spec.Containers) < 2 {
		return
	}
	b.annotate(keyMainLogs, b.pod.Spec.Containers[1].Name)
	b.status.Annotations = append(b.status.Annotations, keyMainLogs)
}

func (b *builder) annotate(key, value string) {
	if b.pod.Annotations == nil {
		b.pod.Annotations = map[string]string{}
	}
	b.pod.Annotations[key] = value
}

// keep writes down what an annotation was before the injector writes another in its place.
func (b *builder) keep(key string) {
	if b.status.Replaced == nil {
		b.status.Replaced = map[string]string{}
	}
	b.status.Replaced[key] = b.pod.Annotations[key]
}

func (b *builder) addPullSecrets() {
	for _, name := range b.s.ImagePullSecrets {
		ref := corev1.LocalObjectReference{Name: string(name)}
		if !slices.Contains(b.pod.Spec.ImagePullSecrets, ref) {
			b.pod.Spec.ImagePullSecrets = append(b.pod.Spec.ImagePullSecrets, ref)
			b.status.ImagePullSecrets = append(b.status.ImagePullSecrets, ref.Name)
		}
	}
}

// warn says what will not work as the owner of the pod may expect.
func (b *builder) warn(r Request) {
	for _, c := range slices.Concat(b.pod.Spec.InitContainers, b.pod.Spec.Containers) {
		if b.status.lists(c.Name) {
			continue
		}
		if runsAsProxy(b.pod, &c) {
			b.warnf("container %s runs as user or group %d, which is the sidecar's: its traffic bypasses the mesh", c.Name, proxyUser)
		}
		for _, p := range c.Ports {
			if slices.Contains(reservedPorts(), p.ContainerPort) {
				b.warnf("container %s uses port %d, which is the sidecar's: one of the two cannot start", c.Name, p.ContainerPort)
			}
		}
	}
	if grace := b.pod.Spec.TerminationGracePeriodSeconds; grace != nil && b.s.drain.Seconds() > float64(*grace) {
		b.warnf("the sidecar drains for %s, but terminationGracePeriodSeconds is %d", b.s.drain, *grace)
	}
	if b.status.Mode == Native {
		if !r.Native {
			b.warnf("a native sidecar is asked for, but this cluster may not know them: then the pod never starts")
		}
		return
	}
	b.warnClassic()
}

// warnClassic says what only native sidecars can do.
func (b *builder) warnClassic() {
	for _, c := range b.pod.Spec.InitContainers[len(b.status.InitContainers):] {
		b.warnf("init container %s runs before the sidecar and has no network but what is excluded from it", c.Name)
	}
	if b.pod.Spec.RestartPolicy == corev1.RestartPolicyNever || b.pod.Spec.RestartPolicy == corev1.RestartPolicyOnFailure {
		b.warnf("restartPolicy %s: the pod completes only after POST http://127.0.0.1:15000/quitquitquit, for the sidecar is not a native one", b.pod.Spec.RestartPolicy)
	}
}

func (b *builder) warnf(format string, args ...any) {
	b.warnings = append(b.warnings, fmt.Sprintf(format, args...))
}

// runsAsProxy tells containers whose packets the rules take for the sidecar's.
func runsAsProxy(pod *corev1.Pod, c *corev1.Container) bool {
	var user, group *int64
	if sc := pod.Spec.SecurityContext; sc != nil {
		user, group = sc.RunAsUser, sc.RunAsGroup
	}
	if sc := c.SecurityContext; sc != nil {
		if sc.RunAsUser != nil {
			user = sc.RunAsUser
		}
		if sc.RunAsGroup != nil {
			group = sc.RunAsGroup
		}
	}
	return user != nil && *user == proxyUser || group != nil && *group == proxyUser
}

// RunAsProxy lists the containers of the app that run as the sidecar's user or group, so that the rules take their
// packets for the sidecar's.
func RunAsProxy(pod *corev1.Pod) []string {
	status, _, err := ParseStatus(pod.Annotations)
	var names []string
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if err == nil && !status.lists(c.Name) && c.Name != proxyContainer && runsAsProxy(pod, &c) {
			names = append(names, "container "+c.Name)
		}
	}
	return names
}

// reservedPorts are those that the sidecar listens on.
func reservedPorts() []int32 {
	return []int32{15000, 15001, 15006, 15008, 15020, readyPort, 15053, metricsPort}
}

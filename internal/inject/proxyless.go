package inject

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// keyTemplates is Istio's annotation that says what a pod is given: a sidecar, or for an app that uses gRPC's own xDS an agent, or
// nothing but a bootstrap.
const (
	keyTemplates          = "inject.istio.io/templates"
	sidecarTemplate       = "sidecar"
	grpcAgent, grpcSimple = "grpc-agent", "grpc-simple"
)

// What such a pod gets, with the names and places of Istio's templates, so that images which are set up for them find it.
const (
	agentContainer     = "fairlead-agent"
	agentSocketVolume  = "istio-xds"
	agentSocketDir     = "/etc/istio/proxy"
	agentCertsVolume   = "istio-data"
	agentCertsDir      = "/var/lib/istio/data"
	agentBootstrap     = agentSocketDir + "/grpc-bootstrap.json"
	simpleVolume       = "grpc-io-proxyless-bootstrap"
	simpleDir          = "/var/lib/grpc/data"
	simpleBootstrap    = simpleDir + "/bootstrap.json"
	simplePort         = "15010"
	agentVolumeSize    = "1Mi"
	bootstrapVariable  = "GRPC_XDS_BOOTSTRAP"
	credentialVariable = "GRPC_XDS_EXPERIMENTAL_SECURITY_SUPPORT" //nolint:gosec // the name of a variable
)

// template gives what a pod is given, "" for a sidecar.
func template(pod *corev1.Pod) (string, error) {
	switch chosen := strings.TrimSpace(pod.Annotations[keyTemplates]); chosen {
	case "", sidecarTemplate:
		return "", nil
	case grpcAgent, grpcSimple:
		return chosen, nil
	default:
		return "", fmt.Errorf("annotation %s: %q is not known here: write %s, %s or %s", keyTemplates, chosen, sidecarTemplate, grpcAgent, grpcSimple)
	}
}

// buildProxyless puts an agent or a bootstrap into the pod of an app that uses gRPC's own xDS. Nothing is redirected.
func (b *builder) buildProxyless() error {
	if err := proxylessTaken(b.pod); err != nil {
		return err
	}
	b.status.Template = b.s.template
	if b.s.template == grpcSimple {
		b.buildSimple()
	} else {
		b.buildAgent()
	}
	b.addPullSecrets()
	return b.writeStatus()
}

func (b *builder) buildAgent() {
	b.addThese(identity(), noToken(), inMemory(agentSocketVolume), inMemory(agentCertsVolume))
	mounts := []corev1.VolumeMount{{Name: agentSocketVolume, MountPath: agentSocketDir}, {Name: agentCertsVolume, MountPath: agentCertsDir}}
	b.give(mounts, corev1.EnvVar{Name: bootstrapVariable, Value: agentBootstrap}, corev1.EnvVar{Name: credentialVariable, Value: "true"})
	agent := b.agent("--controller="+b.s.Controller, "--controller-name="+b.s.ControllerName, "--log-level="+b.s.LogLevel,
		"--ready-addr=:"+strconv.Itoa(readyPort), "--bootstrap="+agentBootstrap, "--xds-socket="+agentSocketDir+"/XDS", "--output-certs="+agentCertsDir)
	agent.StartupProbe = &corev1.Probe{ProbeHandler: ready(), PeriodSeconds: 1, TimeoutSeconds: 3, FailureThreshold: 120}
	agent.ReadinessProbe = &corev1.Probe{ProbeHandler: ready(), PeriodSeconds: 5, TimeoutSeconds: 3, FailureThreshold: 3}
	agent.VolumeMounts = slices.Concat([]corev1.VolumeMount{{Name: identityVolume, MountPath: identityDir, ReadOnly: true}, noAPIAccess()}, mounts)
	if b.status.Mode == Native {
		always := corev1.ContainerRestartPolicyAlways
		agent.RestartPolicy = &always
		b.status.InitContainers = []string{agent.Name}
		b.pod.Spec.InitContainers = slices.Insert(b.pod.Spec.InitContainers, 0, agent)
		return
	}
	agent.Lifecycle = &corev1.Lifecycle{PostStart: exec(proxyContainer, "wait", "--timeout", b.s.HoldTimeout.Duration.String())}
	b.status.Containers = []string{agent.Name}
	b.pod.Spec.Containers = slices.Insert(b.pod.Spec.Containers, 0, agent)
	b.keepMainContainer()
}

func (b *builder) buildSimple() {
	b.addThese(noToken(), inMemory(simpleVolume))
	mount := corev1.VolumeMount{Name: simpleVolume, MountPath: simpleDir}
	b.give([]corev1.VolumeMount{mount}, corev1.EnvVar{Name: bootstrapVariable, Value: simpleBootstrap})
	controller, _, _ := strings.Cut(b.s.Controller, ",")
	host, _, err := net.SplitHostPort(controller)
	if err != nil {
		host = cmp.Or(controller, b.s.ControllerName)
	}
	writer := b.agent("--xds-server=dns:///"+net.JoinHostPort(host, simplePort), "--bootstrap="+simpleBootstrap)
	writer.VolumeMounts = []corev1.VolumeMount{noAPIAccess(), mount}
	b.status.InitContainers = []string{writer.Name}
	b.pod.Spec.InitContainers = slices.Insert(b.pod.Spec.InitContainers, 0, writer)
}

// agent is a container that runs `fairlead-proxy agent`.
func (b *builder) agent(flags ...string) corev1.Container {
	return corev1.Container{
		Name: agentContainer, Image: b.s.Image, ImagePullPolicy: b.s.ImagePullPolicy,
		Args:                     append([]string{"agent", "--pod=$(POD_NAME)", "--namespace=$(POD_NAMESPACE)", "--pod-ip=$(INSTANCE_IP)"}, flags...),
		Env:                      []corev1.EnvVar{field("POD_NAME", "metadata.name"), field("POD_NAMESPACE", "metadata.namespace"), field("INSTANCE_IP", "status.podIP")},
		Resources:                *b.s.resources.DeepCopy(),
		SecurityContext:          unprivileged(proxyUser),
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
	}
}

// inMemory is a volume for small files: a key among them must not reach a disk.
func inMemory(name string) corev1.Volume {
	size := resource.MustParse(agentVolumeSize)
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: &size}}}
}

// give mounts volumes in all containers of the app, and sets what they do not set themselves.
func (b *builder) give(mounts []corev1.VolumeMount, vars ...corev1.EnvVar) {
	for _, c := range containersOf(b.pod) {
		for _, m := range mounts {
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: m.Name, MountPath: m.MountPath, ReadOnly: true})
		}
		for _, v := range vars {
			if slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == v.Name }) {
				continue
			}
			c.Env = append(c.Env, v)
			if b.status.Env == nil {
				b.status.Env = map[string][]string{}
			}
			b.status.Env[c.Name] = append(b.status.Env[c.Name], v.Name)
		}
	}
}

// takeBack is the reverse of give.
func takeBack(pod *corev1.Pod, status *Status) {
	if status.Template == "" {
		return
	}
	for _, c := range containersOf(pod) {
		c.Env = without(c.Env, status.Env[c.Name], func(e corev1.EnvVar) string { return e.Name })
		c.VolumeMounts = without(c.VolumeMounts, status.Volumes, func(m corev1.VolumeMount) string { return m.Name })
	}
}

// proxylessTaken refuses a pod that uses a name of its template's for something else.
func proxylessTaken(pod *corev1.Pod) error {
	if hasContainer(pod, agentContainer) {
		return fmt.Errorf("container %s is there without the annotation %s: it was not put there by the injector; rename it, or set %s: \"false\"",
			agentContainer, keyStatus, keyInject)
	}
	for _, v := range pod.Spec.Volumes {
		if slices.Contains([]string{agentSocketVolume, agentCertsVolume, simpleVolume}, v.Name) {
			return fmt.Errorf("volume %s: template %s needs this name; rename the volume", v.Name, pod.Annotations[keyTemplates])
		}
	}
	for _, c := range containersOf(pod) {
		for _, m := range c.VolumeMounts {
			if slices.Contains([]string{agentSocketDir, agentCertsDir, simpleDir}, m.MountPath) {
				return fmt.Errorf("container %s: template %s mounts a volume at %s; mount %s elsewhere", c.Name, pod.Annotations[keyTemplates], m.MountPath, m.Name)
			}
		}
	}
	return nil
}

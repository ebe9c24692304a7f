package inject

import (
	"cmp"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Names of what is added to a pod.
const (
	proxyContainer      = "fairlead-proxy"
	initContainer       = "fairlead-init"
	validationContainer = "fairlead-validation"
	identityVolume      = "fairlead-identity"
	stateVolume         = "fairlead-state"
	emptyVolume         = "fairlead-no-api-token"
)

const (
	// proxyUser is the user and group that the sidecar runs as, whose packets the rules leave alone.
	proxyUser = 1337
	// validationUser must be another one, for what the sidecar's user opens is not redirected.
	validationUser = proxyUser + 1

	appPort     = 15020 // probes of the app
	readyPort   = 15021
	metricsPort = 15090

	identityDir = "/var/run/secrets/fairlead"
	// apiAccessDir is where the API server's admission plugin ServiceAccount mounts the pod's token for the API, into
	// every container that mounts nothing there, those that a webhook added included
	// (kubernetes plugin/pkg/admission/serviceaccount, DefaultAPITokenMountPath).
	apiAccessDir = "/var/run/secrets/kubernetes.io/serviceaccount"
	stateDir     = "/var/lib/fairlead"
	rootMap      = "fairlead-ca-root-cert"
	rootKey      = "root-cert.pem"
	audience     = "fairlead"
	tokenSeconds = 43200 // 12 h; the kubelet renews at 80 %
	// stateSize bounds the snapshot, of which a moment long there are two.
	stateSize = "64Mi"
	// probesVariable tells the sidecar which probes of the app it answers for.
	probesVariable = "FAIRLEAD_APP_PROBES"
)

// redirectContainer sends the pod's traffic to the sidecar, or, where a CNI plugin did so, sees to it that it has.
func (b *builder) redirectContainer() corev1.Container {
	c := corev1.Container{
		Image: b.s.Image, ImagePullPolicy: b.s.ImagePullPolicy, Resources: *b.s.resources.DeepCopy(),
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		VolumeMounts:             []corev1.VolumeMount{noAPIAccess()},
	}
	flags := b.redirectFlags()
	if b.s.CNI {
		c.Name, c.Args = validationContainer, append([]string{"init", "--verify"}, flags...)
		c.SecurityContext = unprivileged(validationUser)
		b.status.Redirect = flags
		return c
	}
	c.Name, c.Args = initContainer, append([]string{"init"}, flags...)
	// Netlink messages for nftables and for addresses ask for CAP_NET_ADMIN, nothing else. A pod that says runAsNonRoot
	// means its own containers: capabilities are given to root only.
	c.SecurityContext = &corev1.SecurityContext{
		RunAsUser: new(int64(0)), RunAsGroup: new(int64(0)), RunAsNonRoot: new(false),
		Privileged: new(false), AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true),
		Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_ADMIN"}},
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	return c
}

// unprivileged passes the restricted Pod Security Standard. user is the group as well.
func unprivileged(user int64) *corev1.SecurityContext {
	return &corev1.SecurityContext{
		RunAsUser: &user, RunAsGroup: new(user), RunAsNonRoot: new(true),
		Privileged: new(false), AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true),
		Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

// redirectFlags gives the flags of `fairlead-proxy init` that differ from its defaults.
func (b *builder) redirectFlags() []string {
	s := &b.s
	flags := []string{}
	add := func(flag, value, unless string) {
		if value != unless {
			flags = append(flags, flag+"="+value)
		}
	}
	add("--include-inbound-ports", s.includeInbound, everything)
	add("--exclude-inbound-ports", s.excludeInbound, "")
	add("--include-outbound-ports", s.includeOutbound, "")
	add("--exclude-outbound-ports", s.excludeOutbound, "")
	add("--include-outbound-cidrs", cmp.Or(s.includeOutboundCIDRs, nowhere), everything)
	add("--exclude-outbound-cidrs", s.excludeOutboundCIDRs, "")
	add("--exclude-interfaces", s.excludeInterfaces, "")
	if !s.CaptureDNS {
		flags = append(flags, "--no-dns")
	}
	return flags
}

// proxyContainer is the sidecar. probes tells it what it answers for.
func (b *builder) proxyContainer(probes []corev1.EnvVar) corev1.Container {
	c := corev1.Container{
		Name: proxyContainer, Image: b.s.Image, ImagePullPolicy: b.s.ImagePullPolicy,
		Args: []string{
			"run", "--pod=$(POD_NAME)", "--namespace=$(POD_NAMESPACE)", "--pod-ip=$(POD_IPS)",
			"--controller=" + b.s.Controller, "--controller-name=" + b.s.ControllerName, "--snapshot=" + stateDir + "/snapshot",
			"--drain=" + b.s.drain.String(), "--log-level=" + b.s.LogLevel,
		},
		// The name that scrape configurations written for Istio's sidecars look for: they keep ".*-envoy-prom".
		Ports:     []corev1.ContainerPort{{Name: "http-envoy-prom", ContainerPort: metricsPort, Protocol: corev1.ProtocolTCP}},
		Env:       []corev1.EnvVar{field("POD_NAME", "metadata.name"), field("POD_NAMESPACE", "metadata.namespace"), field("POD_IPS", "status.podIPs")},
		Resources: *b.s.resources.DeepCopy(),
		VolumeMounts: []corev1.VolumeMount{
			{Name: identityVolume, MountPath: identityDir, ReadOnly: true},
			{Name: stateVolume, MountPath: stateDir},
			noAPIAccess(),
		},
		// With native sidecars the startup probe holds back what follows, the app's init containers first.
		StartupProbe:             &corev1.Probe{ProbeHandler: ready(), PeriodSeconds: 1, TimeoutSeconds: 3, FailureThreshold: 120},
		ReadinessProbe:           &corev1.Probe{ProbeHandler: ready(), PeriodSeconds: 5, TimeoutSeconds: 3, FailureThreshold: 3},
		SecurityContext:          unprivileged(proxyUser),
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
	}
	if limit, ok := b.s.resources.Limits[corev1.ResourceMemory]; ok {
		// The collector works harder before the kernel kills: Go's soft limit is nine tenths of the hard one.
		c.Env = append(c.Env, corev1.EnvVar{Name: "GOMEMLIMIT", Value: strconv.FormatInt(limit.Value()/10*9, 10)})
	}
	c.Env = append(c.Env, probes...)
	if b.appMetrics != "" {
		c.Args = append(c.Args, "--app-metrics="+b.appMetrics)
	}
	return c
}

// noAPIAccess keeps the pod's token for the API out of a container that never asks the API server: who gets into the
// sidecar must not get what the app may do with the cluster.
func noAPIAccess() corev1.VolumeMount {
	return corev1.VolumeMount{Name: emptyVolume, MountPath: apiAccessDir, ReadOnly: true}
}

func field(name, path string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}}
}

func ready() corev1.ProbeHandler {
	return corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz/ready", Port: intstr.FromInt32(readyPort)}}
}

// hold keeps a classic sidecar longer than the app at both ends: the app starts once it is ready, and when the pod
// ends, where everything is sent SIGTERM at once, the sidecar is so after the app had the time of a drain.
func (b *builder) hold() *corev1.Lifecycle {
	return &corev1.Lifecycle{
		PostStart: exec(proxyContainer, "wait", "--timeout", b.s.HoldTimeout.Duration.String()),
		PreStop:   exec(proxyContainer, "linger", "--for", b.s.drain.String()),
	}
}

func exec(command ...string) *corev1.LifecycleHandler {
	return &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: command}}
}

// addVolumes brings the workload's identity, room for the snapshot, and nothing for where a token would be mounted.
//
// The token is of a volume of its own, so that pods without automountServiceAccountToken have one too. The sidecar can
// read it beside whatever containers: the kubelet makes it readable for all (defaultMode 0644), unless the pod has an
// fsGroup, then for that group, in which every container is, or unless all containers run as one user, which is then
// the sidecar's (kubernetes pkg/volume/projected/projected.go, collectData; pkg/volume/util, FsUserFrom).
func (b *builder) addVolumes() {
	size := resource.MustParse(stateSize)
	b.addThese(identity(), noToken(), corev1.Volume{
		// In memory: the cluster autoscaler does not move pods with files on a node's disk.
		Name: stateVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: &size}},
	})
}

func (b *builder) addThese(volumes ...corev1.Volume) {
	b.pod.Spec.Volumes = append(b.pod.Spec.Volumes, volumes...)
	for _, v := range volumes {
		b.status.Volumes = append(b.status.Volumes, v.Name)
	}
}

// identity is the volume with the workload's token, and the roots by which the control plane is known.
func identity() corev1.Volume {
	return corev1.Volume{Name: identityVolume, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: audience, ExpirationSeconds: new(int64(tokenSeconds)), Path: "token"}},
		{ConfigMap: &corev1.ConfigMapProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: rootMap},
			Items:                []corev1.KeyToPath{{Key: rootKey, Path: rootKey}},
		}},
	}}}}
}

// noToken is the volume with nothing in it, see noAPIAccess.
func noToken() corev1.Volume {
	return corev1.Volume{Name: emptyVolume, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{}}}}
}

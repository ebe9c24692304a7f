package lab

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/internal/model"
)

const (
	nodeName = "lab-node"
	// demoImage is the image of the built-in demo app; every other image only has a name here.
	demoImage = "fairlead.dev/demo-app"
	// sidecarName is the container name of the sidecar, in status, logs and exec.
	sidecarName = "proxy"
	// sidecarUID is the user of the sidecar where the lab runs as root; interception exempts its traffic.
	sidecarUID = 1337
	// sidecarMark is the socket mark that exempts the sidecar's traffic where only one uid exists.
	sidecarMark = "0x539"

	injectKey   = "fairlead.dev/inject"
	ownerPrefix = "fairlead.dev/owner-"
	// minGrace is the least time that a sidecar gets to drain after the apps have ended.
	minGrace = time.Second
	// holdKey is the annotation that has an app told to end at once, not when its sidecar says that nobody calls it.
	holdKey = "fairlead.dev/hold-app-end"
)

// podSpec is one pod to run, as a value: every default filled in, every variable expanded.
type podSpec struct {
	key              model.Key
	ownerKind, owner string
	hash             string // of the template it was made from
	// labels and annotations may change while the pod runs; they belong to the cluster's goroutine.
	labels, annotations map[string]string
	redirect            []string // flags of "fairlead-proxy init"
	sidecarEnv          []string // of the sidecar's environment
	serviceAccount      string
	node, zone          string
	index               int // of an Indexed Job, else noIndex
	hostname, subdomain string
	addrs               podAddrs
	injected            bool
	proxyless           string // what the pod is given in the place of a sidecar: grpcAgent or grpcSimple, else ""
	envoy               bool   // its sidecar is one
	restart             corev1.RestartPolicy
	grace               time.Duration
	volumes             []volume
	init, containers    []containerSpec
	// fsGroup owns the pod's volumes; -1 where none does.
	fsGroup int
	// template is what the user wrote; the Pod object for the control plane is made from it.
	template *corev1.PodTemplateSpec
}

// containerSpec is one container to run.
type containerSpec struct {
	name                         string
	run                          command
	readiness, liveness, startup *probe
	preStop                      *probe // run once, the result is ignored
	mounts                       []mount
	// keep restarts the container always: sidecars, and init containers with restartPolicy Always.
	keep bool
}

// podSource is what a pod is made from.
type podSource struct {
	key              model.Key
	ownerKind, owner string
	hash             string
	template         *corev1.PodTemplateSpec
	addrs            podAddrs
	node             string
	index            int
	zone             string
	inject           bool // what the namespace and the lab say; the pod may say otherwise
	rootful          bool
	environ          []string
	extraLabels      map[string]string
	hostname         string
	services         []*corev1.Service // those of its namespace, completed
	data             dataSource
	// token makes a token of the pod's service account.
	token func(p *podSpec, audience string) (string, error)
}

// newPodSpec translates a pod template. The error names what the lab cannot run.
func newPodSpec(src podSource) (podSpec, error) {
	t := src.template
	p := podSpec{
		key: src.key, ownerKind: src.ownerKind, owner: src.owner, hash: src.hash, addrs: src.addrs, node: src.node, zone: src.zone, index: src.index,
		labels: maps.Clone(t.Labels), annotations: maps.Clone(t.Annotations), serviceAccount: t.Spec.ServiceAccountName,
		hostname: t.Spec.Hostname, subdomain: t.Spec.Subdomain, restart: t.Spec.RestartPolicy, grace: 30 * time.Second, template: t, fsGroup: -1,
	}
	p.redirect = redirectFlags(p.annotations)
	var err error
	if p.sidecarEnv, err = sidecarEnv(p.annotations); err != nil {
		return p, err
	}
	if p.labels == nil {
		p.labels = map[string]string{}
	}
	maps.Copy(p.labels, src.extraLabels)
	if src.hostname != "" {
		p.hostname = src.hostname
	}
	if p.serviceAccount == "" {
		p.serviceAccount = "default"
	}
	if p.restart == "" {
		p.restart = corev1.RestartPolicyAlways
	}
	if t.Spec.TerminationGracePeriodSeconds != nil {
		p.grace = time.Duration(*t.Spec.TerminationGracePeriodSeconds) * time.Second
	}
	if p.ownerKind == "Job" && p.restart == corev1.RestartPolicyAlways {
		return p, errors.New("restartPolicy of a Job's pods must be OnFailure or Never")
	}
	if p.envoy, err = wantsEnvoy(p.annotations); err != nil {
		return p, err
	}
	p.injected = injected(p.labels, p.annotations, src.inject) && !t.Spec.HostNetwork
	if err := p.choosesTemplate(); err != nil {
		return p, err
	}
	if len(t.Spec.Containers) == 0 {
		return p, errors.New("spec.containers is empty")
	}
	if s := t.Spec.SecurityContext; src.rootful && s != nil && s.FSGroup != nil {
		p.fsGroup = int(*s.FSGroup)
	}
	var errs []error
	if p.volumes, err = newVolumes(&p, src); err != nil {
		errs = append(errs, err)
	}
	for i := range t.Spec.InitContainers {
		c := &t.Spec.InitContainers[i]
		spec, err := newContainer(&p, c, src)
		spec.keep = c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		p.init, errs = append(p.init, spec), append(errs, err)
	}
	for i := range t.Spec.Containers {
		spec, err := newContainer(&p, &t.Spec.Containers[i], src)
		if spec.preStop == nil && p.injected && p.annotations[holdKey] != "false" {
			spec.preStop = &probe{url: fmt.Sprintf("http://%s/drain/hold", netip.AddrPortFrom(p.addrs.first(), 15020)), timeout: p.grace} // as the injector adds it
		}
		p.containers, errs = append(p.containers, spec), append(errs, err)
	}
	return p, errors.Join(errs...)
}

// injected decides whether a pod gets a sidecar: its own word first, Istio's spelling too, otherwise the default.
func injected(labels, annotations map[string]string, byDefault bool) bool {
	for _, key := range []string{injectKey, "sidecar.istio.io/inject"} {
		for _, from := range []map[string]string{annotations, labels} {
			switch from[key] {
			case "true", "enabled":
				return true
			case "false", "disabled":
				return false
			}
		}
	}
	return byDefault
}

// newContainer translates one container.
func newContainer(p *podSpec, c *corev1.Container, src podSource) (containerSpec, error) {
	out := containerSpec{name: c.Name}
	fail := func(err error) (containerSpec, error) { return out, fmt.Errorf("container %q: %w", c.Name, err) }
	var links []corev1.EnvVar
	if enabled := p.template.Spec.EnableServiceLinks; enabled == nil || *enabled {
		links = serviceEnv(src.services)
	}
	given, err := src.data.envFrom(c.EnvFrom)
	if err != nil {
		return fail(err)
	}
	vars, err := containerEnv(p, c, append(links, given...), src.data)
	if err != nil {
		return fail(err)
	}
	values := map[string]string{}
	for _, v := range vars {
		values[v.Name] = v.Value
	}
	if out.run.argv, err = containerCommand(c, values); err != nil {
		return fail(err)
	}
	if out.mounts, err = newMounts(p, c, values); err != nil {
		return fail(err)
	}
	out.run.env = mergeEnv(append(p.proxylessEnv(), src.environ...), vars, hostName(p))
	out.run.dir = c.WorkingDir
	if out.run.dir == "" {
		out.run.dir = "/"
	}
	if src.rootful {
		out.run.uid, out.run.gid = runAs(p.template.Spec.SecurityContext, c.SecurityContext)
		out.run.groups = groupsOf(p.template.Spec.SecurityContext)
	}
	for _, pr := range []struct {
		from  *corev1.Probe
		to    **probe
		eager bool
	}{{c.ReadinessProbe, &out.readiness, true}, {c.StartupProbe, &out.startup, true}, {c.LivenessProbe, &out.liveness, false}} {
		if *pr.to, err = newProbe(pr.from, p.addrs.first(), c.Ports); err != nil {
			return fail(err)
		}
		if *pr.to != nil {
			(*pr.to).eager = pr.eager
		}
	}
	out.preStop, err = newPreStop(c, p)
	if err != nil {
		return fail(err)
	}
	return out, nil
}

// newPreStop reads a preStop hook as a probe that is run once.
func newPreStop(c *corev1.Container, p *podSpec) (*probe, error) {
	if c.Lifecycle == nil || c.Lifecycle.PreStop == nil {
		return nil, nil //nolint:nilnil // no hook is a valid answer
	}
	hook := c.Lifecycle.PreStop
	switch {
	case hook.Sleep != nil:
		return &probe{argv: []string{"sleep", strconv.FormatInt(hook.Sleep.Seconds, 10)}, timeout: p.grace}, nil
	case hook.Exec != nil:
		return &probe{argv: hook.Exec.Command, timeout: p.grace}, nil
	case hook.HTTPGet != nil:
		out := &probe{timeout: p.grace}
		err := out.setHTTP(hook.HTTPGet, p.addrs.first(), c.Ports)
		return out, err
	}
	return nil, errors.New("a preStop hook needs exec, httpGet or sleep")
}

func runAs(pod *corev1.PodSecurityContext, own *corev1.SecurityContext) (uid, gid uint32) {
	if pod != nil && pod.RunAsUser != nil {
		uid = uint32(*pod.RunAsUser)
	}
	if pod != nil && pod.RunAsGroup != nil {
		gid = uint32(*pod.RunAsGroup)
	}
	if own != nil && own.RunAsUser != nil {
		uid = uint32(*own.RunAsUser)
	}
	if own != nil && own.RunAsGroup != nil {
		gid = uint32(*own.RunAsGroup)
	}
	return uid, gid
}

// groupsOf are the groups that processes have beside their own.
func groupsOf(pod *corev1.PodSecurityContext) []uint32 {
	if pod == nil {
		return nil
	}
	var out []uint32
	for _, g := range pod.SupplementalGroups {
		out = append(out, uint32(g))
	}
	if pod.FSGroup != nil {
		out = append(out, uint32(*pod.FSGroup))
	}
	return out
}

// containerCommand gives the program to run. Images are names only: what they would hold is taken from the machine.
func containerCommand(c *corev1.Container, values map[string]string) ([]string, error) {
	var argv []string
	image, _, _ := strings.Cut(c.Image, "@")
	if i := strings.LastIndex(image, ":"); i > strings.LastIndex(image, "/") {
		image = image[:i]
	}
	switch {
	case len(c.Command) > 0:
		argv = append(argv, c.Command...)
	case image == demoImage:
		argv = append(argv, runDir+"/bin/fairlead", "demo-app")
	default:
		return nil, fmt.Errorf("image %q has no command: the lab pulls no images, so say what to run on this machine in `command:` "+
			"(or use image %s)", c.Image, demoImage)
	}
	argv = append(argv, c.Args...)
	for i := range argv {
		argv[i] = expand(argv[i], values)
	}
	return argv, nil
}

var varRef = regexp.MustCompile(`\$\$|\$\([A-Za-z_.-][A-Za-z0-9_.-]*\)`)

// expand replaces $(NAME) by its value and leaves unknown names as they are; $$ is a dollar sign
// (Kubernetes: third_party/forked/golang/expansion).
func expand(s string, values map[string]string) string {
	return varRef.ReplaceAllStringFunc(s, func(ref string) string {
		if ref == "$$" {
			return "$"
		}
		if v, ok := values[ref[2:len(ref)-1]]; ok {
			return v
		}
		return ref
	})
}

// containerEnv resolves a container's variables in their order, after those of its surroundings, which they may refer to.
func containerEnv(p *podSpec, c *corev1.Container, given []corev1.EnvVar, data dataSource) ([]corev1.EnvVar, error) {
	values := map[string]string{}
	for _, e := range given {
		values[e.Name] = e.Value
	}
	out := slices.Clone(given)
	for _, e := range c.Env {
		value := expand(e.Value, values)
		if e.ValueFrom != nil {
			found, there, err := valueFrom(p, c, e.ValueFrom, data)
			if err != nil {
				return nil, fmt.Errorf("env %s: %w", e.Name, err)
			}
			if !there {
				continue
			}
			value = found
		}
		values[e.Name] = value
		out = append(out, corev1.EnvVar{Name: e.Name, Value: value})
	}
	return out, nil
}

var fieldSubscript = regexp.MustCompile(`^metadata\.(labels|annotations)\['([^']+)'\]$`)

// podField reads what the downward API offers.
func podField(p *podSpec, path string) (string, error) {
	if m := fieldSubscript.FindStringSubmatch(path); m != nil {
		if m[1] == "labels" {
			return p.labels[m[2]], nil
		}
		return p.annotations[m[2]], nil
	}
	switch path {
	case "metadata.name":
		return p.key.Name, nil
	case "metadata.namespace":
		return p.key.Namespace, nil
	case "metadata.uid":
		return podUID(p.key), nil
	case "status.podIP":
		return p.addrs.first().String(), nil
	case "status.podIPs":
		return joinAddrs(p.addrs.list()), nil
	case "status.hostIP":
		return nodeAddr(p.addrs.first()).String(), nil
	case "status.hostIPs":
		var hosts []netip.Addr
		for _, a := range p.addrs.list() {
			hosts = append(hosts, nodeAddr(a))
		}
		return joinAddrs(hosts), nil
	case "spec.nodeName":
		return p.node, nil
	case "spec.serviceAccountName":
		return p.serviceAccount, nil
	}
	return "", fmt.Errorf("fieldPath %q is unknown", path)
}

func joinAddrs(addrs []netip.Addr) string {
	parts := make([]string, len(addrs))
	for i, a := range addrs {
		parts[i] = a.String()
	}
	return strings.Join(parts, ",")
}

// hostName is what the pod calls itself, at most 63 characters long.
func hostName(p *podSpec) string {
	name := p.hostname
	if name == "" {
		name = p.key.Name
	}
	return strings.TrimRight(name[:min(len(name), 63)], "-.")
}

// mergeEnv puts the container's variables over the machine's.
func mergeEnv(base []string, vars []corev1.EnvVar, hostname string) []string {
	merged := map[string]string{"HOSTNAME": hostname, "PATH": defaultPath}
	for _, kv := range base {
		name, value, _ := strings.Cut(kv, "=")
		merged[name] = value
	}
	merged["PATH"] += ":" + runDir + "/bin"
	for _, v := range vars {
		merged[v.Name] = v.Value
	}
	out := make([]string, 0, len(merged))
	for _, name := range slices.Sorted(maps.Keys(merged)) {
		out = append(out, name+"="+merged[name])
	}
	return out
}

package inject

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// A probe, or a hook of a container's life, comes from the kubelet, which has no identity in the mesh: with mTLS
// required the sidecar would refuse it. So the kubelet asks the sidecar, on a port that is not redirected, and the
// sidecar asks the app as the kubelet would have. What happens inside the container (exec, sleep) stays as it is; so
// does what names a host, for it does not go to the pod.

// appProbe is what the sidecar is told of one probe or hook. Exactly one of the actions is set. The reader is
// cmd/fairlead-proxy (probes.go).
type appProbe struct {
	HTTPGet        *httpProbe `json:"httpGet,omitempty"`
	TCPSocket      *tcpProbe  `json:"tcpSocket,omitempty"`
	GRPC           *grpcProbe `json:"grpc,omitempty"`
	TimeoutSeconds int32      `json:"timeoutSeconds,omitempty"`
}

type httpProbe struct {
	Path        string              `json:"path,omitempty"`
	Port        int32               `json:"port"`
	Scheme      corev1.URIScheme    `json:"scheme,omitempty"`
	HTTPHeaders []corev1.HTTPHeader `json:"httpHeaders,omitempty"`
}

type tcpProbe struct {
	Port int32 `json:"port"`
}

type grpcProbe struct {
	Port    int32   `json:"port"`
	Service *string `json:"service,omitempty"`
}

// asked is something that the kubelet asks of a container.
type asked struct {
	// path is where it asks the sidecar for it.
	path string
	// name is what to call it in words.
	name    string
	timeout int32 // seconds; 0 is the kubelet's default
	// httpGet, tcpSocket and grpc are the actions as fields of the pod.
	httpGet   **corev1.HTTPGetAction
	tcpSocket **corev1.TCPSocketAction
	grpc      **corev1.GRPCAction
}

// askedOf gives everything that the kubelet asks of a container. hookTimeout is that of hooks, which have none of
// their own.
func askedOf(c *corev1.Container, hookTimeout int32) []asked {
	var out []asked
	base := "/app-health/" + c.Name + "/"
	for _, p := range []struct {
		last, name string
		probe      *corev1.Probe
	}{
		{"livez", "livenessProbe", c.LivenessProbe},
		{"readyz", "readinessProbe", c.ReadinessProbe},
		{"startupz", "startupProbe", c.StartupProbe},
	} {
		if p.probe != nil {
			out = append(out, asked{
				path: base + p.last, name: p.name, timeout: p.probe.TimeoutSeconds,
				httpGet: &p.probe.HTTPGet, tcpSocket: &p.probe.TCPSocket, grpc: &p.probe.GRPC,
			})
		}
	}
	if c.Lifecycle == nil {
		return out
	}
	for _, h := range []struct {
		last, name string
		hook       *corev1.LifecycleHandler
	}{{"poststartz", "postStart", c.Lifecycle.PostStart}, {"prestopz", "preStop", c.Lifecycle.PreStop}} {
		if h.hook != nil && h.hook.HTTPGet != nil && !ofHold(h.hook) {
			// A tcpSocket here does nothing in any Kubernetes.
			out = append(out, asked{path: base + h.last, name: h.name, timeout: hookTimeout, httpGet: &h.hook.HTTPGet, tcpSocket: new(*corev1.TCPSocketAction), grpc: new(*corev1.GRPCAction)})
		}
	}
	return out
}

// hookTimeout is how long the kubelet lets a preStop hook run.
func hookTimeout(pod *corev1.Pod) int32 {
	const byDefault = 30 // of terminationGracePeriodSeconds
	grace := pod.Spec.TerminationGracePeriodSeconds
	if grace == nil || *grace < 1 || *grace > math.MaxInt32 {
		return byDefault
	}
	return int32(*grace)
}

// containersOf gives all containers of a pod that can have probes.
func containersOf(pod *corev1.Pod) []*corev1.Container {
	var out []*corev1.Container
	for i := range pod.Spec.InitContainers {
		out = append(out, &pod.Spec.InitContainers[i])
	}
	for i := range pod.Spec.Containers {
		out = append(out, &pod.Spec.Containers[i])
	}
	return out
}

// rewriteProbes sends the probes and hooks of the app to the sidecar, those that are not yet. It gives what the sidecar
// must know of them.
func (b *builder) rewriteProbes() map[string]*appProbe {
	probes := map[string]*appProbe{}
	if !b.s.rewriteProbes {
		return probes
	}
	for _, c := range containersOf(b.pod) {
		if b.status.lists(c.Name) {
			continue
		}
		for _, a := range askedOf(c, hookTimeout(b.pod)) {
			if a.rewritten() {
				continue
			}
			original, portName, err := a.read(c)
			if err != nil {
				b.warnf("container %s: %s: %v; it is left as it is", c.Name, a.name, err)
				continue
			}
			if original == nil {
				continue
			}
			probes[a.path] = original
			if portName != "" {
				if b.status.ProbePorts == nil {
					b.status.ProbePorts = map[string]string{}
				}
				b.status.ProbePorts[a.path] = portName
			}
			*a.tcpSocket, *a.grpc = nil, nil
			*a.httpGet = &corev1.HTTPGetAction{Path: a.path, Port: intstr.FromInt32(appPort)}
		}
	}
	return probes
}

// rewritten reports whether the kubelet asks the sidecar already.
func (a *asked) rewritten() bool {
	get := *a.httpGet
	return get != nil && get.Path == a.path && get.Port.IntVal == appPort
}

// probesEnv hands probes to the sidecar; nothing where there are none.
func probesEnv(probes map[string]*appProbe) ([]corev1.EnvVar, error) {
	if len(probes) == 0 {
		return nil, nil
	}
	text, err := compact(probes)
	// The kubelet expands $(NAME) in values; a doubled $ is a plain one.
	return []corev1.EnvVar{{Name: probesVariable, Value: strings.ReplaceAll(text, "$", "$$")}}, err
}

// probesOf reads what a sidecar was handed.
func probesOf(sidecar *corev1.Container) (map[string]*appProbe, error) {
	probes := map[string]*appProbe{}
	for _, e := range sidecar.Env {
		if e.Name != probesVariable {
			continue
		}
		if err := json.Unmarshal([]byte(strings.ReplaceAll(e.Value, "$$", "$")), &probes); err != nil {
			return nil, fmt.Errorf("%s of container %s: %w", probesVariable, sidecar.Name, err)
		}
	}
	return probes, nil
}

// compact gives JSON on one line with <, > and & as they are.
func compact(value any) (string, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(value)
	return strings.TrimSuffix(out.String(), "\n"), err
}

// read gives the question as the sidecar is told of it, and the name of its port where it has one; nil where it is
// left alone.
func (a *asked) read(c *corev1.Container) (*appProbe, string, error) {
	out := &appProbe{TimeoutSeconds: a.timeout}
	switch {
	case *a.httpGet != nil && (*a.httpGet).Host == "":
		get := *a.httpGet
		port, name, err := resolvePort(c, get.Port)
		out.HTTPGet = &httpProbe{Path: get.Path, Port: port, Scheme: get.Scheme, HTTPHeaders: get.HTTPHeaders}
		return out, name, err
	case *a.tcpSocket != nil && (*a.tcpSocket).Host == "":
		port, name, err := resolvePort(c, (*a.tcpSocket).Port)
		out.TCPSocket = &tcpProbe{Port: port}
		return out, name, err
	case *a.grpc != nil:
		out.GRPC = &grpcProbe{Port: (*a.grpc).Port, Service: (*a.grpc).Service}
		return out, "", checkPort((*a.grpc).Port)
	}
	return nil, "", nil
}

// resolvePort finds a port by number or, among those of the container, by name, as the kubelet does.
func resolvePort(c *corev1.Container, port intstr.IntOrString) (number int32, name string, err error) {
	if port.Type == intstr.Int {
		return port.IntVal, "", checkPort(port.IntVal)
	}
	for _, p := range c.Ports {
		if p.Name == port.StrVal {
			return p.ContainerPort, p.Name, checkPort(p.ContainerPort)
		}
	}
	if number, err := strconv.ParseInt(port.StrVal, 10, 32); err == nil { // a number in quotes is one to the kubelet
		return int32(number), port.StrVal, checkPort(int32(number))
	}
	return 0, "", fmt.Errorf("no port is named %q", port.StrVal)
}

func checkPort(port int32) error {
	if port < 1 || port > math.MaxUint16 {
		return fmt.Errorf("%d is no port", port)
	}
	return nil
}

// restoreProbes undoes rewriteProbes. ports are the names that were resolved.
func restoreProbes(pod *corev1.Pod, probes map[string]*appProbe, ports map[string]string) {
	for _, c := range containersOf(pod) {
		for _, a := range askedOf(c, 0) {
			if original := probes[a.path]; original != nil && a.rewritten() { // what was changed since is its owner's
				a.restore(original, ports[a.path])
			}
		}
	}
}

// restore puts the question as it was. name is that of its port.
func (a *asked) restore(p *appProbe, name string) {
	port := func(number int32) intstr.IntOrString {
		if name != "" {
			return intstr.FromString(name)
		}
		return intstr.FromInt32(number)
	}
	*a.httpGet = nil
	switch {
	case p.HTTPGet != nil:
		*a.httpGet = &corev1.HTTPGetAction{
			Path: p.HTTPGet.Path, Port: port(p.HTTPGet.Port), Scheme: p.HTTPGet.Scheme, HTTPHeaders: p.HTTPGet.HTTPHeaders,
		}
	case p.TCPSocket != nil:
		*a.tcpSocket = &corev1.TCPSocketAction{Port: port(p.TCPSocket.Port)}
	case p.GRPC != nil:
		*a.grpc = &corev1.GRPCAction{Port: p.GRPC.Port, Service: p.GRPC.Service}
	}
}

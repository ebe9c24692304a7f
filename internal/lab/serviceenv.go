package lab

import (
	"cmp"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// serviceEnv gives the variables by which a container finds the Services of its namespace that are there when its pod is
// made, as a kubelet does (Kubernetes: pkg/kubelet/envvars): USERS_SERVICE_HOST and the older form of container links.
func serviceEnv(services []*corev1.Service) []corev1.EnvVar {
	services = slices.Clone(services)
	slices.SortFunc(services, func(a, b *corev1.Service) int { return cmp.Compare(a.Name, b.Name) })
	var out []corev1.EnvVar
	add := func(name, value string) { out = append(out, corev1.EnvVar{Name: name, Value: value}) }
	for _, svc := range services {
		ip := svc.Spec.ClusterIP
		if ip == "" || ip == corev1.ClusterIPNone || len(svc.Spec.Ports) == 0 {
			continue
		}
		prefix := envName(svc.Name)
		add(prefix+"_SERVICE_HOST", ip)
		add(prefix+"_SERVICE_PORT", strconv.Itoa(int(svc.Spec.Ports[0].Port)))
		for i := range svc.Spec.Ports {
			if p := &svc.Spec.Ports[i]; p.Name != "" {
				add(prefix+"_SERVICE_PORT_"+envName(p.Name), strconv.Itoa(int(p.Port)))
			}
		}
		for i := range svc.Spec.Ports {
			p := &svc.Spec.Ports[i]
			number := strconv.Itoa(int(p.Port))
			protocol := cmp.Or(string(p.Protocol), string(corev1.ProtocolTCP))
			url := strings.ToLower(protocol) + "://" + net.JoinHostPort(ip, number)
			if i == 0 {
				add(prefix+"_PORT", url)
			}
			port := prefix + "_PORT_" + number + "_" + strings.ToUpper(protocol)
			add(port, url)
			add(port+"_PROTO", strings.ToLower(protocol))
			add(port+"_PORT", number)
			add(port+"_ADDR", ip)
		}
	}
	return out
}

func envName(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "-", "_")) }

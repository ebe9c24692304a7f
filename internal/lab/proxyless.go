package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// templatesKey is Istio's annotation that says what a pod is given: a sidecar, or for an app that uses gRPC's own xDS an agent, or
// nothing but a bootstrap.
const (
	templatesKey          = "inject.istio.io/templates"
	sidecarTemplate       = "sidecar"
	grpcAgent, grpcSimple = "grpc-agent", "grpc-simple"
)

// The places of an app that uses gRPC's own xDS. There is no /etc/istio in a pod of the lab.
const (
	proxylessDir       = runDir + "/data"
	proxylessBootstrap = proxylessDir + "/grpc-bootstrap.json"
)

// choosesTemplate reads the annotation: what the pod gets instead of a sidecar.
func (s *podSpec) choosesTemplate() error {
	chosen, ok := s.annotations[templatesKey]
	if !ok || !s.injected {
		return nil
	}
	switch chosen = strings.TrimSpace(chosen); chosen {
	case sidecarTemplate:
	case grpcAgent, grpcSimple:
		s.injected, s.proxyless = false, chosen
	default:
		return fmt.Errorf("annotation %s: %q is no template of the lab: write %s, %s or %s", templatesKey, chosen, sidecarTemplate, grpcAgent, grpcSimple)
	}
	return nil
}

// proxylessEnv is what the app's library is told, as Istio's templates have it.
func (s *podSpec) proxylessEnv() []string {
	switch s.proxyless {
	case grpcAgent:
		return []string{"GRPC_XDS_BOOTSTRAP=" + proxylessBootstrap, "GRPC_XDS_EXPERIMENTAL_SECURITY_SUPPORT=true"}
	case grpcSimple:
		return []string{"GRPC_XDS_BOOTSTRAP=" + proxylessBootstrap}
	}
	return nil
}

// forProxyless makes the commands of a sidecar those of what the pod gets in its place: an agent that runs beside the app, or a
// program that writes a bootstrap and ends. Neither is redirected to.
func (m *meshCommands) forProxyless(spec *podSpec, controller netip.Addr) {
	binary := m.run.run.argv[0]
	who := []string{
		"--pod", spec.key.Name, "--namespace", spec.key.Namespace, "--pod-ip", spec.addrs.first().String(), "--bootstrap", proxylessBootstrap,
	}
	if spec.proxyless == grpcSimple {
		m.init.argv = slices.Concat([]string{binary, "agent", "--xds-server", netip.AddrPortFrom(controller, plainPort).String()}, who)
		m.run.run.argv = nil
		return
	}
	m.init.argv = nil
	m.run.run.argv = slices.Concat([]string{
		binary, "agent", "--controller", netip.AddrPortFrom(controller, controllerPort).String(), "--controller-name", controllerName,
		"--token-file", secretsDir + "/token", "--root-cert", secretsDir + "/root-cert.pem",
		"--xds-socket", proxylessDir + "/XDS", "--output-certs", proxylessDir, "--ready-addr", ":" + strconv.Itoa(sidecarReadyPort),
	}, who)
}

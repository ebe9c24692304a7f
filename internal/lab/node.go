package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"fairlead.dev/fairlead/internal/ca"
)

const (
	proxyBinary      = "fairlead-proxy"
	controllerBinary = "fairlead-controller"
	clusterDomain    = "cluster.local"

	// The control plane's ports on the node's address.
	controllerPort = 15012
	plainPort      = 15010
	monitorPort    = 15014
	controllerName = "fairlead-controller.fairlead-system.svc"
	// sidecarReadyPort answers when the sidecar has its certificate and its first configuration.
	sidecarReadyPort = 15021

	// tokenTTL is longer than any lab lives, so that no token has to be renewed.
	tokenTTL = 10 * 365 * 24 * time.Hour
)

// node is what pods need from the machine they run on. It is fixed once prepared.
type node struct {
	state  state
	cfg    config
	logger *slog.Logger
	tokens *ca.TokenIssuer
}

// meshCommands are the two programs of a sidecar.
type meshCommands struct {
	init command
	run  containerSpec
}

// makeTokenKey makes the key that stands for the API server's service account issuer; the control plane gets its
// public half.
func (n *node) makeTokenKey() error {
	private, public, err := ca.GenerateTokenKey()
	if err != nil {
		return fmt.Errorf("token key: %w", err)
	}
	if n.tokens, err = ca.NewTokenIssuer(private, tokenIssuer); err != nil {
		return err
	}
	return os.WriteFile(n.state.tokenKey(), public, 0o600)
}

// tokenIssuer is the iss claim of the lab's tokens.
const tokenIssuer = "https://kubernetes.default.svc.cluster.local" //nolint:gosec // a name, no secret

// token makes a token for a pod's app, which lasts as long as a lab. As the API server has it, it is for the API server
// where it is for nobody else.
func (n *node) token(spec *podSpec, audience string) (string, error) {
	return n.tokens.Issue(ca.Claims{
		Namespace: spec.key.Namespace, ServiceAccount: spec.serviceAccount, Pod: spec.key.Name, PodUID: podUID(spec.key),
		Audience: []string{cmp.Or(audience, tokenIssuer)}, Expires: time.Now().Add(tokenTTL),
	})
}

// rootCertMap is the ConfigMap that the controller keeps in every namespace, with the root certificate under rootCertKey.
const rootCertMap, rootCertKey = "fairlead-ca-root-cert", "root-cert.pem"

// meshData is what the control plane of a cluster adds to the objects of every namespace.
func (n *node) meshData(kind, name string) (data content, ok bool) {
	if kind != kindConfigMap || name != rootCertMap {
		return content{}, false
	}
	root, err := os.ReadFile(n.state.rootCert())
	return content{text: map[string]string{rootCertKey: string(root)}}, err == nil && len(root) > 0
}

// meshFiles waits for the mesh's root certificate, writes the pod's credentials and gives the sidecar's commands.
func (n *node) meshFiles(ctx context.Context, spec *podSpec) (meshCommands, error) {
	if n.cfg.Plain {
		return meshCommands{}, errors.New(`the pod wants a sidecar, but this lab was started with --plain`)
	}
	if err := n.checkEnvoy(spec); err != nil {
		return meshCommands{}, err
	}
	root, err := awaitFile(ctx, n.state.rootCert())
	if err != nil {
		return meshCommands{}, fmt.Errorf("the control plane has not written its root certificate: %w", err)
	}
	token, err := n.tokens.Issue(ca.Claims{
		Namespace: spec.key.Namespace, ServiceAccount: spec.serviceAccount, Pod: spec.key.Name, PodUID: podUID(spec.key),
		Expires: time.Now().Add(tokenTTL),
	})
	if err != nil {
		return meshCommands{}, err
	}
	secrets := filepath.Join(n.state.podDir(spec), "run", "secrets")
	err = errors.Join(
		os.WriteFile(filepath.Join(secrets, "token"), []byte(token), 0o644), //nolint:gosec // read by the sidecar's user
		os.WriteFile(filepath.Join(secrets, "root-cert.pem"), root, 0o644),  //nolint:gosec // public
	)
	return n.meshCommands(spec), err
}

// meshCommands is the decision part of meshFiles.
func (n *node) meshCommands(spec *podSpec) meshCommands {
	binary := runDir + "/bin/" + proxyBinary
	var m meshCommands
	verb, own := "run", []string{"--snapshot", runDir + "/data/snapshot"}
	if spec.envoy {
		verb, own = "envoy", envoyArgs()
	}
	m.init = command{argv: []string{binary, "init"}, env: n.cfg.Environ, dir: "/"}
	m.run = containerSpec{name: sidecarName, keep: true}
	m.run.run = command{env: slices.Concat(n.cfg.Environ, spec.sidecarEnv), dir: "/", argv: []string{
		binary, verb,
		"--controller", netip.AddrPortFrom(n.cfg.IPFamily.node(), controllerPort).String(),
		"--controller-name", controllerName,
		"--token-file", secretsDir + "/token", "--root-cert", secretsDir + "/root-cert.pem",
		"--pod", spec.key.Name, "--namespace", spec.key.Namespace,
		"--pod-ip", joinAddrs(spec.addrs.list()),
	}}
	m.run.run.argv = append(m.run.run.argv, own...)
	if n.cfg.LogLevel != "" {
		m.run.run.argv = append(m.run.run.argv, "--log-level", n.cfg.LogLevel)
	}
	if n.cfg.Rootful {
		m.init.argv = append(m.init.argv, "--uid", strconv.Itoa(sidecarUID))
		m.run.run.uid, m.run.run.gid = sidecarUID, sidecarUID
	} else {
		m.init.argv = append(m.init.argv, "--mark", sidecarMark)
		m.run.run.argv = append(m.run.run.argv, "--mark", sidecarMark)
	}
	if spec.envoy { // it answers no questions of DNS
		m.init.argv = append(m.init.argv, "--no-dns")
	}
	m.init.argv = append(m.init.argv, spec.redirect...)
	if spec.proxyless != "" {
		m.forProxyless(spec, n.cfg.IPFamily.node())
	}
	m.run.readiness = &probe{ // with as much time as internal/inject gives it
		url:    fmt.Sprintf("http://%s/healthz/ready", netip.AddrPortFrom(spec.addrs.first(), sidecarReadyPort)),
		period: 2 * time.Second, timeout: 3 * time.Second, failures: 3, successes: 1, eager: true,
	}
	return m
}

// sidecarEnv is what the annotations on resources become for the sidecar, as internal/inject has it. There is no container
// that could have a limit, but the sidecar keeps to its own.
func sidecarEnv(annotations map[string]string) ([]string, error) {
	const own, istio = "fairlead.dev/proxy-memory-limit", "sidecar.istio.io/proxyMemoryLimit"
	v := cmp.Or(annotations[own], annotations[istio])
	if v == "" {
		return nil, nil
	}
	limit, err := resource.ParseQuantity(v)
	if err != nil || limit.Value() <= 0 {
		return nil, fmt.Errorf("annotation %s: %q is no amount of memory; write 64Mi", own, v)
	}
	return []string{"GOMEMLIMIT=" + strconv.FormatInt(limit.Value()/10*9, 10)}, nil
}

// redirectFlags are those of "fairlead-proxy init" that a pod's annotations ask for, as internal/inject reads them: the
// name of ours is that of the flag.
func redirectFlags(annotations map[string]string) []string {
	var out []string
	for _, x := range []struct{ name, istio string }{
		{"exclude-outbound-ports", "excludeOutboundPorts"},
		{"exclude-inbound-ports", "excludeInboundPorts"},
		{"exclude-outbound-cidrs", "excludeOutboundIPRanges"},
	} {
		if v := cmp.Or(annotations["fairlead.dev/"+x.name], annotations["traffic.sidecar.istio.io/"+x.istio]); v != "" {
			out = append(out, "--"+x.name, v)
		}
	}
	return out
}

// awaitFile reads path as soon as it is there.
func awaitFile(ctx context.Context, path string) ([]byte, error) {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		content, err := os.ReadFile(path)
		if err == nil && len(content) > 0 {
			return content, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		case <-ticker.C:
		}
	}
}

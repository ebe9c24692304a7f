//go:build kube

package e2e

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// istiod is how Kiali finds a control plane.
const istiod = "app=istiod"

// TestKiali asks for everything that a Kiali 2.x asks of a mesh beside Prometheus (docs/reference/kiali.md).
func TestKiali(t *testing.T) {
	n := meshed(t, "kiali")
	n.apply(t, server("users", 1))
	n.startClient(t)
	n.rollout(t, "deployment/users")
	n.call(t, "client", "http://users:8080/", "--count", "5")

	t.Run("control plane", kialiControlPlane)
	t.Run("configuration", kialiConfiguration)
	t.Run("kinds", kialiKinds)
	t.Run("warnings", n.kialiWarnings)
	t.Run("sidecars", n.kialiSidecars)
	t.Run("pages", n.kialiPages)
}

// kialiControlPlane finds the Deployment, its revision and cluster, the Service and the pods, by labels alone.
func kialiControlPlane(t *testing.T) {
	const firstContainer = "{range .items[*]}{.metadata.namespace}/{.metadata.name} {.metadata.labels.istio\\.io/rev} " +
		"{.spec.template.spec.containers[0].env[?(@.name=='CLUSTER_ID')].value}{'\\n'}{end}"
	if got := must(t, "", "get", "deployments", "-A", "-l", istiod, "-o", "jsonpath="+firstContainer); got != "fairlead-system/fairlead-controller default Kubernetes\n" {
		t.Errorf("Deployments with %s: %q", istiod, got)
	}
	const monitoring = "{range .items[*]}{.metadata.name} {.spec.ports[?(@.name=='http-monitoring')].port}{'\\n'}{end}"
	if got := must(t, "", "-n", "fairlead-system", "get", "services", "-l", istiod+",istio.io/rev=default", "-o", "jsonpath="+monitoring); got != "fairlead-controller 15014\n" {
		t.Errorf("Services with %s: %q", istiod, got)
	}
	if got := must(t, "", "-n", "fairlead-system", "get", "pods", "-l", istiod+",istio.io/rev=default", "-o", "name"); !strings.HasPrefix(got, "pod/fairlead-controller-") {
		t.Errorf("pods with %s: %q", istiod, got)
	}
}

// kialiConfiguration reads the three ConfigMaps. Without one of the first two the refresh of the mesh fails.
func kialiConfiguration(t *testing.T) {
	data := func(name, key string) string {
		return must(t, "", "-n", "fairlead-system", "get", "configmap", name, "-o", "jsonpath={.data."+strings.ReplaceAll(key, ".", `\.`)+"}")
	}
	var mesh struct {
		RootNamespace, TrustDomain string
		EnableAutoMtls             bool
		OutboundTrafficPolicy      struct{ Mode string }
	}
	if err := yaml.Unmarshal([]byte(data("istio", "mesh")), &mesh); err != nil || mesh.RootNamespace != "fairlead-system" ||
		mesh.TrustDomain != "cluster.local" || !mesh.EnableAutoMtls || mesh.OutboundTrafficPolicy.Mode != "ALLOW_ANY" {
		t.Errorf("mesh = %+v, %v", mesh, err)
	}
	var networks map[string]any
	if err := yaml.Unmarshal([]byte(data("istio", "meshNetworks")), &networks); err != nil || networks["networks"] == nil {
		t.Errorf("meshNetworks = %v, %v", networks, err)
	}
	var values struct {
		Global struct{ Network *string }
	}
	if err := json.Unmarshal([]byte(data("istio-sidecar-injector", "values")), &values); err != nil || values.Global.Network == nil {
		t.Errorf("values = %+v, %v", values, err)
	}
	eventually(t, "a certificate in istio-ca-root-cert", func() (string, bool) {
		text, err := try(t, "", "-n", "fairlead-system", "get", "configmap", "istio-ca-root-cert", "-o", `jsonpath={.data.root-cert\.pem}`)
		block, _ := pem.Decode([]byte(text))
		if err != nil || block == nil {
			return text, false
		}
		c, err := x509.ParseCertificate(block.Bytes)
		return text, err == nil && c.IsCA
	})
	if ours := must(t, "", "-n", "fairlead-system", "get", "configmap", "fairlead-ca-root-cert", "-o", `jsonpath={.data.root-cert\.pem}`); ours != data("istio-ca-root-cert", "root-cert.pem") {
		t.Error("istio-ca-root-cert has other roots than fairlead-ca-root-cert")
	}
}

// kialiKinds lists each kind of Istio in the version that Kiali asks for: one that is missing fails the whole graph.
func kialiKinds(t *testing.T) {
	for _, kind := range []string{
		"destinationrules.v1.networking.istio.io", "envoyfilters.v1alpha3.networking.istio.io", "gateways.v1.networking.istio.io",
		"serviceentries.v1.networking.istio.io", "sidecars.v1.networking.istio.io", "virtualservices.v1.networking.istio.io",
		"workloadentries.v1.networking.istio.io", "workloadgroups.v1.networking.istio.io", "proxyconfigs.v1beta1.networking.istio.io",
		"authorizationpolicies.v1.security.istio.io", "peerauthentications.v1.security.istio.io", "requestauthentications.v1.security.istio.io",
		"telemetries.v1.telemetry.istio.io", "wasmplugins.v1alpha1.extensions.istio.io",
	} {
		if _, err := try(t, "", "get", kind, "-A"); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// kialiWarnings: that a kind has a definition does not mean that it is obeyed.
func (n *namespace) kialiWarnings(t *testing.T) {
	out, err := tryCombined(t, `{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: narrow}, spec: {egress: [{hosts: ["./*"]}]}}`,
		"-n", n.name, "apply", "-f", "-")
	if err != nil || !strings.Contains(out, "Warning:") || !strings.Contains(out, "Sidecar") {
		t.Errorf("apply of a Sidecar = %v: %s, want a warning", err, out)
	}
	out, err = tryCombined(t, `{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: deny}, spec: {}}`, "-n", n.name, "apply", "-f", "-")
	if err == nil {
		t.Errorf("an AuthorizationPolicy that nothing obeys is taken: %s", out)
	}
}

// kialiSidecars: Kiali's rule for pods with a sidecar.
func (n *namespace) kialiSidecars(t *testing.T) {
	for pod := range strings.FieldsSeq(n.kubectl(t, "get", "pods", "-o", "name")) {
		var status struct{ Containers, InitContainers []string }
		written := n.kubectl(t, "get", pod, "-o", `jsonpath={.metadata.annotations.sidecar\.istio\.io/status}`)
		if err := json.Unmarshal([]byte(written), &status); err != nil || !slices.Contains(status.Containers, "istio-proxy") {
			t.Errorf("%s: sidecar.istio.io/status = %q, %v", pod, written, err)
		}
	}
}

// kialiPages asks the pod by port-forwards.
func (n *namespace) kialiPages(t *testing.T) {
	pod := strings.Fields(must(t, "", "-n", "fairlead-system", "get", "pods", "-l", istiod, "--field-selector=status.phase=Running", "-o", "name"))[0]
	ready, monitor := forward(t, pod, 8080), forward(t, pod, 15014)
	if status, body := page(t, ready+"/ready"); status != http.StatusOK {
		t.Errorf(":8080/ready = %d %s", status, body)
	}
	if _, body := page(t, monitor+"/version"); !regexp.MustCompile(`^\d+\.\d+\.\d+`).MatchString(body) {
		t.Errorf(":15014/version = %q", body)
	}
	users := strings.TrimPrefix(strings.TrimSpace(n.kubectl(t, "get", "pods", "-l", "app=users", "-o", "name")), "pod/") + "." + n.name
	eventually(t, "users in sync", func() (string, bool) {
		_, body := page(t, monitor+"/debug/syncz")
		var proxies []map[string]any
		if err := json.Unmarshal([]byte(body), &proxies); err != nil {
			return err.Error() + body, false
		}
		i := slices.IndexFunc(proxies, func(p map[string]any) bool { return p["proxy"] == users })
		if i < 0 {
			return body, false
		}
		for _, what := range []string{"cluster", "listener", "route", "endpoint"} {
			if sent := proxies[i][what+"_sent"]; sent == nil || sent == "" || sent != proxies[i][what+"_acked"] {
				return fmt.Sprint(proxies[i]), false
			}
		}
		return body, proxies[i]["cluster_id"] == "Kubernetes"
	})
}

// forward is a port-forward to a pod of the control plane, until the test ends, as the base of URLs.
func forward(t *testing.T, pod string, port int) string {
	t.Helper()
	return "http://" + forwarded(t, system, pod, port)
}

// forwarded is the local address of a port-forward that lasts until the test ends.
func forwarded(t *testing.T, namespace, pod string, port int) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "kubectl", "-n", namespace, "port-forward", pod, fmt.Sprintf(":%d", port))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	first := make([]byte, 256)
	read, err := out.Read(first)
	found := regexp.MustCompile(`127\.0\.0\.1:\d+`).Find(first[:read])
	if err != nil || found == nil {
		t.Fatalf("port-forward to %s: %v: %s", pod, err, first[:read])
	}
	return string(found)
}

func page(t *testing.T, url string) (status int, body string) {
	t.Helper()
	client := &http.Client{Timeout: 10 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

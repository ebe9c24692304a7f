package cli

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/cluster/clustertest"
	"fairlead.dev/fairlead/internal/config/linkerd"
)

// What is printed is a Secret as Linkerd has it, and a Link that is read without a word.
func TestLinkGen(t *testing.T) {
	s := clustertest.New(t)
	s.Put(t, "/api/v1/namespaces/fairlead-system/serviceaccounts/fairlead-reader",
		corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "fairlead-system", Name: "fairlead-reader"}})
	s.Put(t, "/api/v1/namespaces/fairlead-system/secrets/fairlead-reader-remote-token", corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{corev1.ServiceAccountNameKey: "fairlead-reader"}},
		Type:       corev1.SecretTypeServiceAccountToken, Data: map[string][]byte{"token": []byte("abc"), "ca.crt": []byte("the CA")},
	})
	s.Put(t, "/api/v1/namespaces/fairlead-system/services/fairlead-gateway", corev1.Service{
		Spec:   corev1.ServiceSpec{ExternalIPs: []string{"192.0.2.1"}, Ports: []corev1.ServicePort{{Port: 15443}, {Port: 15021}}},
		Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{Hostname: "gw.example.com"}}}},
	})
	gatewayOf := func(name string, spec corev1.ServiceSpec) {
		spec.Selector = map[string]string{"app": name}
		s.Put(t, "/api/v1/namespaces/fairlead-system/services/"+name, corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "fairlead-system", Name: name}, Spec: spec})
	}
	nodePorts := corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 15443, NodePort: 30443}, {Port: 15021, NodePort: 30021}}}
	gatewayOf("at-nodes", nodePorts)
	gatewayOf("no-pods", nodePorts)
	gatewayOf("older", corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: nodePorts.Ports[:1]})
	gatewayOf("waits", corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: nodePorts.Ports})
	gatewayOf("inside", corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, Ports: nodePorts.Ports})
	for name, status := range map[string]corev1.PodStatus{
		"a": {HostIP: "192.0.2.22"}, "b": {HostIP: "192.0.2.21"}, "c": {HostIP: "192.0.2.22"}, "d": {HostIP: "192.0.2.23", Phase: corev1.PodPending},
	} {
		if status.Phase == "" {
			status.Phase, status.Conditions = corev1.PodRunning, []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}
		s.Put(t, "/api/v1/namespaces/fairlead-system/pods/"+name, corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "fairlead-system", Name: name, Labels: map[string]string{"app": "at-nodes"}}, Status: status,
		})
	}
	run := func(args ...string) ran {
		return runCLI(t, "", append([]string{"multicluster", "link-gen", "--cluster-name", "east", "--api-server-address", "https://10.0.0.1:6443", "--kubeconfig", s.Kubeconfig(t)}, args...)...)
	}
	for _, tt := range []struct {
		name, gateways string
		port, probe    uint16
		args           []string
	}{
		{"of_the_service", "192.0.2.1,gw.example.com", 15443, 15021, nil},
		{"given", "192.0.2.7", 15443, 15021, []string{"--gateway-addresses", "192.0.2.7"}},
		{"at_nodes", "192.0.2.21,192.0.2.22", 30443, 30021, []string{"--gateway-name", "at-nodes"}},
		{"none", "", 0, 0, []string{"--gateway=false", "--excluded-labels", "a,b/"}},
	} {
		got := run(tt.args...)
		first, second, ok := strings.Cut(got.out, "---\n")
		var secret corev1.Secret
		var link linkerd.Link
		if err := yaml.UnmarshalStrict([]byte(first), &secret); !ok || got.code != 0 || err != nil {
			t.Fatalf("%s = %d, %v: %s%s", tt.name, got.code, err, got.out, got.err)
		}
		if err := yaml.UnmarshalStrict([]byte(second), &link); err != nil {
			t.Fatalf("%s: %v: %s", tt.name, err, second)
		}
		if secret.Name != "cluster-credentials-east" || secret.Type != "mirror.linkerd.io/remote-kubeconfig" || secret.Namespace != "fairlead-system" {
			t.Errorf("%s: the Secret is\n%s", tt.name, first)
		}
		config, err := clientcmd.RESTConfigFromKubeConfig([]byte(secret.StringData["kubeconfig"]))
		if err != nil || config.Host != "https://10.0.0.1:6443" || config.BearerToken != "abc" {
			t.Errorf("%s: the kubeconfig is %+v, %v", tt.name, config, err)
		}
		read, problems := linkerd.Read(&link)
		if len(problems) > 0 || read.Cluster != "east" || read.Secret != "cluster-credentials-east" || strings.Join(read.Gateways, ",") != tt.gateways || read.Port != tt.port || read.Probe.Port != tt.probe {
			t.Errorf("%s: read as %+v, %v", tt.name, read, problems)
		}
		if got.err != "" {
			t.Errorf("%s: %s", tt.name, got.err)
		}
		if strings.Contains(second, "null") {
			t.Errorf("%s: an API server takes no null:\n%s", tt.name, second)
		}
	}
	for _, tt := range []struct{ flag, value, want string }{
		{"--gateway-name", "nobody", "no Service nobody in namespace fairlead-system"},
		{"--gateway-name", "no-pods", "the gateway fairlead-system/no-pods has no pod that is ready"},
		{"--gateway-name", "older", "the gateway fairlead-system/older has no node port for 15021"},
		{"--gateway-name", "waits", "the gateway fairlead-system/waits has no address yet: wait for its load balancer"},
		{"--gateway-name", "inside", "the gateway fairlead-system/inside is of type ClusterIP and has no external address"},
		{"--selector", "a b c", "a b c"},
		{"--api-server-address", "10.0.0.1", "--api-server-address 10.0.0.1: write a URL"},
		{"--service-account-name", "nobody", "no ServiceAccount nobody"},
	} {
		if got := run(tt.flag, tt.value); got.code == 0 || !strings.Contains(got.err, tt.want) || got.out != "" {
			t.Errorf("%s %s = %d: %s%s, want %q", tt.flag, tt.value, got.code, got.out, got.err, tt.want)
		}
	}
	if got := run("--api-server-address", "https://127.0.0.1:6443"); got.code != 0 || !strings.HasSuffix(got.err, "say how the other cluster reaches the API server with --api-server-address\n") {
		t.Errorf("an address of this machine only = %d: %s", got.code, got.err)
	}
	const unasked = "fairlead: the gateway fairlead-system/fairlead-gateway has no port 15999, at which the Link has it be asked whether it is alive: "
	if got := run("--probe-port", "15999"); got.code != 0 || !strings.HasPrefix(got.err, unasked) || !strings.Contains(got.out, "kind: Link") {
		t.Errorf("a gateway that nobody can ask = %d: %s, want %s", got.code, got.err, unasked)
	}
	if got := runCLI(t, "", "multicluster", "unlink", "--cluster-name", "east"); got.code != 0 || !strings.Contains(got.out, "kind: Link\nmetadata: {name: east, namespace: fairlead-system}") {
		t.Errorf("unlink = %d: %s%s", got.code, got.out, got.err)
	}
}

func TestLinkChecks(t *testing.T) {
	var out strings.Builder
	links := []admin.LinkedCluster{
		{ClusterName: "east", NumberOfServices: 2, Gateways: []admin.LinkedGateway{{Address: "192.0.2.1", Alive: true}, {Address: "192.0.2.2", Cause: "connection refused"}}},
		{ClusterName: "north", Link: "fairlead-system/north", Unmirrored: []string{"nothing says how cluster north is read", "Service a/b has no mirror b-north: why"}},
	}
	clusters := []admin.RemoteCluster{
		{ID: "east", SecretName: "fairlead-system/east", SyncStatus: "synced", Istiod: "fairlead-controller-1"},
		{ID: "south", SecretName: "clusters", SyncStatus: "synced", Cause: "it calls itself west, as this cluster does"},
		{ID: "west", SecretName: "clusters", SyncStatus: "refused", Cause: "west is the name of this cluster itself"},
	}
	problems := []admin.Problem{
		{Kind: "Link", Object: "fairlead-system/north", Message: "said with its cluster already"},
		{Kind: "Link", Object: "fairlead-system/bad", Severity: "error", Field: "spec.targetClusterName", Message: `"East_1" becomes the end of names of Services`, Fix: "lower-case letters"},
		{Kind: "Service", Object: "fairlead-system/bad", Message: "no Link"},
	}
	err := (&linkFindings{links: links, clusters: clusters, problems: problems}).print(&out)
	want := `√ cluster east of fairlead-system/east is read by fairlead-controller-1: synced
× cluster south of clusters is read: synced: it calls itself west, as this cluster does
× cluster west of clusters is read: refused: west is the name of this cluster itself
√ gateway 192.0.2.1 of cluster east is alive
× gateway 192.0.2.2 of cluster east is alive: connection refused
√ 2 Services of cluster east have mirrors
× nothing says how cluster north is read
× Service a/b has no mirror b-north: why
√ 0 Services of cluster north have mirrors
× Link fairlead-system/bad: spec.targetClusterName: "East_1" becomes the end of names of Services (lower-case letters)
`
	if out.String() != want || err == nil || err.Error() != "6 checks failed" {
		t.Errorf("checks: %v\n%s", err, out.String())
	}
	out.Reset()
	if err := (&linkFindings{}).print(&out); err != nil || out.String() != "no other clusters\n" {
		t.Errorf("checks of none: %v\n%s", err, out.String())
	}
}

func TestGatewayTable(t *testing.T) {
	links := []admin.LinkedCluster{
		{ClusterName: "asked", NumberOfServices: 2, Gateways: []admin.LinkedGateway{{Cause: "refused", LatencyMS: 1}, {Alive: true, LatencyMS: 7}, {Alive: true, LatencyMS: 3}}},
		{ClusterName: "believed", Gateways: []admin.LinkedGateway{{Alive: true}}},
		{ClusterName: "dead", NumberOfServices: 1, Gateways: []admin.LinkedGateway{{Cause: "refused", LatencyMS: 4}}},
		{ClusterName: "direct", NumberOfServices: 3, Gateways: []admin.LinkedGateway{}},
	}
	for i := range links {
		links[i].Sum()
	}
	var out, errOut strings.Builder
	if err := printGateways(&out, &errOut, links); err != nil || errOut.Len() > 0 {
		t.Errorf("printGateways() = %v, %s", err, errOut.String())
	}
	want := `CLUSTER    ALIVE   NUM_SVC   LATENCY
asked      True    2         3ms
believed   True    0         -
dead       False   1         -
direct     -       3         -
`
	if out.String() != want {
		t.Errorf("table:\n%s\nwant:\n%s", out.String(), want)
	}

	// What is not known is no answer in JSON either, by Linkerd's names.
	out.Reset()
	if err := printValue(&out, "json", links); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"clusterName": "asked",
    "alive": true,
    "numberOfServices": 2,
    "latency": 3,`,
		`"alive": false,
    "numberOfServices": 1,
    "latency": null,`,
		`"alive": null,
    "numberOfServices": 3,
    "latency": null,`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("JSON lacks %s:\n%s", want, out.String())
		}
	}

	out.Reset()
	if err := printGateways(&out, &errOut, nil); err != nil || out.Len() > 0 || errOut.String() != "No links found.\n" {
		t.Errorf("no links: %v, %q, %q", err, out.String(), errOut.String())
	}
}

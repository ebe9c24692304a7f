package cli

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/cluster/clustertest"
)

func TestRemoteClusters(t *testing.T) {
	got := runCLI(t, "", "remote-clusters", "--kubeconfig", exampleCluster(t).Kubeconfig(t))
	lines := strings.Split(strings.TrimSpace(got.out), "\n")
	if got.code != 0 || len(lines) != 3 {
		t.Fatalf("remote-clusters = %d: %s%s", got.code, got.out, got.err)
	}
	for i, want := range []string{
		"NAME SECRET STATUS AGE ISTIOD CAUSE",
		"east fairlead-system/istio-remote-secret-east synced - fairlead-system/c-1 -",
		"east fairlead-system/istio-remote-secret-east stale 1m1s fairlead-system/c-2 401 Unauthorized",
	} {
		if line := strings.Join(strings.Fields(lines[i]), " "); line != want {
			t.Errorf("line %d is %q, want %q", i, line, want)
		}
	}
}

// What is printed is a Secret as Istio has it, with a kubeconfig in it that client-go reads.
func TestCreateRemoteSecret(t *testing.T) {
	s := clustertest.New(t)
	s.Put(t, "/api/v1/namespaces/fairlead-system/serviceaccounts/fairlead-reader",
		corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "fairlead-system", Name: "fairlead-reader"}})
	s.Put(t, "/api/v1/namespaces/fairlead-system/secrets/fairlead-reader-remote-token", corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{corev1.ServiceAccountNameKey: "fairlead-reader"}},
		Type:       corev1.SecretTypeServiceAccountToken, Data: map[string][]byte{"token": []byte("abc"), "ca.crt": []byte("the CA")},
	})
	s.Put(t, "/api/v1/namespaces/fairlead-system/secrets/other", corev1.Secret{Type: corev1.SecretTypeOpaque})
	for _, command := range [][]string{{"create-remote-secret", "--name", "east"}, {"multicluster", "link", "--cluster-name", "east"}} {
		got := runCLI(t, "", append(command, "--server", "https://10.0.0.1:6443", "--kubeconfig", s.Kubeconfig(t))...)
		var secret struct {
			corev1.Secret `json:",inline"`
		}
		if err := yaml.Unmarshal([]byte(got.out), &secret); got.code != 0 || err != nil {
			t.Fatalf("%q = %d, %v: %s%s", command, got.code, err, got.out, got.err)
		}
		if secret.Name != "istio-remote-secret-east" || secret.Namespace != "fairlead-system" || secret.Labels["istio/multiCluster"] != "true" ||
			secret.Annotations["networking.istio.io/cluster"] != "east" || got.err != "" {
			t.Errorf("%q printed\n%s%s", command, got.out, got.err)
		}
		config, err := clientcmd.RESTConfigFromKubeConfig([]byte(secret.StringData["east"]))
		if err != nil || config.Host != "https://10.0.0.1:6443" || config.BearerToken != "abc" || string(config.CAData) != "the CA" {
			t.Errorf("%q: the kubeconfig is %+v, %v", command, config, err)
		}
	}
	for _, tt := range []struct{ flag, value, want string }{
		{"--service-account", "nobody", "no ServiceAccount nobody in namespace fairlead-system"},
		{"--secret-name", "other", "is not one of a token of ServiceAccount"},
		{"--auth-type", "plugin", "only bearer-token"},
		{"--type", "config", "only remote"},
		{"--server", "10.0.0.1", "write a URL"},
	} {
		got := runCLI(t, "", "create-remote-secret", "--name", "east", "--kubeconfig", s.Kubeconfig(t), tt.flag, tt.value)
		if got.code == 0 || !strings.Contains(got.err, tt.want) || got.out != "" {
			t.Errorf("%s %s = %d: %s%s, want %q", tt.flag, tt.value, got.code, got.out, got.err, tt.want)
		}
	}
	if got := runCLI(t, "", "create-remote-secret", "--name", "east", "--kubeconfig", s.Kubeconfig(t)); !strings.Contains(got.err, "an address of this machine only") {
		t.Errorf("it does not say that no other cluster reaches the API server: %q", got.err)
	}
	if got := runCLI(t, "", "create-remote-secret"); got.code == 0 {
		t.Error("a cluster without a name has a Secret")
	}
}

func TestEndpointsOfSeveralClusters(t *testing.T) {
	in := func(clusters ...string) (list []admin.EndpointDump) {
		for _, c := range clusters {
			list = append(list, admin.EndpointDump{Address: "10.0.0.1:80", ClusterID: c})
		}
		return list
	}
	for _, tt := range []struct {
		list []admin.EndpointDump
		want bool
	}{{in(), false}, {in("west", "", "west"), false}, {in("", "west", "east"), true}} {
		var out strings.Builder
		if err := viewEndpoints(&out, &admin.Dump{Endpoints: tt.list}, proxyFilter{output: table}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(out.String(), "CLUSTER ID") && strings.Contains(out.String(), "east"); got != tt.want {
			t.Errorf("a column for the cluster: %v, want %v\n%s", got, tt.want, out.String())
		}
	}
}

// What is printed is a Secret with the cluster's own roots, by its name.
func TestMulticlusterTrust(t *testing.T) {
	s := clustertest.New(t)
	trust := func(name string, more ...string) ran {
		return runCLI(t, "", append([]string{"multicluster", "trust", "--name", name, "--kubeconfig", s.Kubeconfig(t)}, more...)...)
	}
	if got := trust("east"); got.code == 0 || !strings.Contains(got.err, "no ConfigMap fairlead-ca-root-cert in namespace fairlead-system: install the mesh") {
		t.Errorf("without a mesh: %d: %s%s", got.code, got.out, got.err)
	}
	if got := trust("not a name"); got.code == 0 || !strings.Contains(got.err, `"not a name" is no name of a cluster`) {
		t.Errorf("of a bad name: %d: %s%s", got.code, got.out, got.err)
	}
	s.Put(t, "/api/v1/namespaces/fairlead-system/configmaps/fairlead-ca-root-cert", corev1.ConfigMap{Data: map[string]string{"root-cert.pem": "the roots"}})
	var secret struct {
		corev1.Secret `json:",inline"`
	}
	if got := trust("east"); got.code == 0 || !strings.Contains(got.err, "no Deployment fairlead-controller in namespace fairlead-system says the trust domain of this cluster: give --trust-domain") {
		t.Errorf("without a controller: %d: %s%s", got.code, got.out, got.err)
	}
	var d appsv1.Deployment
	d.Spec.Template.Spec.Containers = []corev1.Container{{Args: []string{"--kube", "--trust-domain=east.example"}}}
	s.Put(t, "/apis/apps/v1/namespaces/fairlead-system/deployments/fairlead-controller", d)
	if got := trust("east", "--trust-domain", "East"); got.code == 0 || !strings.Contains(got.err, `trust domain "East": 'E' is not allowed`) {
		t.Errorf("of a bad trust domain: %d: %s%s", got.code, got.out, got.err)
	}
	got := trust("east")
	if err := yaml.Unmarshal([]byte(got.out), &secret); got.code != 0 || err != nil {
		t.Fatalf("%d, %v: %s%s", got.code, err, got.out, got.err)
	}
	if secret.Name != "fairlead-trust-east" || secret.Namespace != "fairlead-system" || secret.Labels["fairlead.dev/trust"] != "true" || secret.StringData["east"] != "the roots" ||
		secret.Annotations["fairlead.dev/trust-domain"] != "east.example" {
		t.Errorf("printed\n%s", got.out)
	}
}

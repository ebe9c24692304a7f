package cli

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/certs/certstest"
	"fairlead.dev/fairlead/internal/cluster/clustertest"
)

// A cluster's roots go out as a SPIFFE bundle, and come in from one: what is printed by the first is what the second trusts, for the
// trust domain that is said.
func TestTrustBySPIFFEBundles(t *testing.T) {
	root := certstest.New(t, "east").CA
	s := clustertest.New(t)
	s.Put(t, "/api/v1/namespaces/fairlead-system/configmaps/fairlead-ca-root-cert", corev1.ConfigMap{Data: map[string]string{"root-cert.pem": root}})
	trust := func(more ...string) ran {
		return runCLI(t, "", append([]string{"multicluster", "trust", "--name", "east"}, more...)...)
	}
	out := trust("-o", "spiffe", "--trust-domain", "east.example", "--kubeconfig", s.Kubeconfig(t))
	if out.code != 0 || !strings.Contains(out.out, `"use": "x509-svid"`) {
		t.Fatalf("%d: %s%s", out.code, out.out, out.err)
	}
	file := filepath.Join(t.TempDir(), "bundle.json")
	if err := os.WriteFile(file, []byte(out.out), 0o600); err != nil {
		t.Fatal(err)
	}
	in := trust("--bundle", file, "--trust-domain", "east.example")
	var secret struct {
		corev1.Secret `json:",inline"`
	}
	if err := yaml.Unmarshal([]byte(in.out), &secret); in.code != 0 || err != nil {
		t.Fatalf("%d, %v: %s%s", in.code, err, in.out, in.err)
	}
	if secret.StringData["east"] != root || secret.Annotations["fairlead.dev/trust-domain"] != "east.example" {
		t.Errorf("printed\n%s", in.out)
	}
	revoked := filepath.Join(t.TempDir(), "revoked.json")
	if err := os.WriteFile(revoked, []byte(`{"keys": []}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, want string
		args       []string
	}{
		{"without its trust domain", "does not say of which trust domain it is: give --trust-domain", []string{"--bundle", file}},
		{"a bad trust domain", `trust domain "East": 'E' is not allowed`, []string{"--bundle", file, "--trust-domain", "East"}},
		{"no file", "--bundle: open ", []string{"--bundle", file + "x", "--trust-domain", "a"}},
		{"without TLS", "http://a.example: a bundle comes by https", []string{"--bundle", "http://a.example", "--trust-domain", "a"}},
		{"nothing in it", "all its keys are revoked", []string{"--bundle", revoked, "--trust-domain", "a"}},
		{"another form", `--output "yaml": write secret or spiffe`, []string{"-o", "yaml"}},
	} {
		if got := trust(tt.args...); got.code == 0 || !strings.Contains(got.err, tt.want) {
			t.Errorf("%s: %d: %s%s, want %s", tt.name, got.code, got.out, got.err, tt.want)
		}
	}
}

// An endpoint whose certificate nobody vouches for is asked for nothing.
func TestTrustOfAStrangersBundle(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // of those who do not believe it
	server.StartTLS()
	defer server.Close()
	got := runCLI(t, "", "multicluster", "trust", "--name", "east", "--bundle", server.URL, "--trust-domain", "a")
	if got.code == 0 || !strings.Contains(got.err, "certificate") {
		t.Errorf("%d: %s%s", got.code, got.out, got.err)
	}
}

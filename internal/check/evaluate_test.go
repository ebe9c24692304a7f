package check

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/internal/admin"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// find gives the result of a check.
func find(r Report, anchor string) *Result {
	for i := range r {
		for j := range r[i].Results {
			if r[i].Results[j].Anchor == anchor {
				return &r[i].Results[j]
			}
		}
	}
	return nil
}

func TestEvaluateFindsNothingWhereNothingIsWrong(t *testing.T) {
	installed, _ := healthy(t)
	for _, f := range []*Facts{installed, bare()} {
		r := Evaluate(f)
		for i := range r {
			for _, x := range r[i].Results {
				if x.Status != Passed {
					t.Errorf("%s: %+v", r[i].Name, x)
				}
			}
		}
		if !r.OK() {
			t.Error("OK() = false")
		}
	}
}

// With the CNI plugin a sidecar needs no privilege, and the labels of another mesh that is there are its own business.
func TestEvaluateLetsNamespacesBe(t *testing.T) {
	f, _ := healthy(t)
	f.Namespaces.Value[2].Labels[podSecurity] = "restricted"
	f.Namespaces.Value = append(f.Namespaces.Value, Namespace{Name: "bank", Labels: map[string]string{istioInjection: "enabled"}})
	f.Roots.Value["bank"] = f.Roots.Value["shop"]
	f.Webhooks.Value = append(f.Webhooks.Value, Webhook{Mutating: true, Config: "i", Name: "namespace.sidecar-injector.istio.io"})
	for _, anchor := range []string{"config-labels", "config-pod-security"} {
		if got := find(Evaluate(f), anchor); got.Status != Passed {
			t.Errorf("%+v", got)
		}
	}
}

// A cluster that was declared a moment ago is nothing to report.
func TestEvaluateWaitsForAClusterThatBegins(t *testing.T) {
	f, _ := healthy(t)
	f.Replicas[0].Clusters.Value = []admin.RemoteCluster{{ID: "east", SyncStatus: "syncing"}, {ID: "north", SyncStatus: "synced"}}
	if got := find(Evaluate(f), "controller-clusters"); got.Status != Passed {
		t.Errorf("%+v", got)
	}
}

// Policies of a namespace that another mesh is there for are that mesh's.
func TestEvaluateLeavesPoliciesToAnotherMesh(t *testing.T) {
	f, _ := healthy(t)
	f.Webhooks.Value = append(f.Webhooks.Value, Webhook{Mutating: true, Config: "istio-sidecar-injector", Name: "namespace.sidecar-injector.istio.io"})
	f.Unobeyed = []Got[[]Unobeyed]{{Value: []Unobeyed{{Kind: "AuthorizationPolicy", Protects: true, ByNamespace: map[string]int{"default": 1}}}}}
	if got := find(Evaluate(f), "config-policies"); got.Status != Passed {
		t.Errorf("%+v", got)
	}
}

func TestEvaluateSaysWhatIsWrong(t *testing.T) {
	wrong := map[string]bool{}
	for _, group := range []struct {
		name     string
		troubles []trouble
		facts    func() (*Facts, *pair)
	}{
		{"api", apiTroubles(), nil},
		{"config", configTroubles(), nil},
		{"unobeyed", unobeyedTroubles(), nil},
		{"namespaces", namespaceTroubles(), nil},
		{"identity", identityTroubles(t), nil},
		{"webhooks", webhookTroubles(t), nil},
		{"controller", controllerTroubles(), nil},
		{"other", otherTroubles(), nil},
		{"pre", preTroubles(), func() (*Facts, *pair) { return bare(), nil }},
	} {
		for _, tt := range group.troubles {
			t.Run(group.name+"/"+tt.anchor+"/"+tt.name, func(t *testing.T) {
				var f *Facts
				var ca *pair
				if group.facts != nil {
					f, ca = group.facts()
				} else {
					f, ca = healthy(t)
				}
				tt.cause(f, ca)
				report := Evaluate(f)
				got := find(report, tt.anchor)
				if got == nil {
					t.Fatalf("no result for %s in %+v", tt.anchor, report)
				}
				wrong[tt.anchor] = true
				if text := strings.Join(append(got.Details, got.Hint), "\n"); got.Status != tt.want || !strings.Contains(text, tt.says) {
					t.Errorf("%s: %s, %q, want %s, %q", got.Name, got.Status, text, tt.want, tt.says)
				}
				if got.Hint == "" || len(got.Details) == 0 {
					t.Errorf("%s: does not say what is wrong and what to do: %+v", got.Name, got)
				}
				if report.OK() && tt.want == Failed {
					t.Error("OK() = true")
				}
			})
		}
	}
	for _, anchor := range anchors() {
		if !wrong[anchor] {
			t.Errorf("no test lets %s find something", anchor)
		}
	}
}

// anchors are those of all checks.
func anchors() []string {
	var all []string
	for _, rules := range [][]rule{apiRules(), preRules(), configRules(), identityRules(), webhookRules(), controllerRules(), cniRules(), proxyRules()} {
		for _, r := range rules {
			all = append(all, r.anchor)
		}
	}
	return all
}

func TestEveryCheckIsDescribed(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", page))
	if err != nil {
		t.Fatal(err)
	}
	var described []string
	for line := range strings.Lines(string(text)) {
		if anchor, ok := strings.CutPrefix(strings.TrimSpace(line), "### "); ok {
			described = append(described, anchor)
		}
	}
	if diff := cmp.Diff(anchors(), described); diff != "" {
		t.Errorf("headings of %s (-checks +page):\n%s", page, diff)
	}
}

func TestEvaluateStopsWhereTheRestWouldRepeat(t *testing.T) {
	f, _ := healthy(t)
	f.API.Err = errors.New("x")
	if r := Evaluate(f); len(r) != 1 || len(r[0].Results) != 1 {
		t.Errorf("Evaluate without an API server = %+v", r)
	}
	f, _ = healthy(t)
	f.Namespace.Err = missing("namespaces")
	if r := Evaluate(f); len(r) != 2 || len(r[1].Results) != 1 {
		t.Errorf("Evaluate without an installation = %+v", r)
	}
	f, _ = healthy(t)
	f.CNI.Err, f.Scope.Proxy = missing("daemonsets"), false
	f.Config.Value.Data[injectorKey] = "image: x\n"
	var names []string
	for _, c := range Evaluate(f) {
		names = append(names, c.Name)
	}
	if want := []string{"kubernetes-api", "fairlead-config", "fairlead-identity", "fairlead-webhooks", "fairlead-controller"}; !slices.Equal(names, want) {
		t.Errorf("categories %v, want %v", names, want)
	}
}

// TestAuthorityOfOthers: a CA that the user brought has another form, and need not name a trust domain.
func TestAuthorityOfOthers(t *testing.T) {
	f, _ := healthy(t)
	root := newCA(t, "corp", f.Now, 1e18)
	between := newCA(t, "cluster.local", f.Now, 1e17)
	between = issue(t, between.cert, root)
	for _, tt := range []struct {
		name   string
		secret corev1.Secret
	}{
		{"istio", corev1.Secret{Data: map[string][]byte{"ca-cert.pem": between.pem, "ca-key.pem": between.keyPEM, "root-cert.pem": root.pem, "cert-chain.pem": append(slices.Clone(between.pem), root.pem...)}}},
		{"cert-manager", corev1.Secret{Data: map[string][]byte{"tls.crt": between.pem, "tls.key": between.keyPEM, "ca.crt": root.pem}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.secret.Name = givenCASecret
			f.CA.Value = tt.secret
			a, err := parseAuthority(&tt.secret)
			if err != nil || len(a.roots) != 1 || !a.roots[0].Equal(root.cert) {
				t.Fatalf("parseAuthority = %+v, %v", a, err)
			}
			for _, judge := range []func(*Facts) verdict{judgeCA, judgeTrustDomain, judgeExpiry} {
				if v := judge(f); v.status != Passed {
					t.Errorf("%+v", v)
				}
			}
		})
	}
}

// TestPrint compares what users and programs see with testdata/print.txtar.
func TestPrint(t *testing.T) {
	f, _ := healthy(t)
	f.Kinds[0].Served = Got[[]string]{Err: missing("x")}
	f.Deployment.Value.Status.ReadyReplicas = 0
	for i := range 14 {
		f.Workloads.Value = append(f.Workloads.Value, Workload{Namespace: "shop", Name: "old", Owner: "job/" + string(rune('a'+i)), Missing: true})
	}
	absent := &Facts{System: SystemNamespace, Namespace: Got[corev1.Namespace]{Err: missing("namespaces")}}
	absent.API.Value = API{Major: 1, Minor: 30}
	archive := &txtar.Archive{Comment: []byte("What `fairlead check` prints.\n")}
	for _, c := range []struct {
		name  string
		facts *Facts
	}{{"trouble", f}, {"absent", absent}, {"pre", bare()}} {
		report := Evaluate(c.facts)
		var table, machine bytes.Buffer
		if err := errors.Join(report.Print(&table), report.PrintJSON(&machine)); err != nil {
			t.Fatal(err)
		}
		archive.Files = append(archive.Files, txtar.File{Name: c.name, Data: table.Bytes()})
		if c.name != "trouble" {
			archive.Files = append(archive.Files, txtar.File{Name: c.name + ".json", Data: machine.Bytes()})
		}
	}
	golden(t, filepath.Join("testdata", "print.txtar"), txtar.Format(archive))
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

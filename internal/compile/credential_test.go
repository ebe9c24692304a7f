package compile_test

import (
	"fmt"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/certs/certstest"
	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// tellers are a host that every namespace sees, and those who may call it: two pods of namespace shop and, with the same labels,
// one of another namespace.
const tellers = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: bank, namespace: shop}
spec: {hosts: [bank.example.com], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP, targetPort: 443}]}
---
apiVersion: v1
kind: Pod
metadata: {name: teller, namespace: shop, labels: {app: teller}}
spec: {containers: [{name: app, image: x}]}
status: {podIP: 10.0.0.1, phase: Running}
---
apiVersion: v1
kind: Pod
metadata: {name: clerk, namespace: shop, labels: {app: clerk}}
spec: {containers: [{name: app, image: x}]}
status: {podIP: 10.0.0.2, phase: Running}
---
apiVersion: v1
kind: Pod
metadata: {name: teller, namespace: other, labels: {app: teller}}
spec: {containers: [{name: app, image: x}]}
status: {podIP: 10.0.0.3, phase: Running}
---
`

const selectsTellers = "workloadSelector: {matchLabels: {app: teller}}, "

// bank is a rule of a namespace for the host: what it selects, then its tls block.
func bank(name, namespace, selector, tls string) string {
	return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: %s, namespace: %s}
spec: {host: bank.example.com, %strafficPolicy: {tls: {%s}}}
---
`, name, namespace, selector, tls)
}

// manifestOf is a Secret of namespace shop, of keys and values in turn.
func manifestOf(name string, data ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: shop}\nstringData:\n", name)
	for i := 0; i+1 < len(data); i += 2 {
		fmt.Fprintf(&b, "  %s: %q\n", data[i], data[i+1])
	}
	return b.String() + "---\n"
}

// TestGivenCredentials is who is given what: pods that a rule of their own namespace selects, and what that rule names, a key
// only where it is to be shown to servers.
func TestGivenCredentials(t *testing.T) {
	t.Parallel()
	const mutual = "mode: MUTUAL, credentialName: client"
	both := []string{"cred/shop/client", "roots/shop/client"}
	for _, tt := range []struct {
		name, rules          string
		teller, clerk, other []string
	}{
		{"mutual", bank("bank", "shop", selectsTellers, mutual), both, nil, nil},
		{"simple", bank("bank", "shop", selectsTellers, "mode: SIMPLE, credentialName: client"), both[1:], nil, nil},
		{"CAs apart", bank("bank", "shop", selectsTellers, mutual+", caCertCredentialName: ca"), []string{"cred/shop/client", "roots/shop/ca"}, nil, nil},
		{"files and CAs", bank("bank", "shop", selectsTellers, "mode: MUTUAL, clientCertificate: /a, privateKey: /b, caCertCredentialName: ca"), []string{"roots/shop/ca"}, nil, nil},
		{"nothing is verified", bank("bank", "shop", selectsTellers, mutual+", insecureSkipVerify: true"), both[:1], nil, nil},
		{"with Istio's prefix", bank("bank", "shop", selectsTellers, "mode: MUTUAL, credentialName: 'kubernetes://client'"), both, nil, nil},
		{"the mesh's own", bank("bank", "shop", selectsTellers, "mode: ISTIO_MUTUAL, credentialName: client"), nil, nil, nil},
		{"nobody is selected", bank("bank", "shop", "", mutual), nil, nil, nil},
		{"all are selected", bank("bank", "shop", "workloadSelector: {}, ", mutual), both, both, nil},
		{"selected in another namespace", bank("bank", "other", selectsTellers, mutual), nil, nil, []string{"cred/other/client", "roots/other/client"}},
		{"selected in the root namespace", bank("bank", "fairlead-system", selectsTellers, mutual), nil, nil, nil},
		{
			"two rules", bank("bank", "shop", selectsTellers, mutual) + bank("more", "shop", "workloadSelector: {matchLabels: {app: clerk}}, ", "mode: SIMPLE, credentialName: client"),
			both, both[1:], nil,
		},
		{
			"a rule that is not for the pod and names its Secret too", bank("bank", "shop", selectsTellers, "mode: SIMPLE, credentialName: client") +
				bank("more", "shop", "workloadSelector: {matchLabels: {app: clerk}}, ", mutual), both[1:], both, nil,
		},
		{
			"a subset and a port", strings.Replace(bank("bank", "shop", selectsTellers, "mode: SIMPLE"), "spec: {", "spec: {subsets: [{name: a, labels: {a: b}, trafficPolicy: {portLevelSettings: [{port: {number: 80}, tls: {"+mutual+"}}]}}], ", 1),
			both, nil, nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			snapshot, _ := compiletest.Load(t, tellers+tt.rules)
			for pod, want := range map[string][]string{"in/shop/teller": tt.teller, "in/shop/clerk": tt.clerk, "in/other/teller": tt.other, "in/shop/nobody": nil} {
				if got := compile.Given(store.NewReader(snapshot), pod); strings.Join(got, " ") != strings.Join(want, " ") {
					t.Errorf("Given(%s) = %q, want %q", pod, got, want)
				}
			}
		})
	}
}

// TestBackendsNameWhatIsGiven: a destination names the credentials that its callers are given, and others not.
func TestBackendsNameWhatIsGiven(t *testing.T) {
	t.Parallel()
	const mutual = "mode: MUTUAL, credentialName: client"
	for _, tt := range []struct {
		name, rules, caller string
		selected, others    string
	}{
		{"selected", bank("bank", "shop", selectsTellers, mutual), "shop", "cred/shop/client roots/shop/client", ""},
		{"nobody is selected", bank("bank", "shop", "", mutual), "shop", "", " "},
		{"others than the selected have a rule too", bank("bank", "shop", selectsTellers, mutual) + bank("more", "shop", "", mutual), "shop", "cred/shop/client roots/shop/client", " "},
		{
			"what a merged rule says that selects nobody", bank("bank", "shop", "", mutual) +
				strings.Replace(bank("first", "shop", selectsTellers, ""), "trafficPolicy: {tls: {}}", "subsets: [{name: a, labels: {a: b}}]", 1), "shop", " ", " ",
		},
		{"callers of another namespace", bank("bank", "shop", selectsTellers, mutual), "other", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			snapshot, _ := compiletest.Load(t, tellers+tt.rules)
			g := compile.Global{TrustDomain: "cluster.local", ClusterDomain: "cluster.local"}
			client := compile.Client{Namespace: tt.caller, Pod: "teller"}
			name, ok := compile.Resolve(store.NewReader(snapshot), g, client, "host/bank.example.com:80")
			if !ok || !client.MayRead(name) {
				t.Fatalf("resolved to %q, %v", name, ok)
			}
			d, _ := compile.Compile(store.NewReader(snapshot), g, name).(*plan.Destination)
			names := func(b *plan.Backend) string {
				if b.TLS.CredentialName == "" {
					return ""
				}
				return b.Credential + " " + b.Roots
			}
			if got := names(&d.Backends[0]); got != tt.others {
				t.Errorf("callers that are not selected: %q, want %q", got, tt.others)
			}
			got := ""
			if len(d.Selected) > 0 {
				got = names(&d.Selected[0].Value)
			}
			if got != tt.selected {
				t.Errorf("selected callers: %q, want %q", got, tt.selected)
			}
			for _, part := range []string{"cred/shop/client", "roots/shop/client", "cred/shop/client?ns=shop", "roots/other/client"} {
				if _, ok := compile.Resolve(store.NewReader(snapshot), g, client, part); ok || client.MayRead(part) {
					t.Errorf("%s can be asked for", part)
				}
			}
		})
	}
}

// TestCredentialsOfSecrets is what comes of Secrets, and what is said about a rule.
func TestCredentialsOfSecrets(t *testing.T) {
	t.Parallel()
	ca, other := certstest.New(t, "ca"), certstest.New(t, "other")
	a := ca.Issue(t, "a")
	list := ca.Revoke(t)
	whole := manifestOf("client", "tls.crt", a.Cert, "tls.key", a.Key, "ca.crt", ca.CA, "ca.crl", list)
	const source, mutual, at = "Secret shop/client", "mode: MUTUAL, credentialName: client", "spec.trafficPolicy.tls.credentialName: "
	const gone, noPair, noCA = "is not there, or the control plane may not read it", "has neither tls.crt and tls.key nor cert and key", "has neither ca.crt nor cacert"
	const broken = "cannot be used: tls.crt and tls.key: tls: failed to find any PEM data in key input"
	pair := plan.Credential{Cert: a.Cert, Key: a.Key, Source: source}
	for _, tt := range []struct {
		name, tls, secrets string
		credential, roots  plan.Credential
		problem            string
	}{
		{"whole", mutual, whole, pair, plan.Credential{CA: ca.CA, CRL: list, Source: source}, ""},
		{"the CA's own Secret first", mutual, whole + manifestOf("client-cacert", "cacert", other.CA), pair, plan.Credential{CA: other.CA, Source: source + "-cacert"}, ""},
		{"no CA", mutual, manifestOf("client", "cert", a.Cert, "key", a.Key), pair, plan.Credential{Source: source, Problem: noCA}, at + source + " " + noCA},
		{
			"CAs elsewhere", mutual + ", caCertCredentialName: ca", manifestOf("client", "cert", a.Cert, "key", a.Key) + manifestOf("ca", "ca.crt", ca.CA), pair,
			plan.Credential{Source: source, Problem: noCA},
			"",
		},
		{"simple, with a CA alone", "mode: SIMPLE, credentialName: client", manifestOf("client-cacert", "ca.crt", ca.CA), plan.Credential{Source: source, Problem: gone}, plan.Credential{CA: ca.CA, Source: source + "-cacert"}, ""},
		{"a Secret for something else", mutual, manifestOf("client", "password", "x", "ca.crt", ca.CA), plan.Credential{Source: source, Problem: noPair}, plan.Credential{CA: ca.CA, Source: source}, at + source + " " + noPair},
		{"no Secret", mutual, "", plan.Credential{Source: source, Problem: gone}, plan.Credential{Source: source, Problem: gone}, at + source + " " + gone},
		{"a Secret that is broken", mutual, manifestOf("client", "tls.crt", a.Cert, "tls.key", "x"), plan.Credential{Source: source, Problem: broken}, plan.Credential{Source: source, Problem: broken}, at + source + " " + broken},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			snapshot, _ := compiletest.Load(t, tellers+bank("bank", "shop", selectsTellers, tt.tls)+tt.secrets)
			g := compile.Global{TrustDomain: "cluster.local", ClusterDomain: "cluster.local"}
			for name, want := range map[string]plan.Credential{"cred/shop/client": tt.credential, "roots/shop/client": tt.roots} {
				want.Name = name
				if got, _ := compile.Compile(store.NewReader(snapshot), g, name).(*plan.Credential); got == nil || *got != want {
					t.Errorf("%s is\n%+v, want\n%+v", name, got, want)
				}
			}
			var said []string
			for _, p := range compile.Check(store.NewReader(snapshot), g) {
				said = append(said, p.String())
			}
			if got := strings.Join(said, "\n"); !strings.Contains(got, tt.problem) || (got == "") != (tt.problem == "") || len(said) > 1 {
				t.Errorf("problems:\n%s\nwant %q", got, tt.problem)
			}
		})
	}
}

package controlplane

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/certs/certstest"
	"fairlead.dev/fairlead/internal/plan"
)

// credentialOf gives what a proxy has of a Secret, nil where it has nothing.
func (p *proxy) credentialOf(name string) *plan.Credential {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, _ := p.state[name].(*plan.Credential)
	return c
}

func secretManifest(pair certstest.Pair, ca string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: client, namespace: myapp}\nstringData: {tls.crt: %q, tls.key: %q, ca.crt: %q}\n", pair.Cert, pair.Key, ca)
}

const bankManifests = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: bank, namespace: myapp}
spec: {hosts: [bank.example.com], addresses: [10.9.0.9], resolution: STATIC, endpoints: [{address: 10.9.0.1}], ports: [{number: 80, name: http, protocol: HTTP, targetPort: 443}]}
---
apiVersion: v1
kind: Pod
metadata: {name: teller, namespace: myapp, labels: {app: teller}}
spec: {containers: [{name: app, image: x}]}
status: {podIP: 10.0.0.7, phase: Running}
---
apiVersion: v1
kind: Pod
metadata: {name: clerk, namespace: myapp, labels: {app: clerk}}
spec: {containers: [{name: app, image: x}]}
status: {podIP: 10.0.0.8, phase: Running}
---
` + bankRule

const bankRule = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: bank, namespace: myapp}
spec: {host: bank.example.com, workloadSelector: {matchLabels: {app: teller}}, trafficPolicy: {tls: {mode: MUTUAL, credentialName: client}}}
`

const thiefManifests = `---
apiVersion: v1
kind: Pod
metadata: {name: teller, namespace: thief, labels: {app: teller}}
spec: {containers: [{name: app, image: x}]}
status: {podIP: 10.0.0.9, phase: Running}
`

// TestNobodyElseGetsAKey: whatever is asked for by a pod of another namespace, and by one of the same namespace that no rule
// selects, it is not told what a Secret has; no page and no log has it either. An edit arrives, a broken one does not, and the end
// of the rule is the end of the key.
func TestNobodyElseGetsAKey(t *testing.T) {
	ca := certstest.New(t, "ca")
	first, second := ca.Issue(t, "client"), ca.Issue(t, "client")
	w := start(t, "bank.yaml", bankManifests+"---\n"+secretManifest(first, ca.CA))
	w.write(t, "thief.yaml", strings.ReplaceAll(bankRule, "namespace: myapp", "namespace: thief")+thiefManifests)
	owner, sibling, thief := newProxy(), newProxy(), newProxy()
	mine := w.clientIn(t, "myapp", "teller", owner)
	run(t, mine)
	await(t, mine, "in/myapp/teller")
	for _, other := range []struct {
		namespace, pod string
		proxy          *proxy
	}{{"myapp", "clerk", sibling}, {"thief", "teller", thief}} {
		c := w.clientIn(t, other.namespace, other.pod, other.proxy)
		run(t, c)
		await(t, c, "in/"+other.namespace+"/"+other.pod, "in/myapp/teller", "in/myapp/teller?ns=myapp",
			"ip/10.9.0.9:80", "host/bank.example.com:80", "dst/myapp/bank.example.com:80", "dst/myapp/bank.example.com:80?ns=myapp", "dst/myapp/bank.example.com:80?ns=thief",
			"cred/myapp/client", "roots/myapp/client", "cred/myapp/client?ns=thief", "cred/myapp/../myapp/client", "cred/thief/client", "CRED/myapp/client")
	}
	eventually(t, "the owner has the key", func() bool { c := owner.credentialOf("cred/myapp/client"); return c != nil && c.Key == first.Key })
	if c := owner.credentialOf("roots/myapp/client"); c == nil || c.CA != ca.CA || c.Key != "" {
		t.Errorf("roots: %+v", c)
	}
	// The thief's own rule names a Secret of its own namespace, which is not there.
	eventually(t, "the thief is told of its own Secret", func() bool {
		c := thief.credentialOf("cred/thief/client")
		return c != nil && strings.Contains(c.Problem, "is not there") && c.Source == "Secret thief/client"
	})
	told := func(p *proxy) string {
		p.mu.Lock()
		defer p.mu.Unlock()
		b, err := json.Marshal(p.state)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	key := strings.Split(first.Key, "\n")[1]
	if !strings.Contains(told(owner), key) {
		t.Fatal("the key is not looked for rightly")
	}
	for where, text := range map[string]string{
		"what a pod that is not selected was told": told(sibling), "what the other namespace was told": told(thief),
		"/debug/endpointz": w.get(t, "/debug/endpointz"), "/debug/syncz": w.get(t, "/debug/syncz"), "/debug/problemz": w.get(t, "/debug/problemz"), "the log": w.log.String(),
	} {
		if strings.Contains(text, key) {
			t.Errorf("%s has the key", where)
		}
	}
	w.write(t, "bank.yaml", bankManifests+"---\n"+secretManifest(second, ca.CA))
	eventually(t, "the new key", func() bool { return owner.credentialOf("cred/myapp/client").Key == second.Key })
	broken := second
	broken.Key = first.Key
	w.write(t, "bank.yaml", bankManifests+"---\n"+secretManifest(broken, ca.CA))
	eventually(t, "the problem", func() bool { return strings.Contains(w.get(t, "/debug/problemz"), "Secret myapp/client: data:") })
	if c := owner.credentialOf("cred/myapp/client"); c.Key != second.Key || c.Problem != "" {
		t.Errorf("a broken Secret took the place of the good one: %s", c.Problem)
	}
	w.write(t, "bank.yaml", bankManifests)
	eventually(t, "that the Secret is gone", func() bool { return strings.Contains(owner.credentialOf("cred/myapp/client").Problem, "is not there") })
	if c := owner.credentialOf("cred/myapp/client"); c.Key != "" {
		t.Error("the key stays")
	}
	w.write(t, "bank.yaml", strings.Replace(bankManifests, "app: teller}}, traffic", "app: nobody}}, traffic", 1)+"---\n"+secretManifest(second, ca.CA))
	eventually(t, "that nothing is given any more", func() bool {
		return owner.credentialOf("cred/myapp/client") == nil && owner.credentialOf("roots/myapp/client") == nil
	})
}

// TestAdmissionMissesNoSecret: no rule in force names a Secret before it is admitted, so that none is missed there.
func TestAdmissionMissesNoSecret(t *testing.T) {
	e := engineWith(t, "")
	if v := e.review([]byte(`{"apiVersion":"networking.istio.io/v1","kind":"DestinationRule","metadata":{"name":"bank","namespace":"myapp"},"spec":{"host":"*.example.com","workloadSelector":{"matchLabels":{"app":"a"}},"trafficPolicy":{"tls":{"mode":"MUTUAL","credentialName":"client"}}}}`)); strings.Contains(strings.Join(append(v.refusals, v.warnings...), ""), "Secret") {
		t.Errorf("%+v", v)
	}
}

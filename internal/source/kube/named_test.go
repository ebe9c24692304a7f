package kube

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/model"
)

const (
	rules   = "/apis/" + istioV1 + "/destinationrules"
	secrets = "/api/v1/namespaces/myapp/secrets"
)

func ruleOf(name, credential string) string {
	return "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: " + name + ", namespace: myapp}, " +
		"spec: {host: bank.example.com, workloadSelector: {matchLabels: {app: teller}}, trafficPolicy: {tls: {mode: MUTUAL, credentialName: " + credential + "}}}}"
}

func secretOf(name, key string) string {
	return "{apiVersion: v1, kind: Secret, metadata: {name: " + name + ", namespace: myapp}, stringData: {cert: a, key: " + key + "}}"
}

func refOf(kind, name string) model.Ref {
	return model.Ref{Kind: kind, Key: model.Key{Namespace: "myapp", Name: name}}
}

// The Secrets that a DestinationRule names are read, each by its name, and no other one is asked for.
func TestNamedSecrets(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.offer(istioV1, "VirtualService", "DestinationRule")
	f.put(t, rules, ruleOf("bank", "client"))
	f.put(t, secrets, secretOf("client", "one"))
	f.put(t, secrets, secretOf("other", "two"))
	_, v, _ := run(t, f.config())
	first := v.first(t)
	var read []string
	for _, o := range first.Upserts {
		read = append(read, o.Ref.String())
	}
	if want := []string{"DestinationRule myapp/bank", "Secret myapp/client"}; !slices.Equal(read, want) {
		t.Errorf("the first change has %q, want %q", read, want)
	}
	f.put(t, secrets, secretOf("client", "three"))
	f.put(t, rules, ruleOf("bank", "other"))
	has := func(name string) bool { return v.objects[refOf(model.SecretKind, name)] != nil }
	v.until(t, "the other Secret instead", func() bool { return has("other") && !has("client") })
	f.put(t, rules, ruleOf("bank", "client"))
	v.until(t, "the first one again", func() bool { return has("client") && !has("other") })
	f.remove(rules, "myapp/bank")
	v.until(t, "no Secret without a rule", func() bool { return !has("client") && !has("other") })
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.requests {
		if _, path, _ := strings.Cut(r, " "); strings.Contains(path, "secrets") && !strings.Contains(path, secrets+"?") && !strings.Contains(path, "fieldSelector=metadata.name") {
			t.Errorf("asked for more than one Secret: %s", r)
		}
	}
}

// A rule is handed on with the Secrets that it names; one that is refused leaves those of its last good version.
func TestRulesWaitForTheirSecrets(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.offer(istioV1, "VirtualService", "DestinationRule")
	f.put(t, secrets, secretOf("client", "one"))
	_, v, _ := run(t, f.config())
	v.first(t)
	f.put(t, rules, ruleOf("bank", "client"))
	v.until(t, "the rule", func() bool { return v.objects[refOf("DestinationRule", "bank")] != nil })
	v.mu.Lock()
	if v.objects[refOf(model.SecretKind, "client")] == nil {
		t.Error("the rule came without its Secret")
	}
	v.mu.Unlock()
	broken := strings.Replace(ruleOf("bank", "client"), "credentialName: client", "credentialName: other, caCrl: /x", 1)
	v.mu.Lock()
	before := len(v.changes)
	v.mu.Unlock()
	f.put(t, rules, broken)
	v.until(t, "the refused rule", func() bool { return len(v.changes) > before })
	f.put(t, secrets, secretOf("client", "two"))
	v.until(t, "the Secret of the rule in force", func() bool { return len(v.changes) > before+1 })
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.objects[refOf(model.SecretKind, "client")] == nil || v.objects[refOf(model.SecretKind, "other")] != nil {
		t.Errorf("after a refused rule: %s", v.refs())
	}
}

// Where Secrets may not be read, all else is, and a problem names the Secret and what to do.
func TestForbiddenSecrets(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.offer(istioV1, "VirtualService", "DestinationRule")
	f.put(t, rules, ruleOf("bank", "client"))
	f.put(t, secrets, secretOf("client", "one"))
	f.answer(secrets, http.StatusForbidden)
	_, v, _ := run(t, f.config())
	v.first(t)
	const want = `Secret myapp/client: the controller may not list it`
	v.until(t, "the problem", func() bool {
		return slices.ContainsFunc(v.problems, func(p string) bool { return strings.Contains(p, want) && strings.Contains(p, CredentialsRole) })
	})
	v.mu.Lock()
	if slices.ContainsFunc(v.problems, func(p string) bool { return strings.Contains(p, "client-cacert") }) {
		t.Errorf("a problem about a Secret that need not be there: %q", v.problems)
	}
	v.mu.Unlock()
	f.answer(secrets, 0)
	v.until(t, "the Secret, once it may be read", func() bool {
		return v.objects[refOf(model.SecretKind, "client")] != nil && !slices.ContainsFunc(v.problems, func(p string) bool { return strings.Contains(p, want) })
	})
}

// No rule of the controller's own allows Secrets.
func TestNoRuleForSecrets(t *testing.T) {
	t.Parallel()
	for _, r := range Rules() {
		if r.Group == "" && r.Resource == config.NewTable()[model.SecretKind].Resource {
			t.Errorf("rule %s", r)
		}
	}
}

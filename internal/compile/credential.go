package compile

import (
	"cmp"
	"fmt"
	"slices"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// Certificates of Secrets. As with Istio, a sidecar obeys credentialName of a rule with a workloadSelector only, and the Secret is
// one of the sidecar's own namespace, which is the rule's. Docs: docs/adr/0024-secrets-for-sidecars.md.

// given decides what a workload is given of Secrets: what the rules of its own namespace name that select it, and nothing else.
// The names are in order, each once.
func given(w *model.Workload, rules []*model.DestinationPolicy) []plan.Name {
	var out []plan.Name
	for _, p := range rules {
		if p.Ref.Namespace != w.Key.Namespace || p.Selector == nil || !selects(p.Selector, w.Labels) {
			continue
		}
		keys, roots := p.Gives()
		for _, secret := range keys {
			out = append(out, plan.Name{Kind: plan.NameCredential, Namespace: p.Ref.Namespace, Secret: secret})
		}
		for _, secret := range roots {
			out = append(out, plan.Name{Kind: plan.NameRoots, Namespace: p.Ref.Namespace, Secret: secret})
		}
	}
	slices.SortFunc(out, func(a, b plan.Name) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Secret, b.Secret)) })
	return slices.Compact(out)
}

// Given names the credentials that are sent with an inbound policy, to the pod that alone may read it.
func Given(r *store.Reader, inbound string) []string {
	n, ok := plan.ParseName(inbound)
	if !ok || n.Kind != plan.NameInbound {
		return nil
	}
	rules := store.By[model.DestinationPolicy](r, store.PoliciesGivingSecrets, n.Namespace)
	if len(rules) == 0 {
		return nil
	}
	w := r.Workload(model.ClusterKey{Cluster: n.Cluster, Key: model.Key{Namespace: n.Namespace, Name: n.Pod}})
	if w == nil {
		return nil
	}
	var out []string
	for _, name := range given(w, rules) {
		out = append(out, name.String())
	}
	return out
}

// credentials name what a backend's TLS needs of Secrets, as far as the rules that select its callers give it to them.
func (e *effectivePolicy) credentials(out *plan.Backend) {
	key, roots := out.TLS.KeySecret(), out.TLS.RootsSecret()
	for _, p := range e.rules {
		keysGiven, rootsGiven := p.Gives()
		if slices.Contains(keysGiven, key) {
			out.Credential = plan.Name{Kind: plan.NameCredential, Namespace: p.Ref.Namespace, Secret: key}.String()
		}
		if slices.Contains(rootsGiven, roots) {
			out.Roots = plan.Name{Kind: plan.NameRoots, Namespace: p.Ref.Namespace, Secret: roots}.String()
		}
	}
}

// credentials are what Secrets have.
type credentials struct{ snapshot }

// credential compiles a plan.NameCredential or plan.NameRoots. There always is one: where it has nothing it says why.
func (m credentials) credential(n plan.Name) *plan.Credential {
	out := &plan.Credential{Name: n.String()}
	ref := model.SecretRef(n.Namespace, n.Secret)
	found := store.Get[model.Credential](m.r, ref)
	if n.Kind == plan.NameRoots { // Istio takes the one of that name first
		own := model.SecretRef(n.Namespace, n.Secret+model.CASecretSuffix)
		if c := store.Get[model.Credential](m.r, own); c != nil {
			ref, found = own, c
		}
	}
	out.Source = ref.String()
	switch {
	case found == nil:
		out.Problem = "is not there, or the control plane may not read it"
	case found.Broken != "":
		out.Problem = "cannot be used: " + found.Broken
	case n.Kind == plan.NameCredential && found.Cert == "":
		out.Problem = "has neither tls.crt and tls.key nor cert and key"
	case n.Kind == plan.NameCredential:
		out.Cert, out.Key = found.Cert, found.Key
	case found.CA == "":
		out.Problem = "has neither ca.crt nor cacert"
	default:
		out.CA, out.CRL = found.CA, found.CRL
	}
	return out
}

// missingSecrets reports what the tls blocks of a rule miss in the Secrets that it gives.
func missingSecrets(c *checker, p *model.DestinationPolicy) {
	if p.Selector == nil { // gives none
		return
	}
	warned := make(map[string]bool)
	for _, b := range p.TLSBlocks() {
		for _, need := range secretNeeds(b.TLSSettings) {
			need.name.Namespace = p.Ref.Namespace
			got, field := credentials{c.snapshot}.credential(need.name), b.Field+"."+need.field
			if got.Problem == "" || warned[field] {
				continue
			}
			warned[field] = true
			c.report(p.Ref, &missing{field: field, message: fmt.Sprintf("%s %s: calls fail", got.Source, got.Problem)},
				fmt.Sprintf("write it into namespace %s, where the callers are, and let the control plane read it", p.Ref.Namespace))
		}
	}
}

// secretNeed is what a tls block needs of a Secret, and the field that names that.
type secretNeed struct {
	name  plan.Name
	field string
}

func secretNeeds(t *model.TLSSettings) []secretNeed {
	var out []secretNeed
	if secret := t.KeySecret(); secret != "" {
		out = append(out, secretNeed{plan.Name{Kind: plan.NameCredential, Secret: secret}, "credentialName"})
	}
	if secret := t.RootsSecret(); secret != "" {
		field := "credentialName"
		if t.CACredentialName != "" {
			field = "caCertCredentialName"
		}
		out = append(out, secretNeed{plan.Name{Kind: plan.NameRoots, Secret: secret}, field})
	}
	return out
}

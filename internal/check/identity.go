package check

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

const (
	// renewAhead is how long before the CA's end a warning begins: a root is replaced in steps that take weeks.
	renewAhead = 60 * 24 * time.Hour
	// Clocks that differ by skewWarn are warned of, by skewFail are a failure: certificates are valid from two minutes
	// before they are made, so that a larger difference has them refused.
	skewWarn = 30 * time.Second
	skewFail = 2 * time.Minute

	defaultTrustDomain = "cluster.local"
)

func identityRules() []rule {
	return []rule{
		{"identity-ca", "CA certificate and key are usable", judgeCA},
		{"identity-trust-domain", "CA is of the mesh's trust domain", judgeTrustDomain},
		{"identity-expiry", "CA is valid for at least 60 days", judgeExpiry},
		{"identity-roots", "namespaces have the CA's roots", judgeRoots},
		{"identity-clock", "clocks of this machine and the API server agree", judgeClock},
	}
}

// now is the API server's clock: sidecars and API server, which check the certificates, go by the cluster's clocks.
func (f *Facts) now() time.Time { return f.Now.Add(f.API.Value.Ahead) }

// authority gives the CA, or the verdict where there is none to judge.
func (f *Facts) authority() (*authority, *verdict) {
	if f.CA.Err != nil {
		v := warn("see the first check of this category", "not checked: the CA is not known")
		return nil, &v
	}
	a, err := parseAuthority(&f.CA.Value)
	if err != nil {
		v := warn("see the first check of this category", "not checked: the CA is not usable")
		return nil, &v
	}
	return a, nil
}

func (f *Facts) caName() string { return f.System + "/" + f.CA.Value.Name }

func judgeCA(f *Facts) verdict {
	if f.CA.absent() {
		return fail("the controller makes one on its first start; "+f.hintLog(), fmt.Sprintf("there is no Secret %s/%s, nor %s", f.System, ownCASecret, givenCASecret))
	}
	if f.CA.Err != nil {
		return unknown(f.CA.Err)
	}
	a, err := parseAuthority(&f.CA.Value)
	if err != nil {
		return fail("restore the Secret from a backup, or put your own CA into Secret "+givenCASecret, fmt.Sprintf("Secret %s: %v", f.caName(), err))
	}
	options := x509.VerifyOptions{Roots: pool(a.roots), Intermediates: pool(slices.Concat(a.chain, a.between)), CurrentTime: f.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	if _, err := a.chain[0].Verify(options); err != nil {
		return fail("replace the CA: workloads cannot get certificates that others accept", fmt.Sprintf("Secret %s: %v", f.caName(), err))
	}
	return pass()
}

func (f *Facts) trustDomain() string { return TrustDomain(&f.Deployment.Value) }

// TrustDomain is what the controller was told by its flags.
func TrustDomain(d *appsv1.Deployment) string {
	const flag = "--trust-domain"
	containers := d.Spec.Template.Spec.Containers
	for i := range containers {
		args := containers[i].Args
		for j, arg := range args {
			if value, ok := strings.CutPrefix(arg, flag+"="); ok {
				return value
			}
			if arg == flag && j+1 < len(args) {
				return args[j+1]
			}
		}
	}
	return defaultTrustDomain
}

func judgeTrustDomain(f *Facts) verdict {
	a, v := f.authority()
	switch {
	case v != nil:
		return *v
	case f.Deployment.Err != nil:
		return warn("see fairlead-controller below", "not checked: there is no Deployment that says the mesh's trust domain")
	case a.trustDomain != "" && a.trustDomain != f.trustDomain():
		return fail("set mesh.trustDomain to the CA's, or replace the CA",
			fmt.Sprintf("the CA in Secret %s is of trust domain %s, the controller runs with %s", f.caName(), a.trustDomain, f.trustDomain()))
	}
	return pass()
}

func judgeExpiry(f *Facts) verdict {
	a, v := f.authority()
	if v != nil {
		return *v
	}
	var found []string
	over := false
	for _, c := range slices.Concat(a.chain, a.roots) {
		left := c.NotAfter.Sub(f.now())
		switch {
		case left < 0:
			over = true
			found = append(found, fmt.Sprintf("certificate %s of Secret %s ended on %s", c.Subject, f.caName(), day(c.NotAfter)))
		case left < renewAhead:
			found = append(found, fmt.Sprintf("certificate %s of Secret %s ends on %s, in %s", c.Subject, f.caName(), day(c.NotAfter), counted(int(left/(24*time.Hour)), "day")))
		}
	}
	slices.Sort(found) // a root is in both lists
	otherwise := warn
	if over {
		otherwise = fail
	}
	return judge(slices.Compact(found), otherwise, "replace the CA in steps: first hand out the new root beside the old one, then sign with it")
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// judgeRoots compares what sidecars will trust with what the CA is. Where no pod is to have a sidecar it only matters
// later.
func judgeRoots(f *Facts) verdict {
	a, v := f.authority()
	switch {
	case v != nil:
		return *v
	case f.Roots.Err != nil:
		return unknown(f.Roots.Err)
	case f.Namespaces.Err != nil:
		return unknown(f.Namespaces.Err)
	}
	var wrong []string
	otherwise := warn
	for i := range f.Namespaces.Value {
		ns := &f.Namespaces.Value[i]
		if ns.Terminating || f.exempt(ns.Name) {
			continue
		}
		if what := rootsTrouble(ns.Name, f.Roots.Value, a.roots); what != "" {
			wrong = append(wrong, what)
			if ns.Labels[injectLabel] == enabled {
				otherwise = fail
			}
		}
	}
	return judge(wrong, otherwise, "the controller writes it within seconds; "+f.hintLog())
}

// rootsTrouble says what is wrong with the roots of one namespace.
func rootsTrouble(namespace string, given map[string]string, roots []*x509.Certificate) string {
	text, ok := given[namespace]
	if !ok {
		return fmt.Sprintf("namespace %s has no ConfigMap %s: a pod with a sidecar would not start there", namespace, rootsConfigMap)
	}
	certs, err := parseCertificates([]byte(text))
	switch {
	case err != nil:
		return fmt.Sprintf("ConfigMap %s/%s, key %s: %v", namespace, rootsConfigMap, rootsKey, err)
	case !containsAll(certs, roots):
		return fmt.Sprintf("ConfigMap %s/%s lacks the CA's root: sidecars there do not trust the control plane", namespace, rootsConfigMap)
	}
	return ""
}

func judgeClock(f *Facts) verdict {
	skew := f.API.Value.Ahead.Round(time.Second)
	what := fmt.Sprintf("the API server's clock is %s ahead of this machine's", skew)
	if skew < 0 {
		what = fmt.Sprintf("the API server's clock is %s behind this machine's", -skew)
	}
	const hint = "set both by NTP: certificates and tokens of the one look expired, or not yet valid, to the other"
	switch {
	case skew.Abs() >= skewFail:
		return fail(hint, what)
	case skew.Abs() >= skewWarn:
		return warn(hint, what)
	}
	return pass()
}

// caSecret picks the Secret that the controller uses: the user's own where there is one.
func caSecret(own, given Got[corev1.Secret]) Got[corev1.Secret] {
	if given.Err == nil || !given.absent() {
		return given
	}
	return own
}

package core

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/internal/certs"
	"fairlead.dev/fairlead/internal/model"
)

// The keys of a Secret, as Istio reads them: those of a generic one, then those of type kubernetes.io/tls.
const (
	genericCert, genericKey, genericCA, genericCRL = "cert", "key", "cacert", "crl"
	tlsCA, tlsCRL                                  = "ca.crt", "ca.crl"
)

// Secret reads what a Secret has for TLS that sidecars begin. Most Secrets are about other things and have nothing. One with a
// part that cannot be used is Broken as a whole.
func Secret(in *corev1.Secret) (*model.Credential, []model.Problem) {
	r := newReport("Secret", &in.ObjectMeta)
	s := secret{in, r, &model.Credential{Ref: r.Ref}}
	cert, key := genericCert, genericKey
	if s.value(cert) == "" || s.value(key) == "" {
		cert, key = corev1.TLSCertKey, corev1.TLSPrivateKeyKey
	}
	if s.value(cert) != "" && s.value(key) != "" {
		s.out.Cert, s.out.Key = s.value(cert), s.value(key)
		_, err := certs.Pair([]byte(s.out.Cert), []byte(s.out.Key))
		s.judge(cert+" and "+key, err)
	}
	if field := s.first(genericCA, tlsCA); field != "" {
		s.out.CA = s.value(field)
		_, err := certs.Roots([]byte(s.out.CA))
		s.judge(field, err)
	}
	if field := s.first(genericCRL, tlsCRL); field != "" {
		s.out.CRL = s.value(field)
		_, err := certs.Revocations([]byte(s.out.CRL))
		s.judge(field, err)
	}
	if s.out.Broken != "" {
		return &model.Credential{Ref: r.Ref, Broken: s.out.Broken}, r.Problems
	}
	return s.out, r.Problems
}

// secret reads the parts of a Secret.
type secret struct {
	in     *corev1.Secret
	report *model.Report
	out    *model.Credential
}

// value gives what is under a key; of a manifest, stringData before data, as the API server merges them.
func (s secret) value(key string) string {
	if v, ok := s.in.StringData[key]; ok {
		return v
	}
	return string(s.in.Data[key])
}

// first gives the first of some keys under which there is something, "" for none.
func (s secret) first(keys ...string) string {
	i := slices.IndexFunc(keys, func(key string) bool { return s.value(key) != "" })
	if i < 0 {
		return ""
	}
	return keys[i]
}

// judge notes that a part cannot be used, where there is an error. It is a warning: the Secret may be nothing to the mesh.
func (s secret) judge(part string, err error) {
	if err == nil {
		return
	}
	s.report.Warn("data", fmt.Sprintf("of no use to sidecars for TLS, an earlier version stays in force: %s: %v", part, err),
		"write PEM, of a certificate and the key that belongs to it")
	if s.out.Broken == "" {
		s.out.Broken = fmt.Sprintf("%s: %v", part, err)
	}
}

// StripSecret leaves what Secret reads.
func StripSecret(in *corev1.Secret) {
	in.Annotations, in.Labels = nil, nil
	maps.DeleteFunc(in.Data, func(key string, _ []byte) bool { return !slices.Contains(secretKeys(), key) })
}

func secretKeys() []string {
	return []string{genericCert, genericKey, genericCA, genericCRL, corev1.TLSCertKey, corev1.TLSPrivateKeyKey, tlsCA, tlsCRL}
}

package istio

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	"k8s.io/apimachinery/pkg/util/validation"

	"fairlead.dev/fairlead/internal/model"
)

func (t destinationRule) tls(field string, in *networking.ClientTLSSettings) model.TLSSettings {
	if in == nil {
		return model.TLSSettings{}
	}
	out := model.TLSSettings{
		Mode:               t.tlsMode(field, in),
		SNI:                in.GetSni(),
		SubjectAltNames:    slices.Clone(in.GetSubjectAltNames()),
		ClientCert:         in.GetClientCertificate(),
		Key:                in.GetPrivateKey(),
		CACert:             in.GetCaCertificates(),
		CRL:                in.GetCaCrl(),
		InsecureSkipVerify: in.GetInsecureSkipVerify().GetValue(),
	}
	if ofSecrets(in.GetMode()) {
		out.CredentialName = t.credentialName(field+".credentialName", in.GetCredentialName())
		out.CACredentialName = t.credentialName(field+".caCertCredentialName", in.GetCaCertCredentialName())
	}
	t.tlsSource(field, in)
	return out
}

// ofSecrets reports whether certificates of a mode may be in Secrets.
func ofSecrets(mode networking.ClientTLSSettings_TLSmode) bool {
	return mode == networking.ClientTLSSettings_SIMPLE || mode == networking.ClientTLSSettings_MUTUAL
}

// inKubernetes is what the name of a Secret may begin with, as with Istio.
const inKubernetes = "kubernetes://"

// credentialName reads the name of a Secret, which is in the namespace of who uses it.
func (t destinationRule) credentialName(field, written string) string {
	name := strings.TrimPrefix(written, inKubernetes)
	switch {
	case written == "":
	case strings.HasPrefix(written, "configmap://"):
		t.Reject(field, fmt.Sprintf("%q is a ConfigMap: sidecars are given Secrets only", written), "put the certificates into a Secret, under ca.crt")
	case !isObjectName(name):
		t.Reject(field, fmt.Sprintf("%q is not the name of a Secret", written), "write the name alone: it is looked for in the namespace of this DestinationRule")
	default:
		return name
	}
	return ""
}

// unselectedSecrets warns of the Secrets of a rule that selects no workloads: nobody is given them.
func unselectedSecrets(t destinationRule, p *model.DestinationPolicy) {
	if p.Selector != nil || t.Rejected() {
		return
	}
	for _, b := range p.TLSBlocks() {
		field := "credentialName"
		switch {
		case b.CredentialName != "":
		case b.CACredentialName != "":
			field = "caCertCredentialName"
		default:
			continue
		}
		t.Warn(b.Field+"."+field, "sidecars are given Secrets by a rule with a workloadSelector only, as with Istio: calls fail",
			"write the rule into the namespace of the callers, and add workloadSelector")
	}
}

// isObjectName reports whether a text can be the name of a Secret (RFC 1123, subdomain).
func isObjectName(name string) bool { return len(validation.IsDNS1123Subdomain(name)) == 0 }

// tlsMode reads the mode and what it demands.
func (t destinationRule) tlsMode(field string, in *networking.ClientTLSSettings) model.TLSMode {
	switch in.GetMode() {
	case networking.ClientTLSSettings_DISABLE:
		return model.TLSDisable
	case networking.ClientTLSSettings_SIMPLE:
		return model.TLSSimple
	case networking.ClientTLSSettings_MUTUAL:
		if in.GetCredentialName() == "" && (in.GetClientCertificate() == "" || in.GetPrivateKey() == "") {
			t.Reject(field, "MUTUAL without a client certificate", "add clientCertificate and privateKey, or credentialName")
		}
		return model.TLSMutual
	case networking.ClientTLSSettings_ISTIO_MUTUAL:
		if hasFiles(in) || in.GetCredentialName() != "" || in.GetCaCertCredentialName() != "" {
			t.Warn(field, "ISTIO_MUTUAL uses the mesh's certificates: those named here have no effect", "remove the certificate fields, or use MUTUAL")
		}
		return model.TLSIstioMutual
	default:
		t.Reject(field+".mode", fmt.Sprintf("%d is not a mode", in.GetMode()), "write DISABLE, SIMPLE, MUTUAL or ISTIO_MUTUAL")
		return model.TLSUnset
	}
}

// tlsSource checks where certificates come from: of a Secret or of files, and of nowhere where nothing is verified.
func (t destinationRule) tlsSource(field string, in *networking.ClientTLSSettings) {
	mode := in.GetMode()
	if !ofSecrets(mode) {
		return
	}
	if in.GetCaCrl() != "" && in.GetCaCertificates() == "" && in.GetCredentialName() == "" && in.GetCaCertCredentialName() == "" {
		t.Warn(field+".caCrl", "without caCertificates: a public CA's certificates are refused unless the file has the lists of every CA on their way",
			"add caCertificates")
	}
	switch {
	case in.GetCredentialName() != "" && (hasFiles(in) || in.GetCaCrl() != ""):
		t.Reject(field, "both credentialName and certificate files", "keep one of them")
	case in.GetCaCertCredentialName() != "" && (in.GetCaCertificates() != "" || in.GetCaCrl() != ""):
		t.Reject(field, "both caCertCredentialName and caCertificates or caCrl", "keep one of them")
	}
	if !in.GetInsecureSkipVerify().GetValue() {
		return
	}
	for _, contradiction := range []struct {
		name string
		set  bool
	}{
		{"caCertificates", in.GetCaCertificates() != ""},
		{"subjectAltNames", len(in.GetSubjectAltNames()) > 0},
		// With MUTUAL the Secret may hold the client's certificate alone.
		{"credentialName", in.GetCredentialName() != "" && mode == networking.ClientTLSSettings_SIMPLE},
		{"caCertCredentialName", in.GetCaCertCredentialName() != ""},
	} {
		if contradiction.set {
			t.Reject(field+".insecureSkipVerify", "cannot go with "+contradiction.name+", which is there to verify", "remove one of them")
		}
	}
}

func hasFiles(in *networking.ClientTLSSettings) bool {
	return in.GetClientCertificate() != "" || in.GetPrivateKey() != "" || in.GetCaCertificates() != ""
}

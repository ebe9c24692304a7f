package istio

import (
	"fmt"
	"slices"

	networking "istio.io/api/networking/v1alpha3"

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
		CredentialName:     in.GetCredentialName(),
		InsecureSkipVerify: in.GetInsecureSkipVerify().GetValue(),
	}
	t.tlsSource(field, in)
	if in.GetCaCertCredentialName() != "" {
		t.Unsupported(field + ".caCertCredentialName")
	}
	return out
}

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
		if hasFiles(in) || in.GetCredentialName() != "" {
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
	if mode != networking.ClientTLSSettings_SIMPLE && mode != networking.ClientTLSSettings_MUTUAL {
		return
	}
	if in.GetCaCrl() != "" && in.GetCaCertificates() == "" && in.GetCredentialName() == "" {
		t.Warn(field+".caCrl", "without caCertificates: a public CA's certificates are refused unless the file has the lists of every CA on their way",
			"add caCertificates")
	}
	switch {
	case in.GetCredentialName() == "":
	case hasFiles(in) || in.GetCaCrl() != "":
		t.Reject(field, "both credentialName and certificate files", "keep one of them")
	default:
		t.Warn(field+".credentialName", "sidecars read no Secrets: calls that need it fail", "mount the Secret into the callers' sidecars and name its files")
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
	} {
		if contradiction.set {
			t.Reject(field+".insecureSkipVerify", "cannot go with "+contradiction.name+", which is there to verify", "remove one of them")
		}
	}
}

func hasFiles(in *networking.ClientTLSSettings) bool {
	return in.GetClientCertificate() != "" || in.GetPrivateKey() != "" || in.GetCaCertificates() != ""
}

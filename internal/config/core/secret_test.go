package core

import (
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/certs/certstest"
	"fairlead.dev/fairlead/internal/model"
)

func TestSecret(t *testing.T) {
	t.Parallel()
	ca := certstest.New(t, "ca")
	a, b := ca.Issue(t, "a"), ca.Issue(t, "b")
	list := ca.Revoke(t, b)
	for _, tt := range []struct {
		name string
		data map[string]string
		want model.Credential // Broken: what it is to contain
	}{
		{"kubernetes.io/tls", map[string]string{"tls.crt": a.Cert, "tls.key": a.Key, "ca.crt": ca.CA, "ca.crl": list}, model.Credential{Cert: a.Cert, Key: a.Key, CA: ca.CA, CRL: list}},
		{"generic", map[string]string{"cert": a.Cert, "key": a.Key, "cacert": ca.CA, "crl": list}, model.Credential{Cert: a.Cert, Key: a.Key, CA: ca.CA, CRL: list}},
		{"generic before the other", map[string]string{"cert": a.Cert, "key": a.Key, "tls.crt": b.Cert, "tls.key": b.Key}, model.Credential{Cert: a.Cert, Key: a.Key}},
		{"half of the one, the other whole", map[string]string{"key": "of some API", "tls.crt": b.Cert, "tls.key": b.Key}, model.Credential{Cert: b.Cert, Key: b.Key}},
		{"a CA alone", map[string]string{"cacert": ca.CA}, model.Credential{CA: ca.CA}},
		{"something else", map[string]string{"password": "x", "key": "y"}, model.Credential{}},
		{"a stranger's key", map[string]string{"tls.crt": a.Cert, "tls.key": b.Key}, model.Credential{Broken: "tls.crt and tls.key: "}},
		{"a CA that is none", map[string]string{"tls.crt": a.Cert, "tls.key": a.Key, "ca.crt": "x"}, model.Credential{Broken: "ca.crt: no certificate"}},
		{"a list that is none", map[string]string{"cacert": ca.CA, "crl": ca.CA}, model.Credential{Broken: "crl: no list"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s"}, Data: map[string][]byte{}}
			for k, v := range tt.data {
				in.Data[k] = []byte(v)
			}
			got, problems := Secret(in)
			tt.want.Ref = model.Ref{Kind: "Secret", Key: model.Key{Namespace: "shop", Name: "s"}}
			if !strings.Contains(got.Broken, tt.want.Broken) || (got.Broken != "") != (len(problems) > 0) {
				t.Errorf("broken: %q, problems %v; want %q", got.Broken, problems, tt.want.Broken)
			}
			for _, p := range problems {
				if p.Severity != model.Warning || strings.Contains(p.String(), b.Key[30:60]) {
					t.Errorf("problem %s", p)
				}
			}
			got.Broken, tt.want.Broken = "", ""
			if diff := cmp.Diff(tt.want, *got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			// In a manifest it may be written as text, and an API server's object keeps what counts.
			written := &corev1.Secret{ObjectMeta: in.ObjectMeta, StringData: tt.data, Data: map[string][]byte{"tls.crt": []byte("old")}}
			if tt.data["tls.crt"] != "" {
				if out, _ := Secret(written); out.Cert != got.Cert || out.CA != got.CA {
					t.Errorf("of stringData: %+v", out)
				}
			}
			stripped := in.DeepCopy()
			stripped.Data["password"] = []byte("x")
			StripSecret(stripped)
			if out, _ := Secret(stripped); stripped.Data["password"] != nil || !reflect.DeepEqual(out.CA, got.CA) || out.Key != got.Key || out.CRL != got.CRL {
				t.Errorf("stripped to %v", stripped.Data)
			}
		})
	}
}

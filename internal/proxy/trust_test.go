package proxy

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"testing"

	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/plan"
)

// A new CA is trusted for the control channel as soon as the old one has announced it, not only when the kubelet has
// brought the file up to date.
func TestControlTLSTrustsTheBundle(t *testing.T) {
	root := func() []byte {
		_, cert, err := identity.GenerateCA("cluster.local")
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	file, announced := root(), root()
	w, err := identity.NewWorkload(identity.WorkloadOptions{
		ID: identity.ID{TrustDomain: "cluster.local", Namespace: "myapp", ServiceAccount: "users"},
		Sign: func(context.Context, []byte) (chainPEM, rootsPEM []byte, err error) {
			return nil, nil, errors.New("not asked for")
		},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{o: Options{Roots: func() ([]byte, error) { return file, nil }, Logger: slog.New(slog.DiscardHandler)}, identity: w}
	trusts := func(pems ...[]byte) bool {
		t.Helper()
		config, err := p.controlTLS()
		if err != nil {
			t.Fatal(err)
		}
		want := x509.NewCertPool()
		for _, pem := range pems {
			want.AppendCertsFromPEM(pem)
		}
		return config.RootCAs.Equal(want)
	}
	if !trusts(file) {
		t.Error("before anything was announced: not the roots of the file")
	}
	p.setTrust(&plan.TrustBundle{TrustDomain: "cluster.local", Roots: []string{string(announced)}})
	if !trusts(file, announced) {
		t.Error("the announced root is not trusted")
	}
}

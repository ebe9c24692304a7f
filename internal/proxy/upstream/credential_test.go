package upstream

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"fairlead.dev/fairlead/internal/certs"
	"fairlead.dev/fairlead/internal/certs/certstest"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// shown has a client of a policy meet a server that demands a certificate of the CA, and gives whom the server saw.
func shown(t *testing.T, p Policy, server certstest.Pair, clients string) (string, error) {
	t.Helper()
	pair, err := certs.Pair([]byte(server.Cert), []byte(server.Key))
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if clients != "" {
		roots, err := certs.Roots([]byte(clients))
		if err != nil {
			t.Fatal(err)
		}
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, certs.Pool(roots)
	}
	here, there := socketPair(t)
	who := make(chan string, 1)
	go func() {
		conn := tls.Server(there, config)
		defer conn.Close()
		name := ""
		if err := conn.HandshakeContext(t.Context()); err == nil {
			if all := conn.ConnectionState().PeerCertificates; len(all) > 0 {
				name = all[0].Subject.CommonName
			}
		}
		who <- name
	}()
	conn, err := p.tls.secure(t.Context(), here, "http/1.1")
	if err != nil {
		here.Close()
		<-who
		return "", err
	}
	defer conn.Close()
	return <-who, nil
}

// socketPair gives the ends of a connection that holds what is written until it is read, as those of net.Pipe do not: who refuses a
// certificate says so while the other end is still writing.
func socketPair(t *testing.T) (here, there net.Conn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		if ends[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return ends[0], ends[1]
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	ca, other := certstest.New(t, "ca"), certstest.New(t, "other")
	server, own := ca.Issue(t, "bank.example.com", "spiffe://bank"), ca.Issue(t, "teller")
	pair := &plan.Credential{Name: "cred/shop/a", Source: "Secret shop/a", Cert: own.Cert, Key: own.Key}
	roots := func(ca, crl string) *plan.Credential {
		return &plan.Credential{Name: "roots/shop/a", Source: "Secret shop/a", CA: ca, CRL: crl}
	}
	gone := &plan.Credential{Name: "cred/shop/a", Source: "Secret shop/a", Problem: "is not there"}
	mutual := model.TLSSettings{Mode: model.TLSMutual, CredentialName: "a"}
	simple := model.TLSSettings{Mode: model.TLSSimple, CredentialName: "a"}
	named, skips, apart := mutual, mutual, mutual
	apart.CACredentialName = "b"
	named.SubjectAltNames, skips.InsecureSkipVerify = []string{"spiffe://other"}, true
	for _, tt := range []struct {
		name       string
		tls        model.TLSSettings
		own, judge *plan.Credential // nil: not given to this workload
		clients    string
		want, err  string
	}{
		{"mutual", mutual, pair, roots(ca.CA, ""), ca.CA, "teller", ""},
		{"mutual and none of the revoked", mutual, pair, roots(ca.CA, ca.Revoke(t)), ca.CA, "teller", ""},
		{"a revoked server", mutual, pair, roots(ca.CA, ca.Revoke(t, server)), ca.CA, "", "is revoked"},
		{"a server of another CA", mutual, pair, roots(other.CA, ""), ca.CA, "", "unknown authority"},
		{"a server of another name", named, pair, roots(ca.CA, ""), ca.CA, "", "wants one of spiffe://other"},
		{"no CA, and none of the system instead", mutual, pair, roots("", ""), ca.CA, "", `credentialName "a": Secret shop/a has no CA`},
		{"no certificate to show", mutual, roots(ca.CA, ""), roots(ca.CA, ""), ca.CA, "", `credentialName "a": Secret shop/a has no certificate`},
		{"nothing is verified", skips, pair, nil, ca.CA, "teller", ""},
		{"simple", simple, nil, roots(ca.CA, ""), "", "", ""},
		{"simple shows no certificate", simple, pair, roots(ca.CA, ""), "", "", ""},
		{"simple without a CA", simple, nil, roots("", ""), "", "", `credentialName "a": Secret shop/a has no CA`},
		{"no Secret", mutual, gone, roots(ca.CA, ""), ca.CA, "", `credentialName "a": Secret shop/a is not there`},
		{"CAs of another Secret", apart, pair, &plan.Credential{Name: "roots/shop/b", Source: "Secret shop/b", Problem: "is not there"}, ca.CA, "", `caCertCredentialName "b": Secret shop/b is not there`},
		{"a Secret that is not given", mutual, nil, nil, ca.CA, "", `credentialName "a": sidecars are given Secrets by a DestinationRule of their own namespace with a workloadSelector only, which bank.other is not`},
		{"what is no certificate", mutual, &plan.Credential{Name: "cred/shop/a", Source: "Secret shop/a", Cert: "x", Key: "y"}, roots(ca.CA, ""), ca.CA, "", "Secret shop/a: certificate and key:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := &plan.Backend{Host: "bank.example.com", Rule: "bank.other", TLS: tt.tls}
			has := map[string]*Credential{}
			if tt.own != nil && tt.tls.Mode == model.TLSMutual {
				b.Credential = tt.own.Name
				has[b.Credential] = NewCredential(tt.own)
			}
			if tt.judge != nil {
				b.Roots = tt.judge.Name
				has[b.Roots] = NewCredential(tt.judge)
			}
			got, err := shown(t, PolicyOf(b, func(name string) *Credential { return has[name] }), server, tt.clients)
			if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("the server saw %q, error %v; want %q, %q", got, err, tt.want, tt.err)
			}
			if err != nil && strings.Contains(err.Error(), strings.Split(own.Key, "\n")[1]) {
				t.Errorf("the error has the key: %v", err)
			}
		})
	}
}

// A connection waits for what has not come yet, no longer than it may.
func TestAwaitedCredential(t *testing.T) {
	t.Parallel()
	ca := certstest.New(t, "ca")
	server := ca.Issue(t, "bank.example.com")
	b := &plan.Backend{Host: "bank.example.com", Roots: "roots/shop/a", TLS: model.TLSSettings{Mode: model.TLSSimple, CredentialName: "a"}}
	waiting := AwaitedCredential()
	p := PolicyOf(b, func(string) *Credential { return waiting })
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	here, there := net.Pipe()
	defer there.Close()
	if _, err := p.tls.secure(ended, here, "h2"); err == nil || !strings.Contains(err.Error(), "has not sent what the Secret has") {
		t.Errorf("error %v", err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := shown(t, p, server, "")
		done <- err
	}()
	next := NewCredential(&plan.Credential{Name: "roots/shop/a", Source: "Secret shop/a", CA: ca.CA})
	waiting.Replaced(next)
	waiting.Replaced(NewCredential(&plan.Credential{Problem: "late"}))
	if err := <-done; err != nil {
		t.Error(err)
	}
	if p == PolicyOf(b, func(string) *Credential { return next }) {
		t.Error("connections with another state of the Secret are shared with those before")
	}
}

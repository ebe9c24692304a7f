package lab_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/lab"
)

// A peer whose root is not trusted is refused with one line at either end that names the root and its cluster; once the root is
// trusted calls go on.
func TestARootThatIsNotTrusted(t *testing.T) {
	client, shared := app{name: "client", replicas: 1}.String(), service("server", meshIP, "app: server", http80)
	w, e := startLinked(t, client+shared, client+shared+app{name: "server", replicas: 1}.String())
	root := filepath.Join(w.StateDir(), "roots", "east.pem")
	pem := read(t, root)
	if err := os.Remove(root); err != nil {
		t.Fatal(err)
	}
	call := func() answer {
		return w.do(t, "deploy/client-v1", http.MethodGet, meshIP+":80", "/", "Host: server.shop")
	}
	var body string
	eventually(t, "a call to say that the root of east is not trusted", func() bool {
		a := call()
		if a.StatusCode == http.StatusOK { // by a connection, or a root, of before
			e.replace(t, "deploy/server-v1")
		}
		body = a.body
		return a.StatusCode == http.StatusServiceUnavailable && strings.Contains(body, "is not trusted here")
	})
	for _, want := range []string{"mutual TLS with 10.245.", `its root "CN=`, "(key ", "(the peer is of cluster east)"} {
		if !strings.Contains(body, want) {
			t.Errorf("the answer has no %q:\n%s", want, body)
		}
	}
	t.Logf("the client is told: %s", body)
	var log []string
	eventually(t, "the server's sidecar to say that it is not trusted", func() bool {
		log = keep(e.cli(t, "lab", "logs", "deploy/server-v1", "-n", "shop", "-c", "proxy"), "does not accept the certificate of this workload", `of cluster \"east\"`)
		return len(log) > 0
	})
	t.Logf("the server's log: %s", log[0])
	if err := os.WriteFile(root, []byte(pem), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "calls to be answered again", func() bool { return call().StatusCode == http.StatusOK })
}

// Two labs with trust domains and roots of their own: before the roots are exchanged no call crosses, and both ends say why; after that, calls
// go both ways, and who is called sees the caller's identity in the caller's trust domain.
func TestTwoTrustDomains(t *testing.T) {
	both := app{name: "client", replicas: 1}.String() + service("west-server", meshIP, "app: west-server", http80) + service("east-server", atHomeIP, "app: east-server", http80)
	labs := map[string]*mesh{}
	for _, name := range []string{"west", "east"} {
		other := map[string]string{"west": "east", "east": "west"}[name]
		labs[name] = startMesh(t, both+app{name: name + "-server", replicas: 1}.String(), func(o *lab.UpOptions) {
			if o.Name = name; name == "east" {
				o.StateDir = labs["west"].stateDir
			}
			o.Mesh = append(o.Mesh, "mesh.trustDomain="+name+".example", "mesh.trustDomainAliases="+other+".example")
		})
	}
	w, e := labs["west"], labs["east"]
	e.stateDir = w.stateDir
	if err := lab.Link(t.Context(), e.Client, w.Client); err != nil {
		t.Fatalf("Link() = %v", err)
	}
	roots := map[string]string{filepath.Join(w.StateDir(), "roots", "east.pem"): "", filepath.Join(e.StateDir(), "roots", "west.pem"): ""}
	for path := range roots {
		roots[path] = read(t, path)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	calls := []struct {
		from, to     *mesh
		domain, peer string
		address      string
	}{{w, e, "west", "east", atHomeIP}, {e, w, "east", "west", meshIP}}
	call := func(i int) answer {
		c := calls[i]
		return c.from.do(t, "deploy/client-v1", http.MethodGet, c.address+":80", "/", "Host: "+c.peer+"-server.shop")
	}
	for i, c := range calls {
		var body string
		eventually(t, "a call of "+c.domain+" to be refused for the root", func() bool {
			a := call(i)
			if a.StatusCode == http.StatusOK { // by what was trusted at the moment of the link
				c.to.replace(t, "deploy/"+c.peer+"-server-v1")
			}
			body = a.body
			return a.StatusCode == http.StatusServiceUnavailable && strings.Contains(body, "is not trusted here")
		})
		for _, want := range []string{"got spiffe://" + c.peer + ".example/ns/shop/sa/" + c.peer + "-server: its root", "(the peer is of cluster " + c.peer + ")"} {
			if !strings.Contains(body, want) {
				t.Errorf("the caller in %s is told: %s\nwant %q in it", c.domain, body, want)
			}
		}
		t.Logf("the caller in %s is told: %s", c.domain, body)
		eventually(t, "the server's sidecar in "+c.peer+" to say that it is not trusted", func() bool {
			log := c.to.cli(t, "lab", "logs", "deploy/"+c.peer+"-server-v1", "-n", "shop", "-c", "proxy")
			return len(keep(log, "does not accept the certificate of this workload", c.peer+".example")) > 0
		})
	}
	for path, pem := range roots {
		if err := os.WriteFile(path, []byte(pem), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range calls {
		var a answer
		eventually(t, "a call of "+c.domain+" to be answered", func() bool { a = call(i); return a.StatusCode == http.StatusOK })
		if from := xfcc(a); !strings.Contains(from, "URI=spiffe://"+c.domain+".example/ns/shop/sa/client") || !strings.Contains(from, "By=spiffe://"+c.peer+".example/ns/shop/sa/"+c.peer+"-server") {
			t.Errorf("the server in %s was called by %q", c.peer, from)
		}
	}
}

// A root that is trusted for one trust domain lets in that one's workloads, and nobody with an identity of the mesh's own.
func TestARootOfAnotherTrustDomain(t *testing.T) {
	t.Parallel()
	m := startMesh(t, app{name: "client", replicas: 1, bare: true}.String()+app{name: "server", replicas: 1}.String(), func(o *lab.UpOptions) {
		o.Mesh = append(o.Mesh, "mesh.trustDomainAliases=east.example")
	})
	east := newForeignCA(t, "east.example")
	if err := os.WriteFile(filepath.Join(m.StateDir(), "roots", "east.pem"), identity.EncodeCertificates(east.root), 0o600); err != nil {
		t.Fatal(err)
	}
	server := net.JoinHostPort(m.find(t, "deploy/server-v1").IPs[0].String(), "15008")
	greets := func(domain string) error {
		conn, err := m.DialPod(t.Context(), pod("deploy/client-v1"), server)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		c := tls.Client(conn, &tls.Config{
			MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, NextProtos: []string{identity.ALPNMesh},
			Certificates: []tls.Certificate{*east.issue(t, identity.ID{TrustDomain: domain, Namespace: "shop", ServiceAccount: "client"})},
		})
		if err := c.HandshakeContext(t.Context()); err != nil {
			return err
		}
		_, err = c.Read(make([]byte, 1))
		return err
	}
	eventually(t, "the server's sidecar to know the root", func() bool { // of each reason it says one line a minute
		return strings.Contains(m.cli(t, "proxy-config", "secret", "deploy/server-v1", "-n", "shop", "-o", "json"), "east.example")
	})
	if err := greets("east.example"); err != nil {
		t.Errorf("a workload of the root's trust domain: %v", err)
	}
	if err := greets("cluster.local"); err == nil {
		t.Error("a workload of the mesh's own trust domain was let in by another domain's root")
	}
	var said []string
	eventually(t, "the server's sidecar to say why", func() bool {
		said = keep(m.cli(t, "lab", "logs", "deploy/server-v1", "-n", "shop", "-c", "proxy"), "got spiffe://cluster.local/ns/shop/sa/client: its root",
			"is trusted here for trust domain east.example, not for cluster.local")
		return len(said) > 0
	})
	t.Logf("the server's log: %s", said[0])
}

// foreignCA is one of another trust domain, whose owner signs whatever he likes.
type foreignCA struct {
	root *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newForeignCA(t *testing.T, domain string) *foreignCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f := &foreignCA{key: key}
	f.root = f.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "root of " + domain}, URIs: []*url.URL{{Scheme: "spiffe", Host: domain}},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, key)
	return f
}

func (f *foreignCA) sign(t *testing.T, template *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(1), time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	parent := f.root
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), f.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (f *foreignCA) issue(t *testing.T, id identity.ID) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := f.sign(t, &x509.Certificate{URIs: []*url.URL{id.URI()}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}, key)
	return identity.TLSCertificate(key, []*x509.Certificate{leaf})
}

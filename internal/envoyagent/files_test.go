package envoyagent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3" // what the bootstrap's Any holds
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"

	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/model"
)

func options() *Options {
	return &Options{
		Pod: Pod{
			Key: model.Key{Namespace: "shop", Name: "web-1"}, IPs: []netip.Addr{netip.MustParseAddr("10.1.0.1")}, ClusterDomain: "cluster.local",
		},
		ControlPlane: []string{"10.244.0.1:15012"}, ControlPlaneName: "fairlead-controller.fairlead-system.svc",
	}
}

// What an Envoy starts with is a message of its API.
func TestBootstrapIsValid(t *testing.T) {
	for _, tt := range []struct {
		name, addr, kind, err string
	}{
		{name: "an_address", addr: "10.244.0.1:15012", kind: "STATIC"},
		{name: "an_address_of_IPv6", addr: "[fd00::1]:15012", kind: "STATIC"},
		{name: "a_name", addr: "fairlead-controller.fairlead-system.svc:15012", kind: "STRICT_DNS"},
		{name: "no_port", addr: "fairlead-controller", err: "fairlead-controller"},
		{name: "a_bad_port", addr: "fairlead-controller:99999", err: "port"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := options()
			o.ControlPlane = []string{tt.addr}
			raw, err := bootstrap(o)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("bootstrap() = %v, want an error about %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			m := &bootstrapv3.Bootstrap{}
			if err := protojson.Unmarshal(raw, m); err != nil {
				t.Fatal(err)
			}
			if err := m.ValidateAll(); err != nil {
				t.Error(err)
			}
			cluster := m.GetStaticResources().GetClusters()[0]
			socket := &tlsv3.UpstreamTlsContext{}
			if err := cluster.GetTransportSocket().GetTypedConfig().UnmarshalTo(socket); err != nil {
				t.Fatal(err)
			}
			if err := socket.ValidateAll(); err != nil {
				t.Error(err)
			}
			got := []string{m.GetNode().GetId(), cluster.GetType().String(), m.GetAdmin().GetAddress().GetSocketAddress().GetAddress()}
			want := []string{"sidecar~10.1.0.1~web-1.shop~shop.svc.cluster.local", tt.kind, "127.0.0.1"}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("node, cluster, admin (-want +got):\n%s", diff)
			}
		})
	}
}

func certificate(t *testing.T, serial int64) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id := identity.ID{TrustDomain: "cluster.local", Namespace: "myapp", ServiceAccount: "users"}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), URIs: []*url.URL{id.URI()}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return identity.TLSCertificate(key, []*x509.Certificate{leaf})
}

// secret reads one as an Envoy does, and refuses what others could read.
func secret(t *testing.T, dir, name string) *tlsv3.Secret {
	t.Helper()
	path := filepath.Join(dir, secretsDir, name+".json")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("%s has mode %s", path, info.Mode())
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	answer, out := &discoveryv3.DiscoveryResponse{}, &tlsv3.Secret{}
	if err := protojson.Unmarshal(raw, answer); err != nil {
		t.Fatal(err)
	}
	if err := answer.GetResources()[0].UnmarshalTo(out); err != nil {
		t.Fatal(err)
	}
	if err := out.ValidateAll(); err != nil || out.GetName() != name {
		t.Errorf("%s is %q: %v", path, out.GetName(), err)
	}
	return out
}

// rootsOf gives the roots by trust domain; "" stands for all.
func rootsOf(t *testing.T, s *tlsv3.Secret) map[string]string {
	t.Helper()
	if ca := s.GetValidationContext().GetTrustedCa(); ca != nil {
		return map[string]string{"": ca.GetInlineString()}
	}
	custom := s.GetValidationContext().GetCustomValidatorConfig()
	if custom.GetName() != "envoy.tls.cert_validator.spiffe" {
		t.Fatalf("the validator is %q", custom.GetName())
	}
	by, out := &tlsv3.SPIFFECertValidatorConfig{}, map[string]string{}
	if err := custom.GetTypedConfig().UnmarshalTo(by); err != nil {
		t.Fatal(err)
	}
	if err := by.ValidateAll(); err != nil {
		t.Fatal(err)
	}
	for _, d := range by.GetTrustDomains() {
		if _, twice := out[d.GetName()]; twice {
			t.Errorf("%s is there twice, which Envoy refuses", d.GetName())
		}
		out[d.GetName()] = d.GetTrustBundle().GetInlineString()
	}
	return out
}

// Roots of other trust domains are asked about those alone.
func TestRootsByTrustDomain(t *testing.T) {
	other := func(domain, pem string) identity.Bundle {
		return identity.Bundle{TrustDomain: domain, Roots: []byte(pem)}
	}
	for _, tt := range []struct {
		name   string
		others []identity.Bundle
		want   map[string]string
	}{
		{"none", nil, map[string]string{"": "own"}},
		{"of_the_own_domain", []identity.Bundle{other("cluster.local", "a")}, map[string]string{"": "own\na"}},
		{"of_another", []identity.Bundle{other("east", "e")}, map[string]string{"cluster.local": "own", "east": "own\ne"}},
		{
			"two_of_one",
			[]identity.Bundle{other("east", "e"), other("east", "f"), other("west", "w")},
			map[string]string{"cluster.local": "own", "east": "own\ne\nf", "west": "own\nw"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := Secrets{Dir: t.TempDir(), Roots: func() ([]byte, error) { return nil, nil }}
			if err := s.Use(certificate(t, 1), identity.Trust{Own: []byte("own"), Others: tt.others}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, rootsOf(t, secret(t, s.Dir, rootsSecret))); diff != "" {
				t.Errorf("roots (-want +got):\n%s", diff)
			}
		})
	}
}

// A certificate never stands beside another one's key.
func TestSecretsAreReplacedAsAWhole(t *testing.T) {
	s := Secrets{Dir: filepath.Join(t.TempDir(), "envoy"), Roots: func() ([]byte, error) { return []byte("of the file"), nil }}
	for serial := range int64(3) {
		cert := certificate(t, serial+1)
		if err := s.Use(cert, identity.Trust{Own: []byte("of the mesh"), Others: []identity.Bundle{
			{TrustDomain: "cluster.local", Roots: []byte("of another cluster")}, {TrustDomain: "other.example", Roots: []byte("of another domain")},
		}}); err != nil {
			t.Fatal(err)
		}
		of := secret(t, s.Dir, workloadSecret).GetTlsCertificate()
		pair, err := tls.X509KeyPair([]byte(of.GetCertificateChain().GetInlineString()), []byte(of.GetPrivateKey().GetInlineString()))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(cert.Certificate, pair.Certificate); diff != "" {
			t.Errorf("certificate (-want +got):\n%s", diff)
		}
	}
	roots := rootsOf(t, secret(t, s.Dir, rootsSecret))
	control := secret(t, s.Dir, controlPlaneSecret).GetValidationContext().GetTrustedCa().GetInlineString()
	want := map[string]string{"cluster.local": "of the mesh\nof another cluster", "other.example": "of the mesh\nof another domain"}
	if diff := cmp.Diff(want, roots); diff != "" || control != "of the file\nof the mesh" {
		t.Errorf("those for the control plane are %q, roots (-want +got):\n%s", control, diff)
	}
	left, err := os.ReadDir(filepath.Join(s.Dir, secretsDir))
	if err != nil || len(left) != 3 {
		t.Errorf("files are %v, %v, want three", left, err)
	}
	if block, _ := pem.Decode([]byte(secret(t, s.Dir, workloadSecret).GetTlsCertificate().GetPrivateKey().GetInlineString())); block == nil || block.Type != "PRIVATE KEY" {
		t.Error("the key is no PEM")
	}
}

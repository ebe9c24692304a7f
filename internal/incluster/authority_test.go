package incluster

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/ca"
	"fairlead.dev/fairlead/internal/identity"
)

const (
	secretsPath = "/api/v1/namespaces/fairlead-system/secrets/"
	pluggedPath = secretsPath + "cacerts"
	ownPath     = secretsPath + "fairlead-ca"
)

func secret(data map[string][]byte) object {
	encoded := object{}
	for k, v := range data {
		encoded[k] = base64.StdEncoding.EncodeToString(v)
	}
	return object{"data": encoded}
}

// authorityCert is a CA certificate with its key, made by hand as users do.
type authorityCert struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// certOptions describe a CA certificate; nil parent means self-signed.
type certOptions struct {
	name     string
	parent   *authorityCert
	key      crypto.Signer
	from, to time.Duration
}

func makeCA(tb testing.TB, o certOptions) *authorityCert {
	tb.Helper()
	key := o.key
	if key == nil {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			tb.Fatal(err)
		}
	}
	if o.to == 0 {
		o.to = 365 * 24 * time.Hour
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: o.name},
		NotBefore: time.Now().Add(o.from - time.Minute), NotAfter: time.Now().Add(o.to),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	parent := &authorityCert{cert: template, key: key}
	if o.parent != nil {
		parent = o.parent
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.cert, key.Public(), parent.key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return &authorityCert{cert: cert, key: key}
}

func (c *authorityCert) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw})
}

func (c *authorityCert) keyPEM(tb testing.TB) []byte {
	tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		tb.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// plugged is a cacerts Secret as Istio's documentation has it made.
func plugged(tb testing.TB, signer *authorityCert, roots ...[]byte) object {
	tb.Helper()
	return secret(map[string][]byte{
		"ca-cert.pem": signer.pem(), "ca-key.pem": signer.keyPEM(tb), "root-cert.pem": bytes.Join(roots, nil), "cert-chain.pem": signer.pem(),
	})
}

func newAuthority(tb testing.TB, a *api, l *logs, trustDomain string) *Authority {
	tb.Helper()
	authority, err := NewAuthority(AuthorityOptions{
		Client: a.client(), Namespace: "fairlead-system",
		CA: ca.Options{TrustDomain: trustDomain, TTL: time.Hour, Logger: l.logger()},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return authority
}

// signed has the CA sign a workload and gives the chain, leaf first.
func signed(tb testing.TB, ca *ca.CA) []*x509.Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		tb.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		tb.Fatal(err)
	}
	chain, err := ca.Sign(csr, identity.ID{TrustDomain: ca.TrustDomain(), Namespace: "myapp", ServiceAccount: "users"}, 0)
	if err != nil {
		tb.Fatal(err)
	}
	var certs []*x509.Certificate
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			tb.Fatal(err)
		}
		certs = append(certs, c)
	}
	return certs
}

// trusts reports whether a peer with these roots accepts the chain.
func trusts(roots []byte, chain []*x509.Certificate) bool {
	anchors, between := x509.NewCertPool(), x509.NewCertPool()
	anchors.AppendCertsFromPEM(roots)
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: anchors, Intermediates: between})
	return err == nil
}

func TestLoadOrCreateGivesEveryReplicaTheSameCA(t *testing.T) {
	a, l := newAPI(t), &logs{}
	cas := make([]*ca.CA, 8)
	var wg sync.WaitGroup
	for i := range cas {
		authority := newAuthority(t, a, l, "")
		wg.Go(func() {
			ca, err := authority.LoadOrCreate(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			cas[i] = ca
		})
	}
	wg.Wait()
	restarted, err := newAuthority(t, a, l, "").LoadOrCreate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, ca := range cas {
		if !same(ca, restarted) {
			t.Errorf("replica %d has another CA", i)
		}
	}
	if !trusts(restarted.Roots(), signed(t, cas[0])) {
		t.Error("the restarted replica's roots do not cover what was signed before")
	}
	if lines := l.with("made a CA", "secret=fairlead-system/fairlead-ca"); len(lines) != 1 {
		t.Errorf("made %d times: %q", len(lines), l.lines())
	}
	if got := a.get(ownPath)["type"]; got != "fairlead.dev/ca" {
		t.Errorf("type %v", got)
	}
}

func TestLoadOrCreateTakesOver(t *testing.T) {
	root := makeCA(t, certOptions{name: "root"})
	upper := makeCA(t, certOptions{name: "upper", parent: root})
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	lower := makeCA(t, certOptions{name: "lower", parent: upper, key: rsaKey})
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)})
	other := makeCA(t, certOptions{name: "next root"})
	for _, tc := range []struct {
		name  string
		data  map[string][]byte
		chain int // certificates that a workload gets
		roots []byte
	}{
		{
			name:  "a_root",
			data:  map[string][]byte{"ca-cert.pem": root.pem(), "ca-key.pem": root.keyPEM(t), "root-cert.pem": root.pem(), "cert-chain.pem": root.pem()},
			chain: 1, roots: root.pem(),
		},
		{
			name: "an_intermediate_below_another_with_an_RSA_key",
			data: map[string][]byte{
				"ca-cert.pem": lower.pem(), "ca-key.pem": pkcs1, "root-cert.pem": root.pem(),
				"cert-chain.pem": bytes.Join([][]byte{lower.pem(), upper.pem(), root.pem()}, nil),
			},
			chain: 3, roots: root.pem(),
		},
		{
			name: "two_roots_without_a_chain_file",
			data: map[string][]byte{
				"ca-cert.pem": upper.pem(), "ca-key.pem": upper.keyPEM(t), "root-cert.pem": append(root.pem(), other.pem()...),
			},
			chain: 2, roots: append(root.pem(), other.pem()...),
		},
		{
			name:  "of_cert-manager",
			data:  map[string][]byte{"tls.crt": append(lower.pem(), upper.pem()...), "tls.key": lower.keyPEM(t), "ca.crt": root.pem()},
			chain: 3, roots: root.pem(),
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, l := newAPI(t), &logs{}
			a.put(pluggedPath, secret(tc.data))
			ca, err := newAuthority(t, a, l, "").LoadOrCreate(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := ca.Roots(); !bytes.Equal(got, tc.roots) {
				t.Errorf("roots are\n%s, want\n%s", got, tc.roots)
			}
			chain := signed(t, ca)
			if len(chain) != tc.chain {
				t.Errorf("%d certificates in the chain, want %d", len(chain), tc.chain)
			}
			if !trusts(root.pem(), chain) {
				t.Error("a peer that knows the root does not accept the chain")
			}
			if a.get(ownPath) != nil {
				t.Error("a CA was made beside the one that is there")
			}
		})
	}
}

// TestLoadOrCreateWaitsForAFix has every reason for a controller that starts without CA: one line, no end of the
// program, and success once it is put right.
func TestLoadOrCreateWaitsForAFix(t *testing.T) {
	for _, tc := range []struct {
		name, trustDomain string
		spoil             func(t *testing.T, a *api)
		words             []string
		fix               func(t *testing.T, a *api)
	}{
		{
			name:  "the_API_server_is_away",
			spoil: func(_ *testing.T, a *api) { a.refuse(away) },
			words: []string{"get secrets cacerts in namespace fairlead-system: API server not reached: connection refused"},
		},
		{
			name:  "not_allowed_to_read_cacerts",
			spoil: func(_ *testing.T, a *api) { a.refuse(forbid("get", "/cacerts")) },
			words: []string{"get secrets cacerts in namespace fairlead-system: not allowed", "resources: [secrets], resourceNames: [cacerts], verbs: [get]"},
		},
		{
			name:  "not_allowed_to_make_one",
			spoil: func(_ *testing.T, a *api) { a.refuse(forbid("create", "/secrets")) },
			words: []string{"create secrets in namespace fairlead-system: not allowed", "resources: [secrets], verbs: [create]"},
		},
		{
			name: "no_such_namespace",
			spoil: func(_ *testing.T, a *api) {
				a.refuse(func(verb, _ string) *status {
					if verb != "create" {
						return nil
					}
					return &status{http.StatusNotFound, "NotFound", `namespaces "fairlead-system" not found`}
				})
			},
			words: []string{`create secrets in namespace fairlead-system: namespaces \"fairlead-system\" not found`},
		},
		{
			name: "expired",
			spoil: func(t *testing.T, a *api) {
				c := makeCA(t, certOptions{name: "old", from: -48 * time.Hour, to: -24 * time.Hour})
				a.put(pluggedPath, plugged(t, c, c.pem()))
			},
			words: []string{"secret fairlead-system/cacerts: ca-cert.pem: the CA certificate expired at 1999-12-31T00:00:00Z (now 2000-01-01T00:00:00Z): put a CA into it that is usable"},
		},
		{
			name: "from_the_future",
			spoil: func(t *testing.T, a *api) {
				c := makeCA(t, certOptions{name: "early", from: 30 * 24 * time.Hour})
				a.put(pluggedPath, plugged(t, c, c.pem()))
			},
			words: []string{"secret fairlead-system/cacerts: ca-cert.pem: the CA certificate is not valid before 2000-01-30T23:59:00Z (now 2000-01-01T00:00:00Z): check the clocks"},
		},
		{
			name: "without_a_key",
			spoil: func(t *testing.T, a *api) {
				c := makeCA(t, certOptions{name: "root"})
				a.put(pluggedPath, secret(map[string][]byte{"ca-cert.pem": c.pem(), "root-cert.pem": c.pem()}))
			},
			words: []string{"secret fairlead-system/cacerts: no key ca-key.pem in it (there is: ca-cert.pem, root-cert.pem)"},
		},
		{
			name: "with_the_key_of_another",
			spoil: func(t *testing.T, a *api) {
				c := makeCA(t, certOptions{name: "root"})
				a.put(pluggedPath, secret(map[string][]byte{
					"ca-cert.pem": c.pem(), "root-cert.pem": c.pem(), "ca-key.pem": makeCA(t, certOptions{}).keyPEM(t),
				}))
			},
			words: []string{"secret fairlead-system/cacerts: ca-cert.pem: no certificate belongs to the private key of ca-key.pem"},
		},
		{
			name: "with_a_key_that_has_a_passphrase",
			spoil: func(t *testing.T, a *api) {
				c := makeCA(t, certOptions{name: "root"})
				locked := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1}})
				a.put(pluggedPath, secret(map[string][]byte{"ca-cert.pem": c.pem(), "root-cert.pem": c.pem(), "ca-key.pem": locked}))
			},
			words: []string{"secret fairlead-system/cacerts: ca-key.pem: the private key is encrypted"},
		},
		{
			name: "below_another_root",
			spoil: func(t *testing.T, a *api) {
				c := makeCA(t, certOptions{name: "lower", parent: makeCA(t, certOptions{name: "root"})})
				a.put(pluggedPath, plugged(t, c, makeCA(t, certOptions{name: "other"}).pem()))
			},
			words: []string{"secret fairlead-system/cacerts: ca-cert.pem: the CA certificate does not chain to a root of root-cert.pem"},
		},
		{
			name: "made_for_another_trust_domain", trustDomain: "new.example",
			spoil: func(t *testing.T, a *api) {
				key, cert, err := ca.Generate("old.example")
				if err != nil {
					t.Fatal(err)
				}
				a.put(ownPath, secret(map[string][]byte{"ca.crt": cert, "ca.key": key}))
			},
			words: []string{
				`secret fairlead-system/fairlead-ca: ca.crt: it was made for trust domain \"old.example\", not \"new.example\"`,
				"start the controller with --trust-domain old.example, or delete it to have a new CA made",
			},
			fix: func(_ *testing.T, a *api) { a.delete(ownPath) },
		},
		{
			name: "emptied",
			spoil: func(_ *testing.T, a *api) {
				a.put(ownPath, secret(map[string][]byte{"ca.crt": {}}))
			},
			words: []string{"secret fairlead-system/fairlead-ca: no key ca.crt in it (there is: ca.crt): delete it to have a new CA made"},
			fix:   func(_ *testing.T, a *api) { a.delete(ownPath) },
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, l := newAPI(t), &logs{}
				tc.spoil(t, a)
				authority := newAuthority(t, a, l, tc.trustDomain)
				var got *ca.CA
				stop := background(t, func(ctx context.Context) {
					ca, err := authority.LoadOrCreate(ctx)
					if err != nil {
						t.Error(err)
					}
					got = ca
				})
				time.Sleep(10 * time.Minute)
				if lines := l.with(append(tc.words, "no usable CA yet")...); len(lines) != 1 || len(l.lines()) != 1 {
					t.Errorf("logged %q, want one line with %q", l.lines(), tc.words)
				}
				switch {
				case tc.fix != nil:
					tc.fix(t, a)
				case a.get(pluggedPath) != nil:
					c := makeCA(t, certOptions{name: "good"})
					a.put(pluggedPath, plugged(t, c, c.pem()))
				default:
					a.refuse(nil)
				}
				time.Sleep(maxPause + time.Second)
				stop()
				if got == nil {
					t.Fatal("no CA after the fix")
				}
			})
		})
	}
}

func TestLoadOrCreateEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l := newAPI(t), &logs{}
		a.refuse(away)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := newAuthority(t, a, l, "").LoadOrCreate(ctx); err != context.DeadlineExceeded { //nolint:errorlint // exactly this one
			t.Errorf("error %v, want %v", err, context.DeadlineExceeded)
		}
	})
}

func TestNewAuthorityNeedsItsOptions(t *testing.T) {
	_, err := NewAuthority(AuthorityOptions{})
	wantError(t, err, "required")
}

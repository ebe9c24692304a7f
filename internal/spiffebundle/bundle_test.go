package spiffebundle_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"fairlead.dev/fairlead/internal/spiffebundle"
)

// root makes a certificate of a key, that of a CA or not.
func root(tb testing.TB, key crypto.Signer, template x509.Certificate) *x509.Certificate {
	tb.Helper()
	template.SerialNumber, template.NotAfter, template.BasicConstraintsValid = big.NewInt(1), time.Now().Add(time.Hour), true
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func ellipticKey(tb testing.TB, curve elliptic.Curve) crypto.Signer {
	tb.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// Another library reads what is written as the keys that the certificates have, and what is written is read again.
func TestEncode(t *testing.T) {
	t.Parallel()
	modulus, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ca := x509.Certificate{IsCA: true}
	roots := []*x509.Certificate{
		root(t, ellipticKey(t, elliptic.P256()), ca), root(t, ellipticKey(t, elliptic.P384()), ca), root(t, modulus, ca),
	}
	text, err := spiffebundle.Encode(roots)
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := spiffebundle.Parse(text)
	again := bundle.Roots
	if err != nil || len(again) != len(roots) || bundle.RefreshHint != 0 {
		t.Fatalf("%d roots, %v, want %d", len(again), err, len(roots))
	}
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal(text, &keys); err != nil {
		t.Fatal(err)
	}
	for i, k := range keys.Keys {
		public := roots[i].PublicKey.(interface{ Equal(crypto.PublicKey) bool })
		if !again[i].Equal(roots[i]) || !public.Equal(k.Key) || k.Use != "x509-svid" || len(k.Certificates) != 1 || !k.Certificates[0].Equal(roots[i]) {
			t.Errorf("key %d is another one", i)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	key := ellipticKey(t, elliptic.P256())
	x5c := func(c *x509.Certificate) string { return `"` + base64.StdEncoding.EncodeToString(c.Raw) + `"` }
	good, leaf := x5c(root(t, key, x509.Certificate{IsCA: true})), x5c(root(t, key, x509.Certificate{}))
	const jwt = `{"use": "jwt-svid", "kty": "EC", "kid": "a", "crv": "P-256", "x": "", "y": ""}`
	keys := func(list ...string) string {
		return `{"spiffe_sequence": 7, "spiffe_refresh_hint": 300, "keys": [` + strings.Join(list, ",") + `]}`
	}
	of := func(x5c string) string { return `{"use": "x509-svid", "kty": "EC", "x5c": [` + x5c + `]}` }
	for _, tt := range []struct {
		name, text string
		want       int
		hint       time.Duration
		err        string
	}{
		{name: "roots beside keys of other uses", text: keys(jwt, of(good), `{"use": "", "kty": "EC"}`, of(good)), want: 2, hint: 5 * time.Minute},
		{name: "all are revoked", text: keys(), hint: 5 * time.Minute},
		{name: "a hint that is no time", text: `{"spiffe_refresh_hint": -1, "keys": []}`},
		{name: "a hint for ever", text: `{"spiffe_refresh_hint": 9223372036854775807, "keys": []}`, hint: spiffebundle.MaxRefresh},
		{name: "null", text: `{"keys": null}`, err: "no key of use x509-svid"},
		{name: "no roots", text: keys(jwt), err: "no key of use x509-svid"},
		{name: "nothing", text: `{}`, err: "no key of use x509-svid"},
		{name: "two certificates", text: keys(jwt, of(good+","+good)), err: "keys[1]: x5c has 2 certificates"},
		{name: "none", text: keys(of("")), err: "keys[0]: x5c has 0 certificates"},
		{name: "a leaf", text: keys(of(leaf)), err: "is not a CA certificate"},
		{name: "no certificate", text: keys(of(`"aGVsbG8="`)), err: "keys[0]: x5c: x509:"},
		{name: "no JSON", text: "-----BEGIN", err: "SPIFFE bundle: invalid character"},
		{name: "too many", text: keys(strings.Split(strings.Repeat(of(good)+"\n", 101), "\n")[:101]...), err: "more than 100 roots"},
		{name: "too large", text: strings.Repeat(" ", spiffebundle.MaxBytes+1), err: "larger than 1048576 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b, err := spiffebundle.Parse([]byte(tt.text))
			if got := fmt.Sprint(err); len(b.Roots) != tt.want || b.RefreshHint != tt.hint || (tt.err == "") != (err == nil) || !strings.Contains(got, tt.err) {
				t.Errorf("%d roots, hint %s, %v; want %d, %s, %s", len(b.Roots), b.RefreshHint, err, tt.want, tt.hint, tt.err)
			}
		})
	}
}

// Whatever a server answers: what is read are CAs, within the bound, or an error says why not; and what is read can be written.
func FuzzParse(f *testing.F) {
	text, err := spiffebundle.Encode([]*x509.Certificate{root(f, ellipticKey(f, elliptic.P256()), x509.Certificate{IsCA: true})})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"keys": [], "spiffe_refresh_hint": 1e3}`))
	f.Add([]byte(`{"keys": [{"use": "x509-svid", "x5c": ["AA=="]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := spiffebundle.Parse(text)
		if err != nil && len(b.Roots) > 0 || len(b.Roots) > spiffebundle.MaxRoots || b.RefreshHint < 0 || b.RefreshHint > spiffebundle.MaxRefresh {
			t.Errorf("%d roots, hint %s, %v", len(b.Roots), b.RefreshHint, err)
		}
		for _, c := range b.Roots {
			if !c.IsCA {
				t.Error("one is no CA")
			}
		}
	})
}

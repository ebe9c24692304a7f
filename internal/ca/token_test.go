package ca

import (
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"
)

type tokenPair struct {
	issuer     *TokenIssuer
	verifier   *TokenVerifier
	key        *ecdsa.PrivateKey
	publicPEM  []byte
	privatePEM []byte
}

func newTokenPair(tb testing.TB) tokenPair {
	tb.Helper()
	private, public, err := GenerateTokenKey()
	if err != nil {
		tb.Fatal(err)
	}
	issuer, err := NewTokenIssuer(private, "https://lab")
	if err != nil {
		tb.Fatal(err)
	}
	verifier, err := NewTokenVerifier(VerifierOptions{PublicKeysPEM: public, Issuer: "https://lab"})
	if err != nil {
		tb.Fatal(err)
	}
	key, err := parseKey(private)
	if err != nil {
		tb.Fatal(err)
	}
	return tokenPair{issuer, verifier, key.(*ecdsa.PrivateKey), public, private}
}

func TestTokenRoundTrip(t *testing.T) {
	p := newTokenPair(t)
	now := time.Now().Truncate(time.Second)
	for _, tc := range []struct {
		name string
		in   Claims
	}{
		{name: "bound_to_a_pod", in: Claims{
			Issuer: "https://lab", Audience: []string{"fairlead"}, Namespace: "myapp", ServiceAccount: "users",
			ServiceAccountUID: "u1", Pod: "users-1", PodUID: "p1", Node: "node-a", IssuedAt: now, Expires: now.Add(time.Hour),
		}},
		{name: "not_bound_to_a_pod", in: Claims{
			Issuer: "https://lab", Audience: []string{"x", "fairlead"}, Namespace: "a", ServiceAccount: "b",
			IssuedAt: now, Expires: now.Add(time.Minute),
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			token, err := p.issuer.Issue(tc.in)
			if err != nil {
				t.Fatal(err)
			}
			got, err := p.verifier.Verify(token)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.in, got); diff != "" {
				t.Errorf("claims (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTokenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTokenPair(t)
		token, err := p.issuer.Issue(Claims{Namespace: "a", ServiceAccount: "b"})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(DefaultTokenTTL)
		if _, err := p.verifier.Verify(token); err != nil {
			t.Errorf("within the leeway: %v", err)
		}
		time.Sleep(leeway + time.Second)
		_, err = p.verifier.Verify(token)
		wantError(t, err, "expired at 2000-01-01T01:00:00Z (now 2000-01-01T01:01:01Z)")
	})
}

func TestVerifyRefuses(t *testing.T) {
	p, stranger := newTokenPair(t), newTokenPair(t)
	issue := func(p tokenPair, c Claims) string {
		c.Namespace, c.ServiceAccount = "a", "b"
		token, err := p.issuer.Issue(c)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	raw := func(claims ...any) string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: p.key}, nil)
		if err != nil {
			t.Fatal(err)
		}
		b := jwt.Signed(signer)
		for _, c := range claims {
			b = b.Claims(c)
		}
		token, err := b.Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	soon := time.Now().Add(time.Hour)
	good := issue(p, Claims{})
	parts := strings.Split(good, ".")
	otherIssuer, err := NewTokenIssuer(p.privatePEM, "https://elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := otherIssuer.Issue(Claims{Namespace: "a", ServiceAccount: "b"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, token, err string }{
		{name: "nothing", token: "", err: "token: "},
		{name: "noise", token: "a.b.c", err: "token: "},
		{name: "a_huge_one", token: strings.Repeat("a", maxToken+1), err: "longer than"},
		{name: "another_key", token: issue(stranger, Claims{}), err: "matches none of the 1 known keys"},
		{name: "another_audience", token: issue(p, Claims{Audience: []string{"vault"}}), err: `audience is ["vault"], want "fairlead"`},
		{name: "another_issuer", token: foreign, err: `issuer is "https://elsewhere", want "https://lab"`},
		{name: "not_yet_valid", token: issue(p, Claims{IssuedAt: soon}), err: "not valid before"},
		{name: "changed_claims", token: parts[0] + "." + b64(`{"sub":"system:serviceaccount:a:root"}`) + "." + parts[2], err: "matches none"},
		{name: "alg_none", token: b64(`{"alg":"none"}`) + "." + parts[1] + ".", err: "token: "},
		{name: "alg_hs256_with_the_public_key", token: hs256(p.publicPEM, parts[1]), err: "HS256"},
		{name: "no_end", token: raw(jwt.Claims{Issuer: "https://lab", Audience: jwt.Audience{Audience}, Subject: "system:serviceaccount:a:b"}), err: "no exp claim"},
		{name: "another_subject", token: raw(jwt.Claims{Issuer: "https://lab", Audience: jwt.Audience{Audience}, Subject: "user:root", Expiry: jwt.NewNumericDate(soon)}), err: `subject is "user:root"`},
		{name: "a_subject_of_three", token: raw(jwt.Claims{Issuer: "https://lab", Audience: jwt.Audience{Audience}, Subject: "system:serviceaccount:a:b:c", Expiry: jwt.NewNumericDate(soon)}), err: `subject is "system:serviceaccount:a:b:c"`},
		{
			name: "claims_that_disagree",
			token: raw(jwt.Claims{Issuer: "https://lab", Audience: jwt.Audience{Audience}, Subject: "system:serviceaccount:a:b", Expiry: jwt.NewNumericDate(soon)},
				map[string]any{"kubernetes.io": map[string]any{"namespace": "kube-system"}}),
			err: "kubernetes.io claim says kube-system/",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			claims, err := p.verifier.Verify(tc.token)
			wantError(t, err, tc.err)
			if diff := cmp.Diff(Claims{}, claims); diff != "" {
				t.Errorf("claims came with the error:\n%s", diff)
			}
			if err != nil && len(tc.token) > 20 && strings.Contains(err.Error(), tc.token) {
				t.Error("the error repeats the token")
			}
		})
	}
}

func TestVerifyAcceptsEveryKeyOfARotation(t *testing.T) {
	before, after := newTokenPair(t), newTokenPair(t)
	v, err := NewTokenVerifier(VerifierOptions{PublicKeysPEM: append(before.publicPEM, after.publicPEM...)})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []tokenPair{before, after} {
		token, err := p.issuer.Issue(Claims{Namespace: "a", ServiceAccount: "b"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Verify(token); err != nil {
			t.Error(err)
		}
	}
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// hs256 is the classic confusion: a public key used as an HMAC secret.
func hs256(secret []byte, payload string) string {
	signed := b64(`{"alg":"HS256"}`) + "." + payload
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

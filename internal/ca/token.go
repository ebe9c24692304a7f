package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"fairlead.dev/fairlead/internal/identity"
)

const (
	// Audience is what a workload token must be made for.
	Audience = "fairlead"
	// DefaultTokenTTL is how long a token lives that was issued without a lifetime, as Kubernetes' projected tokens.
	DefaultTokenTTL = time.Hour
	// maxToken bounds what is parsed, in bytes. Kubernetes' tokens have about 1 KB.
	maxToken = 16 << 10
	// leeway is the clock difference that is tolerated between issuer and verifier.
	leeway = time.Minute
	// subjectPrefix precedes "<namespace>:<service account>" in the sub claim.
	subjectPrefix = "system:serviceaccount:"
)

// Claims are what a workload token says, with the meaning of Kubernetes' projected service account tokens.
type Claims struct {
	Issuer                    string
	Audience                  []string
	Namespace, ServiceAccount string
	ServiceAccountUID         string
	// Pod and PodUID are empty in tokens that are not bound to a pod.
	Pod, PodUID string
	// Node is where the pod was when the token was made, empty where the token does not say it.
	Node              string
	IssuedAt, Expires time.Time
}

// ID gives the SPIFFE ID of the token's service account in a trust domain.
func (c Claims) ID(trustDomain string) identity.ID {
	return identity.ID{TrustDomain: trustDomain, Namespace: c.Namespace, ServiceAccount: c.ServiceAccount}
}

// privateClaims is the "kubernetes.io" claim.
type privateClaims struct {
	Kubernetes struct {
		Namespace      string    `json:"namespace"`
		ServiceAccount claimRef  `json:"serviceaccount"`
		Pod            *claimRef `json:"pod,omitempty"`
		Node           *claimRef `json:"node,omitempty"`
	} `json:"kubernetes.io"`
}

type claimRef struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
}

// GenerateTokenKey makes an ES256 key pair, PEM: the private half for a TokenIssuer, the public one for a
// TokenVerifier.
func GenerateTokenKey() (privatePEM, publicPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	privatePEM, err = encodeKey(key)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, nil, err
	}
	return privatePEM, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// TokenIssuer signs workload tokens where no Kubernetes API server does.
type TokenIssuer struct {
	issuer string
	signer jose.Signer
}

// NewTokenIssuer takes an ES256 private key, PEM, and the name that goes into the iss claim.
func NewTokenIssuer(privatePEM []byte, issuer string) (*TokenIssuer, error) {
	key, err := parseKey(privatePEM)
	if err != nil {
		return nil, fmt.Errorf("token issuer: %w", err)
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok || ec.Curve != elliptic.P256() {
		return nil, fmt.Errorf("token issuer: the key is a %T, ES256 needs an ECDSA key on P-256", key)
	}
	kid, err := keyID(ec.Public())
	if err != nil {
		return nil, fmt.Errorf("token issuer: %w", err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.ES256,
		Key:       jose.JSONWebKey{Key: ec, KeyID: kid},
	}, nil)
	if err != nil {
		return nil, fmt.Errorf("token issuer: %w", err)
	}
	return &TokenIssuer{issuer: issuer, signer: signer}, nil
}

// Issue signs c. An empty Audience means Audience, a zero IssuedAt now, a zero Expires DefaultTokenTTL later; the
// Issuer is the one of t.
func (t *TokenIssuer) Issue(c Claims) (string, error) {
	if c.Namespace == "" || c.ServiceAccount == "" {
		return "", fmt.Errorf("token: namespace %q and service account %q must be set", c.Namespace, c.ServiceAccount)
	}
	if c.IssuedAt.IsZero() {
		c.IssuedAt = time.Now()
	}
	if c.Expires.IsZero() {
		c.Expires = c.IssuedAt.Add(DefaultTokenTTL)
	}
	if len(c.Audience) == 0 {
		c.Audience = []string{Audience}
	}
	var private privateClaims
	private.Kubernetes.Namespace = c.Namespace
	private.Kubernetes.ServiceAccount = claimRef{c.ServiceAccount, c.ServiceAccountUID}
	if c.Pod != "" {
		private.Kubernetes.Pod = &claimRef{c.Pod, c.PodUID}
	}
	if c.Node != "" {
		private.Kubernetes.Node = &claimRef{Name: c.Node}
	}
	return jwt.Signed(t.signer).Claims(jwt.Claims{
		Issuer:    t.issuer,
		Subject:   subjectPrefix + c.Namespace + ":" + c.ServiceAccount,
		Audience:  c.Audience,
		IssuedAt:  jwt.NewNumericDate(c.IssuedAt),
		NotBefore: jwt.NewNumericDate(c.IssuedAt),
		Expiry:    jwt.NewNumericDate(c.Expires),
	}).Claims(private).Serialize()
}

// VerifierOptions configure a TokenVerifier.
type VerifierOptions struct {
	// PublicKeysPEM holds one or more PUBLIC KEY blocks: several while the issuer's key is rotated.
	PublicKeysPEM []byte
	// Issuer is what the iss claim must be. Empty accepts any: the signature already says who it was.
	Issuer string
	// Audience must be among the aud claim. Empty means Audience.
	Audience string
}

// TokenVerifier checks workload tokens. It is immutable and safe for concurrent use.
type TokenVerifier struct {
	issuer, audience string
	keys             []tokenKey
}

// tokenKey ties a key to the one algorithm it is used with, so that a token cannot choose (RFC 8725 §3.1).
type tokenKey struct {
	id        string
	algorithm jose.SignatureAlgorithm
	key       crypto.PublicKey
}

// NewTokenVerifier reads the keys.
func NewTokenVerifier(o VerifierOptions) (*TokenVerifier, error) {
	v := &TokenVerifier{issuer: o.Issuer, audience: o.Audience}
	if v.audience == "" {
		v.audience = Audience
	}
	for block, rest := pem.Decode(o.PublicKeysPEM); block != nil; block, rest = pem.Decode(rest) {
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("token verifier: key %d: %w", len(v.keys)+1, err)
		}
		tk, err := newTokenKey(key)
		if err != nil {
			return nil, fmt.Errorf("token verifier: key %d: %w", len(v.keys)+1, err)
		}
		v.keys = append(v.keys, tk)
	}
	if len(v.keys) == 0 {
		return nil, errors.New(`token verifier: no PEM block of type "PUBLIC KEY"`)
	}
	return v, nil
}

func newTokenKey(key crypto.PublicKey) (tokenKey, error) {
	id, err := keyID(key)
	if err != nil {
		return tokenKey{}, err
	}
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return tokenKey{id, jose.ES256, k}, nil
		case elliptic.P384():
			return tokenKey{id, jose.ES384, k}, nil
		}
		return tokenKey{}, fmt.Errorf("curve %s is not supported (P-256 or P-384)", k.Params().Name)
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSABits {
			return tokenKey{}, fmt.Errorf("RSA key of %d bits is too short (at least %d)", k.N.BitLen(), minRSABits)
		}
		return tokenKey{id, jose.RS256, k}, nil
	}
	return tokenKey{}, fmt.Errorf("type %T is not supported (ECDSA or RSA)", key)
}

// Verify checks signature, issuer, audience and times, and gives what the token says. The error says which of them is
// wrong and what was found; it never contains the token.
func (v *TokenVerifier) Verify(token string) (Claims, error) {
	if len(token) > maxToken {
		return Claims{}, fmt.Errorf("token of %d bytes: longer than %d", len(token), maxToken)
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.RS256})
	if err != nil {
		return Claims{}, fmt.Errorf("token: %w", err)
	}
	var registered jwt.Claims
	var private privateClaims
	if err := v.checkSignature(parsed, &registered, &private); err != nil {
		return Claims{}, err
	}
	if err := v.checkRegistered(&registered); err != nil {
		return Claims{}, err
	}
	return claimsOf(&registered, &private)
}

func (v *TokenVerifier) checkSignature(t *jwt.JSONWebToken, dest ...any) error {
	if len(t.Headers) != 1 {
		return fmt.Errorf("token: %d signatures, want 1", len(t.Headers))
	}
	header := t.Headers[0]
	for _, k := range v.keys {
		if string(k.algorithm) != header.Algorithm || (header.KeyID != "" && header.KeyID != k.id) {
			continue
		}
		if err := t.Claims(k.key, dest...); err == nil {
			return nil
		}
	}
	return fmt.Errorf("token: signature (alg %q, kid %q) matches none of the %d known keys: it was issued by another cluster, or its key was rotated away",
		header.Algorithm, header.KeyID, len(v.keys))
}

func (v *TokenVerifier) checkRegistered(c *jwt.Claims) error {
	now := time.Now()
	if v.issuer != "" && c.Issuer != v.issuer {
		return fmt.Errorf("token: issuer is %q, want %q", c.Issuer, v.issuer)
	}
	if !c.Audience.Contains(v.audience) {
		return fmt.Errorf("token: audience is %q, want %q", []string(c.Audience), v.audience)
	}
	if c.Expiry == nil {
		return errors.New("token: no exp claim, tokens without an end are not accepted")
	}
	if exp := c.Expiry.Time(); now.After(exp.Add(leeway)) {
		return fmt.Errorf("token: expired at %s (now %s)", stamp(exp), stamp(now))
	}
	if nbf := c.NotBefore; nbf != nil && now.Add(leeway).Before(nbf.Time()) {
		return fmt.Errorf("token: not valid before %s (now %s): check the clocks", stamp(nbf.Time()), stamp(now))
	}
	return nil
}

// claimsOf joins the two sets of claims and refuses a token whose sub and kubernetes.io claims disagree.
func claimsOf(c *jwt.Claims, private *privateClaims) (Claims, error) {
	ns, sa, ok := strings.Cut(strings.TrimPrefix(c.Subject, subjectPrefix), ":")
	if !ok || !strings.HasPrefix(c.Subject, subjectPrefix) || ns == "" || sa == "" || strings.Contains(sa, ":") {
		return Claims{}, fmt.Errorf("token: subject is %q, want %s<namespace>:<service account>", c.Subject, subjectPrefix)
	}
	k := private.Kubernetes
	if (k.Namespace != "" && k.Namespace != ns) || (k.ServiceAccount.Name != "" && k.ServiceAccount.Name != sa) {
		return Claims{}, fmt.Errorf("token: subject is %q, but the kubernetes.io claim says %s/%s", c.Subject, k.Namespace, k.ServiceAccount.Name)
	}
	out := Claims{
		Issuer: c.Issuer, Audience: c.Audience,
		Namespace: ns, ServiceAccount: sa, ServiceAccountUID: k.ServiceAccount.UID,
		Expires: c.Expiry.Time(),
	}
	if k.Pod != nil {
		out.Pod, out.PodUID = k.Pod.Name, k.Pod.UID
	}
	if k.Node != nil {
		out.Node = k.Node.Name
	}
	if c.IssuedAt != nil {
		out.IssuedAt = c.IssuedAt.Time()
	}
	return out, nil
}

// keyID is the kid that Kubernetes' API server writes: the SHA-256 of the key's DER form, base64url.
func keyID(key crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

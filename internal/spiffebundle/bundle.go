package spiffebundle

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"time"
)

const (
	// MaxBytes bounds a document.
	MaxBytes = 1 << 20
	// MaxRoots bounds the certificates in one.
	MaxRoots = 100

	useX509 = "x509-svid"
)

// Bundle is what a document says of a trust domain.
type Bundle struct {
	// Roots are its CAs. None, where a document has an empty list of keys, means that all are revoked (§4.2).
	Roots []*x509.Certificate
	// RefreshHint is how soon to ask for it again; 0 where it is not said, or senseless.
	RefreshHint time.Duration
}

// document is a bundle as it is written. Its sequence number is not read: whoever is asked says what is newest.
type document struct {
	Keys        []key  `json:"keys"`
	Sequence    uint64 `json:"spiffe_sequence,omitempty"`
	RefreshHint int64  `json:"spiffe_refresh_hint,omitempty"` // seconds
}

// key is a JSON Web Key (RFC 7517 §4, RFC 7518 §6) with the certificate that has it.
type key struct {
	Use string   `json:"use"`
	Kty string   `json:"kty"`
	Crv string   `json:"crv,omitempty"`
	X   string   `json:"x,omitempty"`
	Y   string   `json:"y,omitempty"`
	N   string   `json:"n,omitempty"`
	E   string   `json:"e,omitempty"`
	X5c [][]byte `json:"x5c,omitempty"` // base64, as RFC 7517 §4.7 has it
}

// Parse reads a document. One that has keys, and none of a CA, is none.
func Parse(text []byte) (Bundle, error) {
	if len(text) > MaxBytes {
		return Bundle{}, fmt.Errorf("SPIFFE bundle: larger than %d bytes", MaxBytes)
	}
	var d document
	if err := json.Unmarshal(text, &d); err != nil {
		return Bundle{}, fmt.Errorf("SPIFFE bundle: %w", err)
	}
	roots, err := d.roots()
	if err != nil {
		return Bundle{}, fmt.Errorf("SPIFFE bundle: %w", err)
	}
	// The bound keeps the product from overflowing; who follows has a narrower one.
	hint := time.Duration(min(max(d.RefreshHint, 0), int64(MaxRefresh/time.Second))) * time.Second
	return Bundle{roots, hint}, nil
}

func (d *document) roots() (roots []*x509.Certificate, err error) {
	for i, k := range d.Keys {
		if k.Use != useX509 {
			continue
		}
		c, err := k.certificate()
		if err != nil {
			return nil, fmt.Errorf("keys[%d]: %w", i, err)
		}
		if roots = append(roots, c); len(roots) > MaxRoots {
			return nil, fmt.Errorf("more than %d roots", MaxRoots)
		}
	}
	if len(roots) == 0 && (len(d.Keys) > 0 || d.Keys == nil) {
		return nil, errors.New("no key of use " + useX509 + " in it")
	}
	return roots, nil
}

// certificate reads the one certificate of a key (X509-SVID §6.1).
func (k *key) certificate() (*x509.Certificate, error) {
	if len(k.X5c) != 1 {
		return nil, fmt.Errorf("x5c has %d certificates, a root has exactly 1", len(k.X5c))
	}
	c, err := x509.ParseCertificate(k.X5c[0])
	if err != nil {
		return nil, fmt.Errorf("x5c: %w", err)
	}
	if !c.IsCA {
		return nil, fmt.Errorf("x5c: %s is not a CA certificate", c.Subject)
	}
	return c, nil
}

// Encode writes roots as a document. A key of a kind that no JSON Web Key is known for here is an error.
func Encode(roots []*x509.Certificate) ([]byte, error) { return encode(Version{Roots: roots}, 0) }

func encode(v Version, refresh time.Duration) ([]byte, error) {
	roots := v.Roots
	d := document{Keys: make([]key, 0, len(roots)), Sequence: v.Sequence, RefreshHint: int64(refresh / time.Second)}
	for _, c := range roots {
		k := key{Use: useX509, X5c: [][]byte{c.Raw}}
		if err := k.set(c.PublicKey); err != nil {
			return nil, fmt.Errorf("root %s: %w", c.Subject, err)
		}
		d.Keys = append(d.Keys, k)
	}
	text, err := json.MarshalIndent(d, "", "  ")
	return append(text, '\n'), err
}

// set describes a public key.
func (k *key) set(public any) error {
	number := base64.RawURLEncoding.EncodeToString
	switch p := public.(type) {
	case *ecdsa.PublicKey:
		point, err := p.Bytes() // 4, then both coordinates at full length (SEC 1 §2.3.3)
		if err != nil {
			return err
		}
		half := (len(point) - 1) / 2
		k.Kty, k.Crv, k.X, k.Y = "EC", p.Params().Name, number(point[1:1+half]), number(point[1+half:])
	case *rsa.PublicKey:
		k.Kty, k.N, k.E = "RSA", number(p.N.Bytes()), number(big.NewInt(int64(p.E)).Bytes())
	default:
		return fmt.Errorf("a key of type %T has no place in a SPIFFE bundle here (ECDSA or RSA)", public)
	}
	return nil
}

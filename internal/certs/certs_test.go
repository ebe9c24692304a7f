package certs_test

import (
	"testing"

	"fairlead.dev/fairlead/internal/certs"
	"fairlead.dev/fairlead/internal/certs/certstest"
)

func TestRead(t *testing.T) {
	t.Parallel()
	one, two := certstest.New(t, "one"), certstest.New(t, "two")
	a, b := one.Issue(t, "a.example.com"), one.Issue(t, "b.example.com")
	pair := func(cert, key string) func() (int, error) {
		return func() (int, error) { c, err := certs.Pair([]byte(cert), []byte(key)); return len(c.Certificate), err }
	}
	roots := func(text string) func() (int, error) {
		return func() (int, error) { c, err := certs.Roots([]byte(text)); return len(c), err }
	}
	lists := func(text string) func() (int, error) {
		return func() (int, error) { c, err := certs.Revocations([]byte(text)); return len(c), err }
	}
	const broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"
	for _, tt := range []struct {
		name string
		read func() (int, error)
		want int // 0 for an error
	}{
		{"a pair", pair(a.Cert, a.Key), 1},
		{"a pair with its chain", pair(a.Cert+one.CA, a.Key), 2},
		{"a pair of strangers", pair(a.Cert, b.Key), 0},
		{"no pair", pair("", ""), 0},
		{"roots", roots(one.CA + two.CA), 2},
		{"roots among others", roots(a.Key + one.CA), 1},
		{"roots and what is none", roots(one.CA + broken), 0},
		{"no roots", roots(a.Key), 0},
		{"nothing", roots(""), 0},
		{"lists", lists(one.Revoke(t, a) + two.Revoke(t)), 2},
		{"no lists", lists(one.CA), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if n, err := tt.read(); n != tt.want && err == nil || (err == nil) != (tt.want > 0) {
				t.Errorf("%d, %v; want %d", n, err, tt.want)
			}
		})
	}
	if pool := certs.Pool(nil); pool == nil || len(pool.Subjects()) != 0 { //nolint:staticcheck // not one of the system
		t.Error("no CA at all is to be trusted")
	}
}

// Whatever is in a Secret: what is read is something, or an error says why it is nothing.
func FuzzRead(f *testing.F) {
	f.Add([]byte("-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if out, err := certs.Revocations(data); err == nil && len(out) == 0 {
			t.Error("no list and no error")
		}
		if out, err := certs.Roots(data); err == nil && len(out) == 0 {
			t.Error("no root and no error")
		}
		if out, err := certs.Pair(data, data); err == nil && len(out.Certificate) == 0 {
			t.Error("no certificate and no error")
		}
	})
}

package identity

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// DefaultTrustDomain is the trust domain of a mesh that was not given one.
const DefaultTrustDomain = "cluster.local"

// The limits of the SPIFFE ID specification, sections 2.1 and 2.4.
const (
	maxTrustDomain = 255
	maxID          = 2048
)

const scheme = "spiffe://"

// ID is the SPIFFE ID of a workload, spiffe://<trust domain>/ns/<namespace>/sa/<service account>. The zero value
// names no workload.
type ID struct {
	TrustDomain, Namespace, ServiceAccount string
}

// ParseID reads the form that String writes and nothing else. The error names the part that is wrong.
func ParseID(s string) (ID, error) {
	if len(s) > maxID {
		return ID{}, fmt.Errorf("spiffe id of %d bytes: longer than %d", len(s), maxID)
	}
	rest, ok := strings.CutPrefix(s, scheme)
	if !ok {
		return ID{}, fmt.Errorf("spiffe id %q: does not begin with %q", s, scheme)
	}
	parts := strings.Split(rest, "/")
	if len(parts) != 5 || parts[1] != "ns" || parts[3] != "sa" {
		return ID{}, fmt.Errorf("spiffe id %q: not of the form spiffe://<trust domain>/ns/<namespace>/sa/<service account>", s)
	}
	id := ID{TrustDomain: parts[0], Namespace: parts[2], ServiceAccount: parts[4]}
	if err := id.Validate(); err != nil {
		return ID{}, err
	}
	return id, nil
}

// String gives the ID as a URI, or "" for the zero value.
func (i ID) String() string {
	if i.IsZero() {
		return ""
	}
	return scheme + i.TrustDomain + "/ns/" + i.Namespace + "/sa/" + i.ServiceAccount
}

// IsZero reports whether i names no workload.
func (i ID) IsZero() bool { return i == ID{} }

// Validate reports the first part that the SPIFFE ID specification does not allow.
func (i ID) Validate() error {
	if err := ValidateTrustDomain(i.TrustDomain); err != nil {
		return err
	}
	if err := validSegment("namespace", i.Namespace); err != nil {
		return err
	}
	if err := validSegment("service account", i.ServiceAccount); err != nil {
		return err
	}
	if n := len(i.String()); n > maxID {
		return fmt.Errorf("spiffe id of %d bytes: longer than %d", n, maxID)
	}
	return nil
}

// URI is the ID as the name of a certificate (X509-SVID section 2).
func (i ID) URI() *url.URL {
	return &url.URL{
		Scheme: "spiffe",
		Host:   i.TrustDomain,
		Path:   "/ns/" + i.Namespace + "/sa/" + i.ServiceAccount,
	}
}

// ValidateTrustDomain reports what the SPIFFE ID specification does not allow in a trust domain: section 2.1 has lower-case
// letters, digits, '.', '-' and '_'.
func ValidateTrustDomain(td string) error {
	if td == "" {
		return errors.New("trust domain: empty")
	}
	if len(td) > maxTrustDomain {
		return fmt.Errorf("trust domain of %d bytes: longer than %d", len(td), maxTrustDomain)
	}
	for _, c := range []byte(td) {
		if !isLower(c) && !isDigit(c) && !isMark(c) {
			return fmt.Errorf("trust domain %q: %q is not allowed (lower-case letters, digits, '.', '-', '_')", td, c)
		}
	}
	return nil
}

// validSegment follows SPIFFE-ID section 2.2: a path segment is not empty and neither "." nor "..".
func validSegment(what, s string) error {
	if s == "" || s == "." || s == ".." {
		return fmt.Errorf("%s %q: not allowed in a spiffe id", what, s)
	}
	for _, c := range []byte(s) {
		if !isLower(c) && (c < 'A' || c > 'Z') && !isDigit(c) && !isMark(c) {
			return fmt.Errorf("%s %q: %q is not allowed (letters, digits, '.', '-', '_')", what, s, c)
		}
	}
	return nil
}

func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isMark(c byte) bool  { return c == '.' || c == '-' || c == '_' }

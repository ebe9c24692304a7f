package upstream

import (
	"crypto/x509"
	"fmt"
	"time"
)

// revocations are lists of revoked certificates, of several CAs.
type revocations []*x509.RevocationList

// check fails unless one of the chains, each from a server's certificate to a root, has nothing revoked in it. As in Envoy every
// CA of a chain must have a list, and one that is still good: a list that cannot be had must not let in what stands on it.
func (r revocations) check(chains [][]*x509.Certificate, now time.Time) error {
	var first error
	for _, chain := range chains {
		err := r.checkChain(chain, now)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

func (r revocations) checkChain(chain []*x509.Certificate, now time.Time) error {
	if len(chain) == 1 { // a server's own root
		return r.checkLink(chain[0], chain[0], now)
	}
	for i := range len(chain) - 1 {
		if err := r.checkLink(chain[i], chain[i+1], now); err != nil {
			return err
		}
	}
	return nil
}

// checkLink asks the lists of the CA that has signed a certificate.
func (r revocations) checkLink(c, issuer *x509.Certificate, now time.Time) error {
	found := false
	for _, list := range r {
		if list.CheckSignatureFrom(issuer) != nil {
			continue
		}
		for i := range list.RevokedCertificateEntries {
			if list.RevokedCertificateEntries[i].SerialNumber.Cmp(c.SerialNumber) == 0 {
				return fmt.Errorf("caCrl: the certificate of %s, serial %x, is revoked since %s", c.Subject, c.SerialNumber,
					list.RevokedCertificateEntries[i].RevocationTime.UTC().Format(time.RFC3339))
			}
		}
		if list.ThisUpdate.After(now) || !list.NextUpdate.IsZero() && list.NextUpdate.Before(now) {
			continue
		}
		found = true
	}
	if !found {
		return fmt.Errorf("caCrl: no list of %s in it that is good now", issuer.Subject)
	}
	return nil
}

package identity

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"
)

// ValidityError says that a certificate is not in force by the clock of this machine. It wraps the error of
// crypto/x509.
type ValidityError struct {
	NotBefore, NotAfter time.Time
	// Now is what the clock said.
	Now time.Time
	Err error

	// where is what others have put before the error of crypto/x509, such as the address that was dialled.
	where string
}

// Error gives one line with both times and what to look at. A certificate from the future can only mean that clocks
// differ: signers backdate by two minutes. An expired one is more often a renewal that failed.
func (e *ValidityError) Error() string {
	if e.Now.Before(e.NotBefore) {
		return fmt.Sprintf("%sthe certificate is not valid before %s, the clock here says %s, %s less: check the clocks of this machine and of the control plane",
			e.where, stamp(e.NotBefore), stamp(e.Now), e.NotBefore.Sub(e.Now).Round(time.Second))
	}
	return fmt.Sprintf("%sthe certificate expired at %s, the clock here says %s, %s more: its owner could not renew it, or the clocks differ",
		e.where, stamp(e.NotAfter), stamp(e.Now), e.Now.Sub(e.NotAfter).Round(time.Second))
}

// Unwrap gives the error of crypto/x509.
func (e *ValidityError) Unwrap() error { return e.Err }

// ExplainValidity turns what crypto/x509 says about a certificate outside its time into a ValidityError, and leaves
// other errors as they are. now is the time of the verification, give or take.
func ExplainValidity(err error, now time.Time) error {
	if _, ok := errors.AsType[*ValidityError](err); ok {
		return err
	}
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	if !ok || invalid.Reason != x509.Expired || invalid.Cert == nil {
		return err
	}
	where, found := strings.CutSuffix(err.Error(), invalid.Error())
	if !found {
		where = ""
	}
	return &ValidityError{NotBefore: invalid.Cert.NotBefore, NotAfter: invalid.Cert.NotAfter, Now: now, Err: err, where: where}
}

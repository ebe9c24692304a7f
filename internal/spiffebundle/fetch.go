package spiffebundle

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// fetchTime bounds the time until an endpoint has answered in full: one that stalls is a fault as any other.
const fetchTime = 10 * time.Second

// NewClient gives a client for Fetch that believes an endpoint whose certificate these CAs vouch for, nil for the system's (SPIFFE
// Federation, profile https_web).
func NewClient(roots *x509.CertPool) *http.Client {
	return &http.Client{
		Timeout: fetchTime,
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2: true, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// CheckURL says what keeps an address from being that of a bundle.
func CheckURL(from string) error {
	r, err := http.NewRequest(http.MethodGet, from, http.NoBody) //nolint:noctx // is not sent
	switch {
	case err != nil:
		return err
	case r.URL.Scheme != "https" || r.URL.Host == "":
		return fmt.Errorf("%s: a bundle comes by https, such as https://spire.example/bundle", r.URL.Redacted())
	case r.URL.User != nil: // SPIFFE Federation §5.1.1
		return fmt.Errorf("%s: the address of a bundle has no user in it", r.URL.Redacted())
	}
	return nil
}

// Fetch asks an endpoint once, and gives at most one byte more than a bundle may have. An answer that leads elsewhere is none: it could
// be to a place without TLS.
func Fetch(ctx context.Context, from string, client *http.Client) ([]byte, error) {
	if err := CheckURL(from); err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from, http.NoBody)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", from, strings.ToValidUTF8(answer.Status, "?"))
	}
	return io.ReadAll(io.LimitReader(answer.Body, MaxBytes+1))
}

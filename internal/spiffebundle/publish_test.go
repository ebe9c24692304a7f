package spiffebundle_test

import (
	"context"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/spiffebundle"
)

// What is published is the newest version, asked for at most every ten seconds; what is no later version, or no answer, leaves the former.
func TestPublisher(t *testing.T) {
	t.Parallel()
	var roots []*x509.Certificate
	for range 2 {
		roots = append(roots, root(t, ellipticKey(t, elliptic.P256()), x509.Certificate{IsCA: true}))
	}
	var many []*x509.Certificate
	for range spiffebundle.MaxRoots + 1 {
		many = append(many, roots[0])
	}
	synctest.Test(t, func(t *testing.T) {
		var answer spiffebundle.Version
		var fault error
		var stalls bool
		var told []string
		asked := 0
		p := spiffebundle.NewPublisher(spiffebundle.PublisherOptions{
			Ask: func(ctx context.Context) (spiffebundle.Version, error) {
				asked++
				if stalls {
					<-ctx.Done()
					return answer, ctx.Err()
				}
				return answer, fault
			},
			Tell: func(err error) { told = append(told, fmt.Sprint(err)) },
		})
		get := func(method string) *http.Response {
			t.Helper()
			r := httptest.NewRecorder()
			p.ServeHTTP(r, httptest.NewRequest(method, "https://east.example/any", http.NoBody))
			return r.Result()
		}
		wants := func(when string, sequence string, want ...*x509.Certificate) {
			t.Helper()
			r := get(http.MethodGet)
			text := make([]byte, r.ContentLength)
			if n, err := r.Body.Read(text); err != nil || int64(n) != r.ContentLength || r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s: %d bytes, %v, status %d, %v", when, n, err, r.StatusCode, r.Header)
			}
			b, err := spiffebundle.Parse(text)
			if err != nil || !slices.EqualFunc(b.Roots, want, (*x509.Certificate).Equal) || b.RefreshHint != spiffebundle.PublishedRefresh || !strings.Contains(string(text), `"spiffe_sequence": `+sequence+",") {
				t.Errorf("%s: %v\n%s", when, err, text)
			}
		}
		fault = errors.New("nobody there")
		for range 3 {
			if r := get(http.MethodGet); r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Retry-After") != "10" {
				t.Errorf("before there is anything: status %d, %v", r.StatusCode, r.Header)
			}
		}
		if r := get(http.MethodPost); r.StatusCode != http.StatusMethodNotAllowed || r.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("POST: status %d, %v", r.StatusCode, r.Header)
		}
		if asked != 1 {
			t.Errorf("asked %d times at one moment", asked)
		}
		turn := func(v spiffebundle.Version, err error) {
			time.Sleep(10 * time.Second)
			answer, fault = v, err
		}
		turn(spiffebundle.Version{Roots: roots[:1], Sequence: 7}, nil)
		wants("the first", "7", roots[0])
		for _, bad := range []struct {
			v   spiffebundle.Version
			err error
		}{
			{err: errors.New("refused")},
			{v: spiffebundle.Version{Roots: roots, Sequence: 6}},
			{v: spiffebundle.Version{Roots: roots, Sequence: 7}},
			{v: spiffebundle.Version{Sequence: 8}},
			{v: spiffebundle.Version{Roots: many, Sequence: 8}},
		} {
			turn(bad.v, bad.err)
			wants(fmt.Sprint(bad), "7", roots[0])
			wants(fmt.Sprint(bad, " again"), "7", roots[0])
		}
		time.Sleep(10 * time.Second)
		stalls = true
		before := time.Now()
		wants("while nobody answers", "7", roots[0])
		if took := time.Since(before); took != 5*time.Second {
			t.Errorf("an answer took %s while nobody answers, want 5 s once", took)
		}
		stalls = false
		turn(spiffebundle.Version{Roots: roots, Sequence: 9}, nil)
		wants("another one", "9", roots...)
		want := []string{
			"nobody there", "<nil>", "refused", "version 6, after 7: whoever keeps the roots was set back", "other roots of the same version 7",
			"no roots", "101 roots, more than 100", "context deadline exceeded", "<nil>",
		}
		if !slices.Equal(told, want) {
			t.Errorf("told %q,\nwant %q", told, want)
		}
	})
}

package identity

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// signWith is a control plane: it signs whatever it gets for id, unless down says otherwise.
type signWith struct {
	ca    *authority
	id    ID
	ttl   time.Duration
	down  atomic.Bool
	calls atomic.Int64
}

func (s *signWith) sign(_ context.Context, csrDER []byte) (chain []byte, said Trust, err error) {
	s.calls.Add(1)
	if s.down.Load() {
		return nil, Trust{}, errors.New("connection refused")
	}
	csr, err := x509.ParseCertificateRequest(csrDER)
	if err != nil {
		return nil, Trust{}, err
	}
	chain, err = s.ca.sign(csr, s.id, s.ttl)
	return chain, Trust{Own: s.ca.roots()}, err
}

// runWorkload starts a Workload and stops it when the test ends; it may not be ready yet.
func runWorkload(tb testing.TB, o WorkloadOptions) *Workload {
	tb.Helper()
	if o.Logger == nil {
		o.Logger = quiet()
	}
	w, err := NewWorkload(o)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(tb.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			tb.Errorf("Run = %v, want %v", err, context.Canceled)
		}
	})
	return w
}

func readyWorkload(tb testing.TB, ca *authority, id ID) *Workload {
	tb.Helper()
	s := &signWith{ca: ca, id: id}
	w := runWorkload(tb, WorkloadOptions{Sign: s.sign, ID: id})
	<-w.Ready()
	return w
}

var (
	users  = ID{"cluster.local", "myapp", "users"}
	orders = ID{"cluster.local", "myapp", "orders"}
)

func TestRunRotatesWhileTrafficFlows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newAuthority(t)
		client, server := readyWorkload(t, ca, orders), readyWorkload(t, ca, users)
		clientConfig, serverConfig := client.ClientConfig(users.String()), server.ServerConfig()
		near, far := net.Pipe()
		established := handshakeOver(t, near, far, clientConfig, serverConfig).must(t)
		before, beforeKey := server.Current(), server.cert.Load().PrivateKey
		time.Sleep(certTTL * 4 / 10)
		if got := server.Current(); got != before {
			t.Errorf("rotated before half life: %+v", got)
		}
		time.Sleep(certTTL * 2 / 10)
		synctest.Wait()
		after := server.Current()
		if after.Serial == before.Serial || !after.NotAfter.After(before.NotAfter) {
			t.Errorf("after half life: %+v, still like %+v", after, before)
		}
		if server.cert.Load().PrivateKey == beforeKey {
			t.Error("the key was used again")
		}
		echo(t, established)
		near, far = net.Pipe()
		renewed := handshakeOver(t, near, far, clientConfig, serverConfig).must(t)
		echo(t, renewed)
		if got := renewed.client.ConnectionState().PeerCertificates[0].SerialNumber.Text(16); got != after.Serial {
			t.Errorf("new connection shows serial %s, want %s", got, after.Serial)
		}
	})
}

func TestRunKeepsTheOldCertificateWhileTheControlPlaneIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := &signWith{ca: newAuthority(t), id: users}
		w := runWorkload(t, WorkloadOptions{Sign: s.sign, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		<-w.Ready()
		before := w.Current()
		s.down.Store(true)
		time.Sleep(certTTL * 3 / 4)
		synctest.Wait()
		if got := w.Current(); got != before {
			t.Errorf("Current() = %+v, want the old %+v", got, before)
		}
		// A quarter of a day at one request per 30 s, give or take the jitter.
		if n := s.calls.Load(); n < 500 || n > 1000 {
			t.Errorf("%d requests while the control plane was away", n)
		}
		s.down.Store(false)
		time.Sleep(2 * maxRetry)
		synctest.Wait()
		if got := w.Current(); got.Serial == before.Serial {
			t.Error("not renewed after the control plane came back")
		}
		for _, want := range []string{"the old one stays in use", "connection refused", "not_after="} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("log does not mention %q", want)
			}
		}
		if strings.Contains(log.String(), "PRIVATE") {
			t.Error("the log contains a key")
		}
	})
}

// TestShortCertificateOutlivesThePauses: a control plane that comes back three seconds before a certificate ends renews it in time, however short it is.
func TestShortCertificateOutlivesThePauses(t *testing.T) {
	for _, ttl := range []time.Duration{30 * time.Second, 40 * time.Second, time.Minute, 10 * time.Minute} {
		t.Run(ttl.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &signWith{ca: newAuthority(t), id: users, ttl: ttl}
				w := runWorkload(t, WorkloadOptions{Sign: s.sign})
				<-w.Ready()
				before := w.Current()
				s.down.Store(true)
				time.Sleep(ttl - 3*time.Second)
				s.down.Store(false)
				time.Sleep(3*time.Second - time.Millisecond)
				synctest.Wait()
				if got := w.Current(); got.Serial == before.Serial {
					t.Errorf("not renewed, after %d requests", s.calls.Load())
				}
			})
		})
	}
}

func TestRunSaysWhenTheCertificateHasExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := &signWith{ca: newAuthority(t), id: users}
		w := runWorkload(t, WorkloadOptions{Sign: s.sign, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		<-w.Ready()
		s.down.Store(true)
		time.Sleep(certTTL + time.Minute)
		synctest.Wait()
		if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "has expired") {
			t.Error("no error in the log")
		}
		if w.Current().Valid(time.Now()) {
			t.Error("Current() calls an expired certificate valid")
		}
	})
}

func TestRunRefusesWhatTheControlPlaneShouldNotSend(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	foreign := sign(t, ca, users)
	for _, tc := range []struct {
		name string
		sign SignFunc
		log  string
	}{
		{name: "another_identity", sign: (&signWith{ca: ca, id: orders}).sign, log: "wrong identity"},
		{name: "a_certificate_for_another_key", sign: func(context.Context, []byte) ([]byte, Trust, error) {
			return EncodeCertificates(foreign.Leaf), Trust{Own: ca.roots()}, nil
		}, log: "for another key"},
		{name: "roots_that_do_not_fit", sign: func(ctx context.Context, csr []byte) ([]byte, Trust, error) {
			chain, _, err := (&signWith{ca: ca, id: users}).sign(ctx, csr)
			return chain, Trust{Own: other.roots()}, err
		}, log: "is not trusted here"},
		{name: "noise", sign: func(context.Context, []byte) ([]byte, Trust, error) { return []byte("hm"), Trust{}, nil }, log: "no PEM block"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				w := runWorkload(t, WorkloadOptions{Sign: tc.sign, ID: users, Logger: slog.New(slog.NewTextHandler(&log, nil))})
				time.Sleep(time.Second)
				synctest.Wait()
				if got := w.Current(); got.Serial != "" {
					t.Errorf("Current() = %+v, want nothing", got)
				}
				if !strings.Contains(log.String(), tc.log) {
					t.Errorf("log does not mention %q:\n%s", tc.log, log.String())
				}
			})
		})
	}
}

func TestSetTrustRotatesTheRoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		oldCA, newCA := newAuthority(t), newAuthority(t)
		s := &signWith{ca: oldCA, id: users}
		calls := 0
		w := runWorkload(t, WorkloadOptions{Logger: quiet(), Sign: func(ctx context.Context, csr []byte) ([]byte, Trust, error) {
			calls++
			if calls > 1 {
				s = &signWith{ca: newCA, id: users}
			}
			chain, _, err := s.sign(ctx, csr)
			if calls == 1 {
				return chain, Trust{Own: oldCA.roots()}, err
			}
			return chain, Trust{}, err
		}})
		<-w.Ready()
		both := append(newCA.roots(), oldCA.roots()...)
		if err := w.SetTrust(Trust{Own: both}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if calls != 1 || len(w.Roots()) != 2 {
			t.Fatalf("with both roots: %d requests, %d roots, want 1 and 2", calls, len(w.Roots()))
		}
		if err := w.SetTrust(Trust{Own: newCA.roots()}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if calls != 2 {
			t.Errorf("%d requests after the old root went, want 2", calls)
		}
		if _, err := w.trust.Load().verify(chainOf(w.cert.Load()), x509.ExtKeyUsageServerAuth); err != nil {
			t.Error(err)
		}
		if err := w.SetTrust(Trust{Own: []byte("noise")}); err == nil {
			t.Error("SetTrust(noise) was accepted")
		}
		if err := w.SetTrust(Trust{Own: EncodeCertificates(w.cert.Load().Leaf)}); err == nil {
			t.Error("SetTrust(leaf) was accepted")
		}
		if len(w.Roots()) != 1 {
			t.Errorf("%d roots after refused ones, want 1", len(w.Roots()))
		}
	})
}

func TestNewWorkloadRefuses(t *testing.T) {
	ok := (&signWith{}).sign
	for _, tc := range []struct {
		name string
		o    WorkloadOptions
		err  string
	}{
		{name: "no_sign", o: WorkloadOptions{Logger: quiet()}, err: "Sign is not set"},
		{name: "no_logger", o: WorkloadOptions{Sign: ok}, err: "Logger is not set"},
		{name: "half_an_id", o: WorkloadOptions{Sign: ok, Logger: quiet(), ID: ID{TrustDomain: "td"}}, err: "namespace"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := NewWorkload(tc.o)
			wantError(t, err, tc.err)
		})
	}
}

func TestRunSaysThatTheClocksDiffer(t *testing.T) {
	id := ID{"cluster.local", "myapp", "users"}
	now := time.Now()
	for _, tc := range []struct {
		name       string
		from, span time.Duration
		want       []string
	}{
		{name: "control_plane_an_hour_ahead", from: time.Hour, span: 25 * time.Hour, want: []string{
			"the certificate is not valid before " + stamp(now.Add(time.Hour)), "the clock here says ", "check the clocks of this machine and of the control plane",
		}},
		{name: "control_plane_two_days_behind", from: -48 * time.Hour, span: -24 * time.Hour, want: []string{
			"the certificate expired at " + stamp(now.Add(-24*time.Hour)), "the clock here says ", "or the clocks differ",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			// What a control plane with another clock signs, and what it shows in the handshake.
			ca := newAuthority(t)
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			shown := &x509.Certificate{NotBefore: now.Add(tc.from), NotAfter: now.Add(tc.span), URIs: []*url.URL{id.URI()}}
			der, err := x509.CreateCertificate(rand.Reader, shown, ca.signer, key.Public(), ca.key)
			if err != nil {
				t.Fatal(err)
			}
			leaf, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			tr, err := newTrust(Trust{Own: ca.roots()})
			if err != nil {
				t.Fatal(err)
			}
			_, signed := tr.verify([]*x509.Certificate{leaf}, x509.ExtKeyUsageClientAuth)

			var log bytes.Buffer
			w, err := NewWorkload(WorkloadOptions{
				Logger: slog.New(slog.NewTextHandler(&log, nil)),
				Sign: func(context.Context, []byte) (chain []byte, said Trust, err error) {
					pool := x509.NewCertPool()
					pool.AppendCertsFromPEM(ca.roots())
					_, err = leaf.Verify(x509.VerifyOptions{Roots: pool})
					return nil, Trust{}, fmt.Errorf("certificate from 10.0.0.1:15012: tls: failed to verify certificate: %w", err)
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			handshaken := w.rotate(t.Context())
			wantError(t, handshaken, "sign: certificate from 10.0.0.1:15012: tls: failed to verify certificate: the certificate ")
			for _, want := range tc.want {
				wantError(t, signed, want)
				wantError(t, handshaken, want)
			}
			if _, ok := errors.AsType[x509.CertificateInvalidError](handshaken); !ok {
				t.Errorf("%v hides the error of crypto/x509", handshaken)
			}
		})
	}
}

// What is used is handed over first; where that fails the certificate is not used, and another one is asked for.
func TestUsedIsTheCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &signWith{ca: newAuthority(t), id: users}
		used, full := make(chan *tls.Certificate, 3), true
		w := runWorkload(t, WorkloadOptions{Sign: s.sign, Used: func(cert *tls.Certificate, said Trust) error {
			used <- cert
			if full {
				full = false
				return errors.New("the disk is full")
			}
			chain, key, err := EncodeCertificate(cert)
			if err != nil {
				return err
			}
			again, err := tls.X509KeyPair(chain, key)
			if err != nil || !slices.EqualFunc(again.Certificate, cert.Certificate, bytes.Equal) {
				t.Errorf("read again: %v", err)
			}
			if !bytes.Equal(said.Own, s.ca.roots()) {
				t.Errorf("roots %q", said.Own)
			}
			return nil
		}})
		<-w.Ready()
		if n := len(used); n != 2 || <-used == nil || w.cert.Load() != <-used {
			t.Errorf("handed over %d times, or another one than is in use", n)
		}
		time.Sleep(certTTL * 6 / 10)
		synctest.Wait()
		if n := len(used); n != 1 || w.cert.Load() != <-used {
			t.Errorf("after a rotation handed over %d times, or another one than is in use", n)
		}
	})
}

// New roots are handed over when they come, with the certificate that is in use; where that fails they are handed over again.
func TestNewRootsAreHandedOverAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &signWith{ca: newAuthority(t), id: users}
		type handed struct {
			cert  *tls.Certificate
			roots string
		}
		var all []handed
		var full atomic.Bool
		w := runWorkload(t, WorkloadOptions{Sign: s.sign, Used: func(cert *tls.Certificate, said Trust) error {
			all = append(all, handed{cert, string(said.Of("east.example"))})
			if full.Load() {
				return errors.New("the disk is full")
			}
			return nil
		}})
		<-w.Ready()
		synctest.Wait()
		trust := func(others ...Bundle) {
			t.Helper()
			if err := w.SetTrust(Trust{Own: s.ca.roots(), Others: others}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		own, east := string(s.ca.roots()), newAuthority(t).roots()
		trust() // the same
		if len(all) != 1 {
			t.Fatalf("handed over %d times for the first certificate, want once", len(all))
		}
		trust(Bundle{TrustDomain: "east.example", Roots: east})
		if want := (handed{w.cert.Load(), own + "\n" + string(east)}); len(all) != 2 || all[1] != want {
			t.Fatalf("%d times, want once more, with the new roots and the same certificate", len(all))
		}
		full.Store(true)
		trust()
		full.Store(false)
		time.Sleep(clockCheck + time.Second)
		synctest.Wait()
		if want := (handed{w.cert.Load(), own}); len(all) != 4 || all[3] != want {
			t.Fatalf("%d times, want twice more, as the first failed", len(all))
		}
		time.Sleep(10 * clockCheck)
		synctest.Wait()
		if len(all) != 4 {
			t.Errorf("handed over %d times without a change", len(all)-4)
		}
	})
}

package incluster

import (
	"context"
	"crypto/x509"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/ca"
)

// followed runs an Authority and keeps what it gives out.
type followed struct {
	mu    sync.Mutex
	given []*ca.CA
}

func follow(tb testing.TB, a *api, l *logs) *followed {
	tb.Helper()
	f := &followed{}
	authority := newAuthority(tb, a, l, "")
	ca, err := authority.LoadOrCreate(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	f.use(ca)
	background(tb, func(ctx context.Context) {
		if err := authority.Run(ctx, f.use); err != ctx.Err() { //nolint:errorlint // exactly this one
			tb.Errorf("Run = %v", err)
		}
	})
	return f
}

func (f *followed) use(ca *ca.CA) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.given = append(f.given, ca)
}

func (f *followed) now() *ca.CA {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.given[len(f.given)-1]
}

func (f *followed) changes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.given) - 1
}

// TestRunMovesToAnotherCA replaces the CA that was made by one that a user brings, and that by another. At every
// moment, whatever can still be in force is accepted by every peer that has had ten seconds to hear of it.
func TestRunMovesToAnotherCA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l := newAPI(t), &logs{}
		f := follow(t, a, l)
		first := f.now()
		fromFirst := signed(t, first)

		x := makeCA(t, certOptions{name: "x"})
		a.put(pluggedPath, plugged(t, x, x.pem()))
		time.Sleep(pollPeriod + short)
		if !f.now().SameSigner(first) {
			t.Error("the new CA signs before its root was handed out")
		}
		both := f.now().Roots()
		time.Sleep(overlap + pollPeriod)
		second := f.now()
		if second.SameSigner(first) {
			t.Error("the new CA does not sign after its root was handed out")
		}
		fromSecond := signed(t, second)
		if !trusts(both, fromFirst) || !trusts(both, fromSecond) || !trusts(second.Roots(), fromFirst) {
			t.Error("peers refuse each other during the change")
		}

		y := makeCA(t, certOptions{name: "y"})
		a.put(pluggedPath, plugged(t, y, y.pem()))
		time.Sleep(overlap + 2*pollPeriod)
		third := f.now()
		fromThird := signed(t, third)
		for _, chain := range [][]*x509.Certificate{fromFirst, fromSecond, fromThird} {
			if !trusts(third.Roots(), chain) {
				t.Errorf("a certificate by %s is refused", chain[0].Issuer)
			}
		}
		time.Sleep(45 * time.Minute)
		if !trusts(f.now().Roots(), fromSecond) {
			t.Error("the root of certificates that are still valid was given up")
		}
		time.Sleep(15 * time.Minute)
		if roots := string(f.now().Roots()); roots != string(y.pem())+string(first.Roots()) {
			t.Errorf("roots are\n%s, want the new one and, as long as its Secret is there, the first", roots)
		}
		a.delete(ownPath)
		time.Sleep(pollPeriod + short)
		if roots := string(f.now().Roots()); roots != string(y.pem()) {
			t.Errorf("roots are\n%s, want only the new one", roots)
		}
		if got := f.changes(); got != 6 {
			t.Errorf("%d changes, want 6: twice a root, twice a signer, twice a root less", got)
		}
	})
}

func TestRunTakesOtherRootsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l := newAPI(t), &logs{}
		x, y := makeCA(t, certOptions{name: "x"}), makeCA(t, certOptions{name: "y"})
		a.put(pluggedPath, plugged(t, x, x.pem()))
		f := follow(t, a, l)
		a.put(pluggedPath, plugged(t, x, x.pem(), y.pem()))
		time.Sleep(pollPeriod + short)
		if got := f.now(); got.RootCount() != 2 {
			t.Errorf("%d roots, want 2", got.RootCount())
		}
		a.put(pluggedPath, plugged(t, x, x.pem()))
		time.Sleep(pollPeriod + short)
		if got := f.now(); got.RootCount() != 1 {
			t.Errorf("%d roots, want 1", got.RootCount())
		}
	})
}

func TestRunForgetsACAThatIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l := newAPI(t), &logs{}
		f := follow(t, a, l)
		first := f.now()
		x := makeCA(t, certOptions{name: "x"})
		a.put(pluggedPath, plugged(t, x, x.pem()))
		time.Sleep(overlap / 2)
		a.delete(pluggedPath)
		time.Sleep(2 * overlap)
		if got := f.now(); !same(got, first) || f.changes() != 2 {
			t.Errorf("%d changes, want 2 and the first CA", f.changes())
		}
		if lines := l.with("the new CA is gone again"); len(lines) != 1 {
			t.Errorf("logged %q", l.lines())
		}
	})
}

func TestRunKeepsItsCAWhenTheSecretIsBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l := newAPI(t), &logs{}
		f := follow(t, a, l)
		a.put(pluggedPath, secret(map[string][]byte{"ca-cert.pem": []byte("x"), "ca-key.pem": []byte("x"), "root-cert.pem": []byte("x")}))
		time.Sleep(time.Hour)
		if f.changes() != 0 {
			t.Error("the CA has changed")
		}
		if lines := l.with("the former one stays in use", "secret fairlead-system/cacerts: ca-key.pem: no PEM block"); len(lines) != 1 {
			t.Errorf("want one line, got %q", l.lines())
		}
	})
}

func TestRunMakesANewCAWhereTheSecretWasDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l := newAPI(t), &logs{}
		one, two := follow(t, a, l), follow(t, a, l)
		first := one.now()
		a.delete(ownPath)
		time.Sleep(overlap + 2*pollPeriod)
		if one.now().SameSigner(first) || !same(one.now(), two.now()) {
			t.Error("the replicas have not moved to the same new CA")
		}
		if !trusts(one.now().Roots(), signed(t, first)) {
			t.Error("certificates by the former CA are refused")
		}
	})
}

func TestRunDoesNotWaitForASignerThatHasExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l := newAPI(t), &logs{}
		x := makeCA(t, certOptions{name: "x", to: time.Hour})
		a.put(pluggedPath, plugged(t, x, x.pem()))
		f := follow(t, a, l)
		time.Sleep(50 * time.Minute)
		if lines := l.with("CA certificate expires soon"); len(lines) != 1 {
			t.Errorf("want one warning, got %q", l.lines())
		}
		time.Sleep(20 * time.Minute)
		if lines := l.with("ca-cert.pem: the CA certificate expired at"); len(lines) == 0 {
			t.Errorf("nothing said about the end: %q", l.lines())
		}
		y := makeCA(t, certOptions{name: "y"})
		a.put(pluggedPath, plugged(t, y, y.pem()))
		time.Sleep(pollPeriod + short)
		signed(t, f.now())
	})
}

package identity

import (
	"cmp"
	"crypto/tls"
	"errors"
	"testing"
)

// A root vouches for the trust domain that it was given for, and for no other, at both ends of a connection. Several of one trust
// domain are put together.
func TestRootsVouchForTheirTrustDomain(t *testing.T) {
	west, twin, east, heir := newAuthority(t), newAuthority(t), newAuthority(t), newAuthority(t)
	said := Trust{Own: west.roots(), Others: []Bundle{
		{TrustDomain: "west.example", Roots: twin.roots()},
		{TrustDomain: "east.example", Roots: east.roots()},
		{TrustDomain: "east.example", Roots: heir.roots()},
		{TrustDomain: "far.example", Roots: east.roots()},
	}}
	of := func(domain string) ID { return ID{domain, "myapp", "users"} }
	const misplaced = "is trusted here for trust domain "
	for _, tt := range []struct {
		name   string
		signer *authority
		domain string
		err    string // what the verifier says, empty where it accepts
		caller string // what it says of a caller, where that is something else
	}{
		{"own root, own domain", west, "west.example", "", ""},
		{"own root, an alias", west, "east.example", "", ""},
		{"another cluster's root of the own domain", twin, "west.example", "", ""},
		{"the domain's root", east, "east.example", "", ""},
		{"the domain's other root", heir, "east.example", "", ""},
		{"another domain's root, own domain", east, "west.example", misplaced + "east.example and far.example, not for west.example", ""},
		{"another cluster's root of the own domain, an alias", twin, "east.example", misplaced + "west.example, not for east.example", ""},
		{"a domain's root, an alias without roots", east, "old.example", misplaced + "east.example and far.example, not for old.example", ""},
		{"a domain that is no alias, a server by its name", east, "far.example", "", ErrForeignDomain.Error()},
		{"no root that is known", newAuthority(t), "east.example", "is not trusted here", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			verifier := readyWorkload(t, west, of("west.example"))
			verifier.SetPeerDomains([]string{"west.example", "east.example", "old.example"})
			if err := verifier.SetTrust(said); err != nil {
				t.Fatal(err)
			}
			peer := sign(t, tt.signer, of(tt.domain))
			lenient := &tls.Config{
				MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*peer}, InsecureSkipVerify: true, ClientAuth: tls.RequireAnyClientCert,
				NextProtos: []string{ALPNMesh},
			}
			for role, err := range map[string]error{
				"server": handshake(t, lenient, verifier.ServerConfig()).serverErr,
				"client": handshake(t, verifier.ClientConfig(of(tt.domain).String()), lenient).clientErr,
			} {
				want := tt.err
				if role == "server" {
					want = cmp.Or(tt.caller, tt.err)
				}
				if want == "" {
					if err != nil {
						t.Errorf("as %s: %v", role, err)
					}
					continue
				}
				wantError(t, err, want)
				if misplacedErr, ok := errors.AsType[*MisplacedRootError](err); ok {
					wantError(t, err, "got "+of(tt.domain).String()+": its root "+misplacedErr.Root+" "+misplaced)
					wantError(t, err, `"CN=root"`)
				}
			}
		})
	}
}

// What the mesh's own roots vouch for beside workloads, the roots of others do not, and what they say ends with them.
func TestRootsOfOthersAreNoOwnOnes(t *testing.T) {
	west, east := newAuthority(t), newAuthority(t)
	w := readyWorkload(t, west, ID{"west.example", "myapp", "users"})
	w.SetPeerDomains([]string{"west.example", "east.example"})
	both := Trust{Own: west.roots(), Others: []Bundle{{TrustDomain: "east.example", Roots: east.roots()}}}
	if err := w.SetTrust(both); err != nil {
		t.Fatal(err)
	}
	if got := w.Roots(); len(got) != 2 || got[0].TrustDomain != "" || got[1].TrustDomain != "east.example" {
		t.Errorf("Roots() = %+v", got)
	}
	pool := poolOf()
	w.AddRoots(pool)
	if want := poolOf(w.trust.Load().own); !pool.Equal(want) {
		t.Error("roots of others are among those of the control plane")
	}
	if got, want := string(both.Of("east.example")), string(west.roots())+"\n"+string(east.roots()); got != want {
		t.Errorf("Of(east.example) = %s", got)
	}
	if got := string(both.Of("west.example")); got != string(west.roots()) {
		t.Errorf("Of(west.example) = %s", got)
	}
	peer := chainOf(sign(t, east, ID{"east.example", "myapp", "orders"}))
	if err := w.verify(peer, 0, nil); err != nil {
		t.Error(err)
	}
	if err := w.SetTrust(Trust{Own: west.roots()}); err != nil {
		t.Fatal(err)
	}
	wantError(t, w.verify(peer, 0, nil), "is not trusted here")
	wantError(t, w.SetTrust(Trust{Own: west.roots(), Others: []Bundle{{TrustDomain: "east.example", Roots: []byte("x")}}}), `of trust domain "east.example": trust bundle: `)
}

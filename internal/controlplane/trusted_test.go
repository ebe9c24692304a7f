package controlplane

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/ca"
)

// What Secrets say of other clusters' roots is trusted beside the own CA's, whichever is known first, and no longer than they say
// so; what cannot be used leaves the former roots.
func TestRootsOfOtherClusters(t *testing.T) {
	making := func() *ca.CA {
		t.Helper()
		c, err := ca.LoadOrCreate(t.TempDir(), ca.Options{TrustDomain: "cluster.local", Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	own, east, north := making(), making(), making()
	var log strings.Builder
	var now *ca.CA
	w := &trusted{log: slog.New(slog.NewTextHandler(&log, nil)), use: func(c *ca.CA) { now = c }}
	trusts := func(when string, want ...*ca.CA) {
		t.Helper()
		if now == nil || now.RootCount() != len(want) || !now.SameSigner(own) {
			t.Fatalf("%s: %v, want %d roots and the own signer", when, now, len(want))
		}
		if !bytes.Equal(now.OwnRoots(), own.Roots()) {
			t.Errorf("%s: roots of other clusters are taken for own ones", when)
		}
		for _, c := range want {
			if !strings.Contains(string(now.Roots()), strings.TrimSpace(string(c.Roots()))) {
				t.Errorf("%s: a root is missing", when)
			}
		}
	}
	w.set("one", map[string][]byte{"east": east.Roots()})
	if now != nil {
		t.Fatal("in force before there is an own CA")
	}
	w.from(own)
	trusts("at first", own, east)
	w.set("two", map[string][]byte{"north": north.Roots()})
	trusts("another Secret", own, east, north)
	w.set("one", map[string][]byte{"east": []byte("no certificate")})
	trusts("what cannot be used", own, east, north)
	if !strings.Contains(log.String(), "secret=one cluster=east") || !strings.Contains(log.String(), "multicluster trust --name east") {
		t.Errorf("the log does not say what is wrong:\n%s", log.String())
	}
	w.set("one", nil)
	trusts("the first is gone", own, north)
	w.from(own)
	trusts("the own CA anew", own, north)
	w.set("two", map[string][]byte{})
	trusts("all are gone", own)
}

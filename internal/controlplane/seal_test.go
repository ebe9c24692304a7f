package controlplane

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/ca"
	"fairlead.dev/fairlead/internal/plan"
)

const sessionManifests = `apiVersion: v1
kind: Service
metadata: {name: carts, namespace: myapp, labels: {istio.io/persistent-session: cart}, annotations: {networking.istio.io/exportTo: "."}}
spec: {clusterIP: 10.96.0.8, selector: {app: carts}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: open, namespace: myapp, labels: {istio.io/persistent-session: cart}}
spec: {clusterIP: 10.96.0.9, selector: {app: carts}, ports: [{name: http, port: 80, targetPort: 8080}]}
`

// sealed gives the keys of a seal that a proxy has, nil where it has none.
func (p *proxy) sealed(name string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, _ := p.state[name].(*plan.Seal)
	if s == nil {
		return nil
	}
	return s.Keys
}

// Keys come with the destinations that need them, to the clients that may call them; no client gets them by asking.
func TestSealsComeWithDestinations(t *testing.T) {
	w := start(t, "carts.yaml", sessionManifests)
	const carts, open = "seal/carts.myapp.svc.cluster.local", "seal/open.myapp.svc.cluster.local"
	owner, thief := newProxy(), newProxy()
	one, other := w.clientIn(t, "myapp", "teller", owner), w.clientIn(t, "elsewhere", "thief", thief)
	run(t, one)
	run(t, other)
	await(t, one, "ip/10.96.0.8:80", "ip/10.96.0.9:80")
	await(t, other, carts, "ip/10.96.0.8:80", "dst/myapp/carts.myapp.svc.cluster.local:80?ns=myapp", "ip/10.96.0.9:80")
	if got := thief.sealed(carts); got != nil {
		t.Errorf("another namespace has %d keys of a Service that it cannot see", len(got))
	}
	a, b := owner.sealed(carts), owner.sealed(open)
	if len(a) != 3 || len(b) != 3 || slices.Equal(a, b) {
		t.Fatalf("%d and %d keys, equal for both hosts: %v", len(a), len(b), slices.Equal(a, b))
	}
	if got := thief.sealed(open); !slices.Equal(got, b) {
		t.Error("callers of one host have other keys")
	}
	for where, text := range map[string]string{"a page": w.get(t, "/debug/endpointz"), "the log": w.log.String()} {
		if strings.Contains(text, a[0]) {
			t.Errorf("%s has a key: %s", where, text)
		}
	}
}

// Replicas have the same keys at the same time, and open what the others seal around the change.
func TestSealKeys(t *testing.T) {
	one, err := ca.LoadOrCreate(t.TempDir(), ca.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	at := func(of *ca.CA, now time.Time) []string {
		t.Helper()
		keys, err := sealsOf(of, now)
		if err != nil {
			t.Fatal(err)
		}
		return keys.seal("seal/users").(*plan.Seal).Keys
	}
	change := time.Unix(700*int64(sealAge/time.Second), 0)
	before, after, later := at(one, change.Add(-time.Second)), at(one, change), at(one, change.Add(sealAge))
	if !slices.Equal(after, at(one, change.Add(sealAge-time.Second))) {
		t.Error("keys change more often than they are to")
	}
	for name, list := range map[string][2][]string{"a_clock_that_is_behind": {after, before}, "one_that_is_ahead": {before, after}, "the_next_age": {after, later}} {
		if slices.Equal(list[0], list[1]) || list[0][0] == list[1][0] || !slices.Contains(list[1], list[0][0]) {
			t.Errorf("%s: what is sealed with one is not opened by the other", name)
		}
	}
	if slices.Contains(at(one, change.Add(2*sealAge)), after[0]) {
		t.Error("a key opens for longer than it is to")
	}
	other, err := ca.LoadOrCreate(t.TempDir(), ca.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if at(other, change)[0] == after[0] {
		t.Error("two CAs have one key")
	}
	if sealKeys(nil).seal("seal/users") != nil {
		t.Error("keys without a CA")
	}
}

// Another CA does not end what was begun under the one before, however often the new one is read.
func TestSealingAcrossCAs(t *testing.T) {
	load := func(dir string) *ca.CA {
		t.Helper()
		c, err := ca.LoadOrCreate(dir, ca.Options{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	old, next := t.TempDir(), t.TempDir()
	now := time.Now()
	var s sealing
	first, err := s.keys(load(old), now)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		keys, err := s.keys(load(next), now)
		if err != nil {
			t.Fatal(err)
		}
		if len(keys) != 6 || bytes.Equal(keys[0], first[0]) || !slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, first[0]) }) {
			t.Fatalf("%d keys, and what the former CA's has sealed is not opened", len(keys))
		}
	}
}

package mirror_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/mirror"
	"fairlead.dev/fairlead/internal/store"
)

// slice puts an EndpointSlice of a Service of cluster east there, with an endpoint for each hostname; one that is written with a ! is not ready,
// and "-" has none.
func (w *world) slice(name, service string, hostnames ...string) {
	w.Helper()
	var endpoints []string
	for i, h := range hostnames {
		host, ready := strings.CutSuffix(h, "!")
		e := fmt.Sprintf("addresses: [10.2.%d.%d], conditions: {ready: %v}", i/250, i%250+1, !ready)
		if host != "-" {
			e += ", hostname: " + host
		}
		endpoints = append(endpoints, "{"+e+"}")
	}
	var in discoveryv1.EndpointSlice
	if err := yaml.UnmarshalStrict(fmt.Appendf(nil, "{metadata: {name: %s, namespace: myapp, labels: {kubernetes.io/service-name: %s}}, addressType: IPv4, ports: [{name: http, port: 80}], endpoints: [%s]}",
		name, service, strings.Join(endpoints, ", ")), &in); err != nil {
		w.Fatal(err)
	}
	w.put("east", "EndpointSlice", name, "myapp", &in)
}

// decideHeadless is decide where headless Services are mirrored as such.
func (w *world) decideHeadless() mirror.Decision {
	o := options()
	o.Headless = true
	return mirror.Decide(store.NewReader(w.store.Snapshot()), o)
}

// names tells in short what there is to be.
func names(d mirror.Decision) string {
	var b strings.Builder
	for i := range d.Services {
		s := &d.Services[i]
		fmt.Fprintf(&b, "%s of %s", s.Key.Name, s.Annotations["mirror.linkerd.io/remote-svc-fq-name"])
		if of := s.Labels["mirror.linkerd.io/headless-mirror-svc-name"]; of != "" {
			fmt.Fprintf(&b, " in %s", of)
		}
		if s.ByGateway {
			fmt.Fprintf(&b, " by %v", s.Gateways)
		}
		if s.Headless {
			b.WriteString(" headless")
			for _, p := range s.Pods {
				fmt.Fprintf(&b, " %s/%d/%v", p.Hostname, len(p.Addresses), p.Ready)
			}
		}
		b.WriteString("\n")
	}
	for _, k := range d.Gone {
		fmt.Fprintf(&b, "gone %s\n", k.Name)
	}
	for _, l := range d.Links {
		for _, o := range d.Status[l.Ref].Mirrors {
			fmt.Fprintf(&b, "%s -> %s %s", o.Remote.Name, o.Local.Name, o.Reason)
			if !o.Holds {
				b.WriteString(": " + o.Message)
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

const (
	headlessSpec = "clusterIP: None, ports: [{name: http, port: 80}]"
	byGateway    = "mirror.linkerd.io/exported: 'true'"
)

// A headless Service has a headless mirror once its pods go by hostnames, and keeps it while it has none: they have mirrors of their
// own, whose addresses the headless one has as soon as they have any.
func TestHeadlessMirrors(t *testing.T) {
	w := newWorld(t)
	w.link("east", eastLink)
	w.service("east", "db", byGateway, headlessSpec)
	step := func(name, want string) mirror.Decision {
		t.Helper()
		d := w.decideHeadless()
		if diff := cmp.Diff(want, names(d)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
		w.apply(d)
		return d
	}
	step("no endpoints yet", "db -> db-east NoEndpoints: it is headless, and has no endpoints yet that would say whether its pods have hostnames\n")
	w.slice("db-1", "db", "db-1!", "db-0", "-")
	pod := func(n int) string {
		return fmt.Sprintf("db-%d-east of db-%[1]d.db.myapp.svc.cluster.local in db-east by [192.0.2.1:15443]\n", n)
	}
	step("two pods with names", pod(0)+pod(1)+"db-east of db.myapp.svc.cluster.local by [192.0.2.1:15443] headless db-0/0/true db-1/0/false\ndb -> db-east Mirrored\n")
	step("their mirrors are there", pod(0)+pod(1)+"db-east of db.myapp.svc.cluster.local by [192.0.2.1:15443] headless db-0/2/true db-1/2/false\ndb -> db-east Mirrored\n")
	w.slice("db-1", "db", "db-1")
	step("one is gone", pod(1)+"db-east of db.myapp.svc.cluster.local by [192.0.2.1:15443] headless db-1/2/true\ngone db-0-east\ndb -> db-east Mirrored\n")
	w.slice("db-1", "db")
	step("none is there", "db-east of db.myapp.svc.cluster.local by [192.0.2.1:15443] headless\ngone db-1-east\ndb -> db-east Mirrored\n")
	w.slice("db-1", "db", "-")
	step("pods without names", "db-east of db.myapp.svc.cluster.local by [192.0.2.1:15443]\ndb -> db-east Mirrored\n")
	w.slice("db-1", "db")
	step("still a Service with an address", "db-east of db.myapp.svc.cluster.local by [192.0.2.1:15443]\ndb -> db-east Mirrored\n")
	w.slice("db-1", "db", "db-0")
	if d := w.decide(); len(d.Services) != 1 || d.Services[0].Headless {
		t.Errorf("unless asked for: %s", names(d))
	}
}

// What a pod is not mirrored for is said, and the others are.
func TestPodsWithoutMirror(t *testing.T) {
	w := newWorld(t)
	w.link("east", "targetClusterName: east")
	long := strings.Repeat("x", 59)
	const direct = "mirror.linkerd.io/exported: remote-discovery"
	w.service("east", "db", direct, headlessSpec)
	w.service("east", "db-1", direct, "")
	w.slice("db-1", "db", "db-0", "db-1", "db-2", long)
	w.service("", "db-2-east", "app: mine", "")
	want := "db-0-east of db-0.db.myapp.svc.cluster.local in db-east\ndb-1-east of db-1.myapp.svc.cluster.local\n" +
		"db-east of db.myapp.svc.cluster.local headless db-0/0/true\ndb -> db-east Mirrored\ndb-1 -> db-1-east Mirrored\n" +
		"db -> db-1-east Taken: Service myapp/db-1-east is the mirror of db-1.myapp.svc.cluster.local\n" +
		"db -> db-2-east Foreign: Service myapp/db-2-east was not made as a mirror: it stays as it is\n" +
		"db -> " + long + "-east InvalidName: " + long + "-east has 64 characters, a Service at most 63\n"
	if diff := cmp.Diff(want, names(w.decideHeadless())); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Pods count against what a Link may bring about.
func TestTooManyPods(t *testing.T) {
	w := newWorld(t)
	w.link("east", eastLink)
	w.service("east", "db", byGateway, headlessSpec)
	for i := range 3 {
		var hostnames []string
		for j := range 900 {
			hostnames = append(hostnames, fmt.Sprintf("db-%d", i*900+j))
		}
		w.slice(fmt.Sprintf("db-%d", i), "db", hostnames...)
	}
	d := w.decideHeadless()
	l := d.Status[d.Links[0].Ref].Mirrors
	if len(d.Services) != mirror.MaxMirrors || len(l) != 2 || l[1].Reason != "TooMany" {
		t.Errorf("%d mirrors, %+v", len(d.Services), l)
	}
}

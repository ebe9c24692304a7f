package model

import (
	"net/netip"
	"strings"
)

// HostCandidates gives the full names that a host written in an object of the given namespace may stand for, best
// first and never empty. It looks nothing up: the compiler, which knows what exists, takes the first that does.
//
//	users                          users.<namespace>.svc.<clusterDomain>
//	users.myapp                    as written, then users.myapp.svc.<clusterDomain>
//	users.myapp.svc                as written, then users.myapp.svc.<clusterDomain>
//	users.myapp.svc.cluster.local  as written
//	*, *.example.com, 10.1.2.3     as written
//
// A name without a dot belongs to the object's own namespace, as Istio reads it. Istio takes every other name for a
// full one, which refuses the "service.namespace" that the cluster's DNS accepts; "httpbin.org" has the same form,
// so both readings are offered, the written one first: it can only exist where a ServiceEntry declares it.
//
// The result is idempotent: the candidates of a candidate start with itself.
func HostCandidates(written, namespace, clusterDomain string) []Hostname {
	h := CanonicalHost(written)
	labels := strings.Count(string(h), ".") + 1
	switch {
	case h == "" || h.Wildcard() || isAddress(h):
		return []Hostname{h}
	case labels == 1:
		return []Hostname{ServiceHost(string(h), namespace, clusterDomain)}
	case labels == 2:
		return []Hostname{h, h + ".svc." + Hostname(clusterDomain)}
	case labels == 3 && strings.HasSuffix(string(h), ".svc"):
		return []Hostname{h, h + "." + Hostname(clusterDomain)}
	}
	return []Hostname{h}
}

// ServiceHost is the full name of a Kubernetes Service.
func ServiceHost(service, namespace, clusterDomain string) Hostname {
	return CanonicalHost(service + "." + namespace + ".svc." + clusterDomain)
}

// CanonicalHost is the written name in lower case without its trailing dot: names compare without case (RFC 4343),
// and "users." and "users" are looked up alike.
func CanonicalHost(written string) Hostname {
	return Hostname(strings.ToLower(strings.TrimSuffix(written, ".")))
}

func isAddress(h Hostname) bool {
	_, err := netip.ParseAddr(string(h))
	return err == nil
}

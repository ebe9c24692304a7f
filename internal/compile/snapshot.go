package compile

import (
	"cmp"
	"net/netip"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// snapshot is the model at one moment: what is the same for every client.
type snapshot struct {
	r *store.Reader
	g Global
}

func (m snapshot) rootNamespace() string { return cmp.Or(m.g.RootNamespace, DefaultRootNamespace) }

// spellings lists the ways in which an object may name h: a Service's full name also goes as "svc.ns" and
// "svc.ns.svc" (see model.HostCandidates), except where a ServiceEntry declares a host of that name.
func (m snapshot) spellings(h model.Hostname) []model.Hostname {
	out := []model.Hostname{h}
	short, ok := strings.CutSuffix(string(h), ".svc."+m.g.ClusterDomain)
	if !ok || h.Wildcard() || strings.Count(short, ".") != 1 {
		return out
	}
	for _, alias := range []model.Hostname{model.Hostname(short), model.Hostname(short + ".svc")} {
		if len(m.r.ServicesByHost(alias)) == 0 {
			out = append(out, alias)
		}
	}
	return out
}

// kubernetesService gives the Service object of that name, or nil.
func (m snapshot) kubernetesService(k model.Key) *model.Service {
	for _, s := range m.r.ServicesByKey(k) {
		if isKubernetes(s) && !s.Imported() {
			return s
		}
	}
	return nil
}

// addresses lists the addresses by which s is called, the automatic ones where it has no other. A Service that only other
// clusters have is called by those too, and one that clusters have exported.
func (m snapshot) addresses(s *model.Service) []netip.Addr {
	var out []netip.Addr
	for _, vip := range s.VIPs {
		if vip.IsSingleIP() {
			out = append(out, vip.Addr().Unmap())
		}
	}
	if len(s.VIPs) > 0 || isKubernetes(s) && s.Origin.Cluster == "" && !s.Imported() && s.Mirror == nil {
		return out
	}
	if auto, ok := m.r.AutoAddress(s.Key.Namespace, s.Host); ok {
		out = append(out, auto...)
	}
	return out
}

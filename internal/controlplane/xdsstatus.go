package controlplane

import (
	"strings"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/xds"
)

// proxies lists the connected clients.
func (s *standard) proxies() []admin.Proxy {
	var list []admin.Proxy
	for _, c := range s.server.Status() {
		list = append(list, proxyOf(&c))
	}
	return list
}

func proxyOf(c *xds.ClientStatus) admin.Proxy {
	v := admin.Proxy{
		ID: c.Peer.String(), Namespace: c.Peer.Namespace, ServiceAccount: c.Peer.ServiceAccount, Version: c.Node.Agent, Node: c.Node.ID,
		ConnectedSince: c.Since, State: admin.Synced, Names: map[string]int{}, Resources: map[string]int{},
	}
	if len(c.Types) == 0 {
		v.State = admin.Stale
	}
	for _, t := range c.Types {
		kind := strings.ToLower(t.Type.String())
		v.Names[kind], v.Resources[kind] = t.Names, t.Resources
		if t.Wildcard {
			v.Names[kind] = max(t.Names, t.Resources)
		}
		sync := admin.TypeSync{
			Type: t.Type.String(), State: admin.Synced, Sent: t.Sent, InForce: t.InForce, Resources: t.Resources, NotFollowed: t.Over,
		}
		switch {
		case t.Refusal != nil:
			sync.State, v.State = admin.Refusing, admin.Refusing
			v.Refused = append(v.Refused, admin.Refusal{Resource: sync.Type, Version: t.Refusal.Version, Reason: t.Refusal.Reason, At: t.Refusal.At})
		case !t.Synced:
			sync.State = admin.Stale
			if v.State == admin.Synced {
				v.State = admin.Stale
			}
		}
		v.Types = append(v.Types, sync)
	}
	return v
}

// problems are what clients refuse.
func (s *standard) problems() (list []model.Problem) {
	for _, c := range s.server.Status() {
		for _, t := range c.Types {
			if t.Refusal != nil {
				list = append(list, model.Problem{
					Ref:      model.Ref{Kind: "Proxy", Key: model.Key{Namespace: c.Peer.Namespace, Name: c.Peer.Pod}},
					Severity: model.Warning, Field: t.Type.String(), Message: "refused by " + c.Node.Agent + ": " + t.Refusal.Reason,
					Fix: "the client keeps the previous version; look at the object that the resource comes from",
				})
			}
		}
	}
	return list
}

package compile

import (
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// Client is who asks, from its verified identity.
type Client struct {
	Namespace string
	// Pod is the client's own pod, empty where its token is not bound to one.
	Pod string
}

// MayRead reports whether the client may read what a name leads to. What Resolve gives is for every pod of a namespace;
// an inbound policy is for its own pod alone.
func (c Client) MayRead(name string) bool {
	n, ok := plan.ParseName(name)
	if !ok { // leads nowhere, and is not even looked for where it resembles what only some clients may read
		switch plan.KindOf(name) {
		case plan.NameDestination, plan.NamePod, plan.NameInbound, plan.NameShard, plan.NameSeal, plan.NameCredential, plan.NameRoots:
			return false
		case plan.NameWorkload, plan.NameAddress, plan.NameHost, plan.NameDNS, plan.NameTrust, plan.NameMesh, plan.NamePassage, plan.NameUnknown:
			return true
		}
	}
	if n.Kind == plan.NameInbound {
		return c.Pod != "" && n == inboundName(model.ClusterKey{Key: model.Key{Namespace: c.Namespace, Name: c.Pod}})
	}
	return readableIn(c.Namespace, n)
}

// readableIn reports whether the clients of a namespace may read by this name. Aliases may be asked for
// by every client: what they lead to depends on who asks. A destination's name without a variant holds what is exported to
// all. A variant holds what one namespace sees, its private rules included. Shards and seals are sent with the destination
// that names them, and never for themselves: they say nothing about who may see the service behind them. Credentials are sent
// with the inbound policy of the pod that is given them.
func readableIn(namespace string, n plan.Name) bool {
	switch n.Kind {
	case plan.NameDestination, plan.NamePod:
		return n.Client == "" || n.Client == namespace
	case plan.NameInbound:
		return n.Namespace == namespace
	case plan.NameShard, plan.NameSeal, plan.NameCredential, plan.NameRoots:
		return false
	case plan.NameWorkload, plan.NameAddress, plan.NameHost, plan.NameDNS, plan.NameTrust, plan.NameMesh, plan.NamePassage, plan.NameUnknown:
	}
	return true
}

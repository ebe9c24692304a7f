package controlplane

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/graph"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// departing gives how the resources stand to the pod of a client. It is answered by the engine's goroutine, after the
// commit of what came before, and after its answers were published: who asks for answers from then on gets those.
func (e *engine) departing(ctx context.Context, client discovery.ClientIdentity) (discovery.Departing, error) {
	found := make(chan discovery.Departing, 1)
	e.inbox.deliver(func() { found <- standingOf(e.graph, model.ClusterKey{Key: podOf(client)}) })
	select {
	case standing := <-found:
		return standing, nil
	case <-ctx.Done():
		return discovery.Departing{}, context.Cause(ctx)
	}
}

// standingOf finds the shards that were compiled from what is known of a pod. A pod that is not known any more has ended once
// no shard asks for it.
func standingOf(g *graph.Graph, pod model.ClusterKey) discovery.Departing {
	r := store.NewReader(g.Snapshot())
	w := r.Workload(pod)
	if w != nil {
		for _, ip := range w.IPs {
			r.WorkloadsAtAddress(w.Network, ip)
		}
	}
	versions := g.ReadFrom(wireNative, r.Keys()...)
	for name := range versions {
		if plan.KindOf(name) != plan.NameShard {
			delete(versions, name)
		}
	}
	return discovery.Departing{Marked: w != nil && w.Terminating || w == nil && len(versions) == 0, Versions: versions}
}

// replicas lists where the other replicas of this control plane can be asked: the endpoints of its own Service, whether they
// are ready or not, for one that ends still has its streams.
func (p *ControlPlane) replicas() []string {
	if p.o.Kube == nil {
		return nil
	}
	r := store.NewReader(p.engine.store.Snapshot())
	service := model.Key{Namespace: p.o.namespace(), Name: controllerService}
	_, listening, _ := net.SplitHostPort(p.o.Listen) // checked when it was listened to
	own := ownAddresses()
	var list []string
	for _, k := range r.SlicesOfService(service) {
		slice := r.Slice(k)
		if slice == nil || !slices.ContainsFunc(slice.Ports, func(s model.SlicePort) bool { return strconv.Itoa(int(s.Port)) == listening }) {
			continue
		}
		for i := range slice.Endpoints {
			for _, addr := range slice.Endpoints[i].Addresses {
				if at := net.JoinHostPort(addr.String(), listening); !own[addr] && !slices.Contains(list, at) {
					list = append(list, at)
				}
			}
		}
	}
	slices.Sort(list)
	return list
}

// controllerService is the Service before the replicas.
const controllerService = "fairlead-controller"

// ownAddresses are those of this pod.
func ownAddresses() map[netip.Addr]bool {
	own := make(map[netip.Addr]bool)
	addrs, _ := net.InterfaceAddrs() // without them a replica is asked twice
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			own[prefix.Addr().Unmap()] = true
		}
	}
	return own
}

// maxShownHolders bounds the callers that a page names for one pod.
const maxShownHolders = 100

// departures lists the pods that are ending, as this replica knows them.
func (p *ControlPlane) departures(ctx context.Context) []admin.Departure {
	list := []admin.Departure{}
	for _, d := range p.server.Departures(ctx) {
		list = append(list, admin.Departure{
			ID: d.Client.ID(), Namespace: d.Client.Namespace, Pod: d.Client.Pod, Since: d.Since, Deadline: d.Deadline, Marked: d.Marked,
			Open: d.Open, Held: len(d.Holders), Holders: d.Holders[:min(len(d.Holders), maxShownHolders)],
		})
	}
	return list
}

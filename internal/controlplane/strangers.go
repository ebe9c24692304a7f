package controlplane

import (
	"context"
	"log/slog"
	"time"

	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// knows reports whether the pod of a client is in the model, with an address. A client whose token names no pod has none
// that could be missing.
func (e *engine) knows(client discovery.ClientIdentity) bool {
	if client.Pod == "" {
		return true
	}
	w := store.NewReader(e.store.Snapshot()).Workload(model.ClusterKey{Key: podOf(client)})
	return w != nil && len(w.IPs) > 0
}

func podOf(client discovery.ClientIdentity) model.Key {
	return model.Key{Namespace: client.Namespace, Name: client.Pod}
}

// unknownPod is what is wrong with a proxy whose pod the control plane does not know.
func unknownPod(client discovery.ClientIdentity) model.Problem {
	return model.Problem{
		Ref: model.Ref{Kind: "Proxy", Key: podOf(client)}, Severity: model.Warning,
		Message: "the control plane does not know the pod, or no address of it: the proxy has no policy for calls to it and is not ready",
		Fix:     "look whether the Pod is among what the control plane reads, and has status.podIP",
	}
}

// strangersEvery is how often it is looked for proxies whose pods are not known. A pod is often a moment younger here than
// its sidecar's connection: one that is not known twice in a row is said.
const strangersEvery = 2 * time.Second

// sayStrangers logs which connected proxies have pods that are not known, when that begins and when it ends, until ctx ends.
func (p *ControlPlane) sayStrangers(ctx context.Context) error {
	tick := time.NewTicker(strangersEvery)
	defer tick.Stop()
	seen := make(map[model.Key]bool) // whether it was said
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := make(map[model.Key]bool)
		for _, client := range p.server.Clients() {
			key := podOf(client)
			if _, done := now[key]; done || p.engine.knows(client) {
				continue
			}
			said, before := seen[key]
			if now[key] = said || before; before && !said {
				p.o.Logger.LogAttrs(ctx, slog.LevelWarn, "the pod of a connected proxy is not known", slog.String("proxy", client.ID()))
			}
		}
		for key, said := range seen {
			if _, still := now[key]; said && !still {
				p.o.Logger.LogAttrs(ctx, slog.LevelInfo, "the pod of a connected proxy is known now, or the proxy has gone", slog.String("pod", key.String()))
			}
		}
		seen = now
	}
}

package controlplane

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/remote"
	"fairlead.dev/fairlead/internal/source"
	"fairlead.dev/fairlead/internal/store"
)

// settleTime is how long the own cluster's first state waits for that of others. Without it, sidecars that come back to a
// control plane which was restarted would be told for a moment that the endpoints of other clusters are gone. A cluster that
// refuses, or cannot be reached at all, is not waited for.
const settleTime = 2 * time.Second

// clusterNameAnnotation on the Service of a control plane says what its cluster is called, for the control planes of other clusters.
const clusterNameAnnotation = "fairlead.dev/cluster"

// clusters are the other clusters of the mesh.
type clusters struct {
	set *remote.Set
	own string // the name of the control plane's own
	// declarers are works that declare clusters; the one that all begin with waits for is by.
	by        string
	declarers []part
	// overlaps lists pairs of clusters whose pods have the same addresses.
	overlaps func() []compile.Overlap
}

// newClusters makes the set. What of other clusters means something here goes to the inbox.
func (p *ControlPlane) newClusters(settings model.ServiceSettings) *remote.Set {
	wanted := wantedOfClusters{kinds: config.NewTable(), settings: settings, domain: p.o.ClusterDomain}
	naming := controllerOfClusters{model.Key{Namespace: p.o.namespace(), Name: controllerService}}
	return remote.New(remote.Options{Own: p.o.ClusterID, Wanted: wanted.object, CallsItself: naming.says, Sink: p.engine.inbox.receiveRemote, Known: p.engine.inbox.receiveKnown, Logger: p.o.Logger})
}

// wantedOfClusters says which objects of other clusters count: what there is to call, but for hosts that stay in each cluster.
// Gateways of networks count also where they are such hosts: the compiler has nobody call them by name.
type wantedOfClusters struct {
	kinds    config.Table
	settings model.ServiceSettings
	domain   string
}

func (w wantedOfClusters) object(o source.Object) bool {
	k := w.kinds[o.Ref.Kind]
	if k == nil || !k.OfClusters {
		return false
	}
	service, ok := config.ServiceOf(o.Ref, o.Value)
	return !ok || config.OfNetworkGateway(o.Value) || !w.settings.ClusterLocal(model.ServiceHost(service.Name, service.Namespace, w.domain))
}

// controllerOfClusters finds what another cluster calls itself: an annotation on the Service of its control plane, which has the name and
// the namespace of this one.
type controllerOfClusters struct{ service model.Key }

func (c controllerOfClusters) says(o source.Object) (name string, says bool) {
	service, ok := o.Value.(*corev1.Service)
	if !ok || o.Ref.Key != c.service {
		return "", false
	}
	return service.Annotations[clusterNameAnnotation], true
}

// followAfter is a backing's follow whose first word waits for the other clusters', for a while.
func (c *clusters) followAfter(ctx context.Context, b backing, sink func(source.Change)) error {
	first := true
	return b.follow(ctx, func(change source.Change) {
		if first && len(c.declarers) > 0 {
			c.set.Settle(ctx, c.by, settleTime)
		}
		first = false
		sink(change)
	})
}

// parts are the works of the set and of those that declare clusters.
func (c *clusters) parts() []part {
	return append(slices.Clone(c.declarers), func(ctx context.Context) error {
		c.set.Run(ctx)
		return nil
	})
}

// page is how it stands with the other clusters, for who looks.
func (c *clusters) page() []admin.RemoteCluster {
	list := []admin.RemoteCluster{}
	overlaps := c.overlaps()
	for _, s := range c.set.Statuses(time.Now()) {
		if s.Cause == "" && s.Misnamed != nil {
			s.Cause = s.Misnamed.Reason
		}
		s.Cause = cmp.Or(s.Cause, s.Clock)
		for i := range overlaps {
			if s.Cause == "" && overlaps[i].Of(s.Name) {
				s.Cause = overlaps[i].Describe(c.own)
			}
		}
		list = append(list, admin.RemoteCluster{
			ID: s.Name, SecretName: s.By, SyncStatus: string(s.State), AgeSeconds: s.Age.Seconds(), Cause: s.Cause, Objects: s.Objects,
		})
	}
	return list
}

// receiveRemote takes what another cluster says. What it has wrong there is for its own control plane to say.
func (b *inbox) receiveRemote(c source.Change) {
	b.put(func(w *work) {
		if w.since.IsZero() {
			w.since = time.Now()
		}
		w.add(c)
	})
}

// receiveKnown takes how it stands with another cluster.
func (b *inbox) receiveKnown(k remote.Known) {
	b.put(func(w *work) {
		if w.since.IsZero() {
			w.since = time.Now()
		}
		w.clusters[k.Name] = k
	})
}

// takeClusters stages how it stands with other clusters, to be in force no later than what they say.
func (e *engine) takeClusters(known map[string]remote.Known, now time.Time) {
	for name, k := range known {
		e.staged.seen(now)
		e.staged.endpoint(model.Ref{Kind: "Cluster", Key: model.Key{Name: name}}, func(tx *store.Txn) {
			if k.Gone {
				tx.DeleteRemoteCluster(name)
				return
			}
			tx.SetRemoteCluster(store.RemoteCluster{Name: name, Apart: k.Apart, Heard: k.Heard})
		})
		e.staged.hurry()
	}
}

// misnamed are the problems of clusters that call themselves otherwise than they are declared, or as another one does.
func misnamed(statuses []remote.Status) (out []model.Problem) {
	for i := range statuses {
		if m := statuses[i].Misnamed; m != nil {
			out = append(out, model.Problem{
				Ref: m.By, Field: "metadata.annotations[" + clusterNameAnnotation + "]", Severity: model.Warning,
				Message: "cluster " + statuses[i].Name + ": " + m.Reason,
			})
		}
	}
	return out
}

// watchStates logs when it goes other than before with a cluster, and keeps the problems with their names, until ctx ends.
func (c *clusters) watchStates(ctx context.Context, log *slog.Logger, wrong *problems) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	before, apart := make(map[string]remote.State), make(map[string]bool)
	for {
		now := make(map[string]remote.State)
		statuses := c.set.Statuses(time.Now())
		wrong.set(ctx, foundInClusters, misnamed(statuses))
		for _, s := range statuses {
			id := s.By + " " + s.Name
			now[id] = s.State
			if far := s.Clock != ""; far != apart[id] {
				apart[id] = far
				log.LogAttrs(ctx, slog.LevelWarn, "how the clock of a cluster goes", slog.String("cluster", s.Name), slog.String("declared_by", s.By),
					slog.Bool("in_step", !far), slog.String("cause", s.Clock))
			}
			was, known := before[id]
			if known && was == s.State || !known && (s.State == remote.Syncing || s.State == remote.Synced) {
				continue
			}
			level := slog.LevelWarn
			if s.State == remote.Synced || s.State == remote.Syncing {
				level = slog.LevelInfo
			}
			log.LogAttrs(ctx, level, "how it stands with a cluster", slog.String("cluster", s.Name), slog.String("declared_by", s.By),
				slog.String("state", string(s.State)), slog.String("cause", s.Cause))
		}
		maps.DeleteFunc(apart, func(id string, _ bool) bool { _, there := now[id]; return !there })
		before = now
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

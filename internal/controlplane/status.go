package controlplane

import (
	"reflect"
	"slices"
	"time"

	istiometa "istio.io/api/meta/v1alpha1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/config/fairlead"
	"fairlead.dev/fairlead/internal/config/gwapi"
	"fairlead.dev/fairlead/internal/config/istio"
	"fairlead.dev/fairlead/internal/config/linkerd"
	"fairlead.dev/fairlead/internal/mirror"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source/kube"
	"fairlead.dev/fairlead/internal/store"
)

// statusBook remembers what the status of each object was last said to be, so that only what differs is written. The
// zero value remembers nothing: a replica that begins to write statuses (a new leader) starts with one, and every object is
// looked at once. It belongs to one goroutine.
type statusBook struct {
	said map[model.Ref]standing
}

// standing is what a status says, without its words.
type standing struct {
	generation int64
	// parents is what became of a Gateway API route, or of a policy.
	parents []model.ParentStatus
	// export is what became of a ServiceExport.
	export compile.ExportStatus
	// mirrored is what became of what a Link selects.
	mirrored mirror.Status
	// problems are those of any other object.
	problems []model.Problem
}

func (v standing) equal(o standing) bool {
	return v.generation == o.generation && v.export == o.export && slices.Equal(v.problems, o.problems) && reflect.DeepEqual(v.parents, o.parents) && reflect.DeepEqual(v.mirrored, o.mirrored)
}

// statusInput is what statuses are about: objects, the snapshot in which they are in force, and every problem they have.
type statusInput struct {
	kinds   config.Table
	reader  *store.Reader
	global  compile.Global
	objects map[model.Ref]any // the typed objects, as in source.Object.Value
	// problems are those of the objects themselves and those between them (compile.Check).
	problems []model.Problem
	// links says what became of what each Link selects.
	links map[model.Ref]mirror.Status
}

// update gives the statuses that are not as last time; objects of kinds without status are passed over. now becomes the
// transition time of conditions that change. It costs a look at every object (for 5,000 routes about as much as the
// compile.Check before it, tens of milliseconds), and makes words only for what differs.
func (b *statusBook) update(s statusInput, now time.Time) map[model.Ref]kube.Status {
	problems := make(map[model.Ref][]model.Problem)
	for i := range s.problems {
		p := s.problems[i]
		p.Pos = model.Position{} // lines of a file are none of a status
		problems[p.Ref] = append(problems[p.Ref], p)
	}
	said := make(map[model.Ref]standing, len(b.said))
	out := make(map[model.Ref]kube.Status)
	for ref, value := range s.objects {
		v, status := assess(s, ref, value, problems[ref])
		if status == nil {
			continue
		}
		before, known := b.said[ref]
		if said[ref] = v; !known || !before.equal(v) {
			out[ref] = status(metav1.NewTime(now))
		}
	}
	b.said = said
	return out
}

// hasStatus reports whether a kind has a status of ours.
func hasStatus(k *config.Kind) bool { return k != nil && k.Status != config.NoStatus }

// assess gives what the status of one object has to say, and what puts it into words; nil where it has no status.
func assess(s statusInput, ref model.Ref, value any, problems []model.Problem) (standing, func(now metav1.Time) kube.Status) {
	k := s.kinds[ref.Kind]
	about, ok := value.(metav1.Object)
	if !ok || !hasStatus(k) {
		return standing{}, nil
	}
	switch k.Status {
	case config.RouteParents:
		return assessRoute(s, ref, routeObject{about.GetGeneration(), k.RouteSpec(value)}, problems)
	case config.PolicyAncestors:
		return assessPolicy(s, ref, value, problems)
	case config.MirroredServices:
		return assessLink(s, ref, about.GetGeneration())
	case config.ExportConditions:
		return assessExport(s, ref, about.GetGeneration())
	case config.Conditions, config.NoStatus:
	}
	return assessIstio(about.GetGeneration(), problems)
}

// routeObject is what the statuses of all kinds of routes need of them.
type routeObject struct {
	generation int64
	spec       *gatewayv1.CommonRouteSpec
}

func assessRoute(s statusInput, ref model.Ref, o routeObject, problems []model.Problem) (standing, func(metav1.Time) kube.Status) {
	v := standing{generation: o.generation}
	switch set := store.Get[model.RouteSet](s.reader, ref); {
	case config.Rejected(problems):
		v.parents = gwapi.Refused(o.spec, problems)
	case set == nil:
		return v, nil // not in force yet
	default:
		v.parents = compile.RouteStatus(s.reader, s.global, set)
	}
	return v, func(now metav1.Time) kube.Status {
		ours := gwapi.Status(o.spec, o.generation, v.parents, now)
		return kube.RouteParents(func(existing []gatewayv1.RouteParentStatus) []gatewayv1.RouteParentStatus {
			return gwapi.MergeStatus(existing, ours, gwapi.ControllerName)
		})
	}
}

func assessPolicy(s statusInput, ref model.Ref, value any, problems []model.Problem) (standing, func(metav1.Time) kube.Status) {
	in, ok := value.(*fairlead.HealthCheckPolicy)
	if !ok {
		return standing{}, nil
	}
	v := standing{generation: in.Generation}
	switch policy := store.Get[model.HealthCheckPolicy](s.reader, ref); {
	case config.Rejected(problems):
		v.parents = fairlead.Refused(in, problems)
	case policy == nil:
		return v, nil // not in force yet
	default:
		v.parents = compile.HealthCheckStatus(s.reader, s.global, policy)
	}
	return v, func(now metav1.Time) kube.Status {
		ours := fairlead.Status(in, v.parents, now)
		return kube.PolicyAncestors(func(existing []gatewayv1.PolicyAncestorStatus) []gatewayv1.PolicyAncestorStatus {
			return fairlead.MergeStatus(existing, ours)
		})
	}
}

func assessExport(s statusInput, ref model.Ref, generation int64) (standing, func(metav1.Time) kube.Status) {
	v := standing{generation: generation}
	export := store.Get[model.ServiceExport](s.reader, ref)
	if export == nil {
		return v, nil // not in force yet
	}
	v.export = compile.StatusOfExport(s.reader, export)
	return v, func(now metav1.Time) kube.Status {
		return kube.ExportConditions(func(existing []metav1.Condition) []metav1.Condition {
			for name, c := range map[string]model.Condition{"Valid": v.export.Valid, "Ready": v.export.Ready, "Conflict": v.export.Conflict} {
				status := metav1.ConditionFalse
				if c.Holds {
					status = metav1.ConditionTrue
				}
				meta.SetStatusCondition(&existing, metav1.Condition{
					Type: name, Status: status, Reason: c.Reason, Message: c.Message, ObservedGeneration: generation, LastTransitionTime: now,
				})
			}
			return existing
		})
	}
}

func assessLink(s statusInput, ref model.Ref, generation int64) (standing, func(metav1.Time) kube.Status) {
	found, ok := s.links[ref]
	if !ok {
		return standing{}, nil // not decided about yet
	}
	return standing{generation: generation, mirrored: found}, func(now metav1.Time) kube.Status {
		return kube.LinkStatus(func(existing linkerd.LinkStatus) linkerd.LinkStatus {
			return linkerd.MergeStatus(existing, linkerd.Status(outcomes(found.Mirrors), now), linkerd.Status(outcomes(found.Federated), now))
		})
	}
}

// outcomes gives what became of Services as the status of a Link says it.
func outcomes(list []mirror.Outcome) []linkerd.Outcome {
	out := make([]linkerd.Outcome, 0, len(list))
	for _, o := range list {
		out = append(out, linkerd.Outcome{Remote: o.Remote, Local: o.Local, Holds: o.Holds, Reason: o.Reason, Message: o.Message})
	}
	return out
}

func assessIstio(generation int64, problems []model.Problem) (standing, func(metav1.Time) kube.Status) {
	return standing{generation: generation, problems: problems}, func(now metav1.Time) kube.Status {
		ours := istio.Status(generation, problems, now.Time)
		return kube.IstioStatus(func(existing *istiometa.IstioStatus) *istiometa.IstioStatus {
			return istio.MergeStatus(existing, ours)
		})
	}
}

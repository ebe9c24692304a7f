package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"fairlead.dev/fairlead/internal/apiserver"
	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/model"
)

// The ClusterRoles of the chart: role is the controller's, CredentialsRole what it may do with Secrets where somebody binds it.
const (
	role            = "fairlead-controller"
	CredentialsRole = "fairlead-credentials" //nolint:gosec // a name
)

// subject is what is followed: a kind, or one object of it.
type subject struct {
	kind *config.Kind
	only model.Key
}

// String names it in messages, and in the maps of health.
func (s subject) String() string {
	if s.only == (model.Key{}) {
		return s.kind.Name
	}
	return s.kind.Name + " " + s.only.String()
}

// health knows which kinds cannot be read at present, and why. It logs the loss of the API server and its return,
// and what holds up the first change; everything else is a Problem in a change, which the receiver logs.
type health struct {
	log  *slog.Logger
	host string
	wake func() // called when faults changed
	// heard says when the API server was heard last.
	heard func() time.Time

	mu      sync.Mutex               // guards everything below
	started bool                     // the first change was handed over
	lost    map[string]error         // by subject: the last error of the network
	since   time.Time                // when the API server was heard last before lost became non-empty
	denied  time.Time                // when faults became non-empty
	faults  map[string]model.Problem // by subject: the answer of the API server
}

func newHealth(log *slog.Logger, host string, wake func()) *health {
	return &health{log: log, host: host, wake: wake, heard: time.Now, lost: make(map[string]error), faults: make(map[string]model.Problem)}
}

// ok notes that a kind was read.
func (h *health) ok(ctx context.Context, k subject) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.found(ctx, k)
	if _, faulty := h.faults[k.String()]; !faulty {
		return
	}
	delete(h.faults, k.String())
	if !h.started {
		h.log.LogAttrs(ctx, slog.LevelInfo, "the API server lets a kind be read", slog.String("kind", k.String()))
	}
	h.wake()
}

// fail notes why a kind could not be read.
func (h *health) fail(ctx context.Context, k subject, verb string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if apiserver.Unavailable(err) {
		if len(h.lost) == 0 {
			h.since = h.heard()
			h.log.LogAttrs(ctx, slog.LevelWarn, "the API server is away, the last state stays",
				slog.String("server", h.host), slog.String("kind", k.String()), slog.Any("error", err))
		}
		h.lost[k.String()] = err
		return
	}
	h.found(ctx, k)
	problem := faultOf(k, verb, err)
	if h.faults[k.String()] == problem {
		return
	}
	if len(h.faults) == 0 {
		h.denied = time.Now()
	}
	h.faults[k.String()] = problem
	if !h.started {
		h.log.LogAttrs(ctx, slog.LevelWarn, "the API server does not let a kind be read", slog.String("problem", problem.String()))
	}
	h.wake()
}

// found notes that the API server answered.
func (h *health) found(ctx context.Context, k subject) {
	if _, lost := h.lost[k.String()]; !lost {
		return
	}
	delete(h.lost, k.String())
	if len(h.lost) == 0 {
		h.log.LogAttrs(ctx, slog.LevelInfo, "the API server is back",
			slog.String("server", h.host), slog.Duration("after", time.Since(h.since)))
	}
}

// start notes that the first change was handed over.
func (h *health) start() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.started = true
}

// problems lists the kinds that the API server does not let us read.
func (h *health) problems() []model.Problem {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Values(h.faults))
}

// away says why there is no connection, or nothing where there is one.
func (h *health) away() []model.Problem {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(h.lost)) {
		return []model.Problem{{
			Ref: model.Ref{Kind: "APIServer", Key: model.Key{Name: h.host}}, Severity: model.Warning,
			Message: "no answer: " + h.lost[name].Error(),
		}}
	}
	return nil
}

// trouble says since when and why something cannot be read; an empty cause where all can.
func (h *health) trouble() (since time.Time, cause string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.lost) > 0 {
		err := h.lost[slices.Sorted(maps.Keys(h.lost))[0]]
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // the host is said already, and which page was asked for says nothing
		}
		return h.since, "no answer from " + h.host + ": " + err.Error()
	}
	for _, name := range slices.Sorted(maps.Keys(h.faults)) {
		return h.denied, h.host + ": " + h.faults[name].Message
	}
	return time.Time{}, ""
}

// faultOf puts a refusal into words.
func faultOf(k subject, verb string, err error) model.Problem {
	problem := model.Problem{
		Ref: model.Ref{Kind: "APIResource", Key: model.Key{Name: k.kind.Qualified()}}, Severity: model.Warning,
		Message: fmt.Sprintf("cannot %s it: %v", verb, err),
	}
	one := k.only != (model.Key{})
	if one {
		problem.Ref = model.Ref{Kind: k.kind.Name, Key: k.only}
	}
	switch {
	case apierrors.IsUnauthorized(err):
		problem.Message = fmt.Sprintf("the API server does not accept the credentials: no %s can be read: %v", k, err)
	case !apierrors.IsForbidden(err):
	case one:
		problem.Message = fmt.Sprintf("the controller may not %s it: what is called for with it fails", verb)
		problem.Fix = fmt.Sprintf("bind the ClusterRole %s to the controller's ServiceAccount in namespace %s", CredentialsRole, k.only.Namespace)
	default:
		problem.Ref = model.Ref{Kind: "ClusterRole", Key: model.Key{Name: role}} // of another cluster it is that of the account in the kubeconfig
		problem.Message = fmt.Sprintf("does not allow to %s %s: no %s is read", verb, k.kind.Qualified(), k)
		problem.Fix = "add the rule " + Rule{Group: k.kind.Group, Resource: k.kind.Resource, Verbs: followVerbs()}.String()
	}
	return problem
}

// String gives the rule as it is written in a ClusterRole.
func (r Rule) String() string {
	verbs := make([]string, len(r.Verbs))
	for i, verb := range r.Verbs {
		verbs[i] = strconv.Quote(verb)
	}
	return fmt.Sprintf(`{apiGroups: [%q], resources: [%q], verbs: [%s]}`, r.Group, r.Resource, strings.Join(verbs, ", "))
}

// byObject orders problems.
func byObject(a, b model.Problem) int {
	return cmp.Or(cmp.Compare(a.Ref.Kind, b.Ref.Kind), a.Ref.Compare(b.Ref.Key), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Message, b.Message))
}

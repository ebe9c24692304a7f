package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Repair says what is done about pods that were started before the plugin was in place.
type Repair uint8

// The repairs. The zero value is invalid.
const (
	_ Repair = iota
	// RepairNone does nothing; the pods go on failing until an operator deletes them.
	RepairNone
	// RepairDelete evicts them, so that their controllers make them anew.
	RepairDelete
	// RepairLabel labels them with LabelUnredirected.
	RepairLabel
)

// LabelUnredirected marks pods that were started before the plugin was in place; its value is "true".
const LabelUnredirected = "fairlead.dev/unredirected"

// ParseRepair reads none, delete or label.
func ParseRepair(s string) (Repair, error) {
	r, ok := map[string]Repair{"none": RepairNone, "delete": RepairDelete, "label": RepairLabel}[s]
	if !ok {
		return 0, fmt.Errorf("%q: use delete, label or none", s)
	}
	return r, nil
}

const (
	// validation is the init container that fails where a pod is not redirected, and exitUnredirected how.
	validation       = "fairlead-validation"
	exitUnredirected = 126

	// repairPause is the time between two repairs: a node that comes up with all its pods unredirected must not send
	// them all to the scheduler at once.
	repairPause = time.Second
	// reloadTime is how long after a change of the configuration a runtime may still use the old one.
	reloadTime = 10 * time.Second
	// watchTime is how long one watch lasts; watchSlack is added for the API server to end it.
	watchTime  = 5 * time.Minute
	watchSlack = 30 * time.Second
)

// finding says what to do about a pod.
type finding uint8

// The findings. The zero value is invalid.
const (
	_ finding = iota
	// sound pods are left alone.
	sound
	// slipped pods were started before the plugin was in place.
	slipped
	// inexplicable pods are not redirected although the plugin was there: making them anew would not help.
	inexplicable
)

// judge looks at a pod; since is when the plugin got in place.
func judge(p *pod, since time.Time) finding {
	if p.Metadata.Annotations[annotationStatus] == "" || p.Metadata.DeletionTimestamp != nil ||
		p.Status.Phase == "Failed" || p.Status.Phase == "Succeeded" {
		return sound // the last two are their controller's business
	}
	at := slices.IndexFunc(p.Status.InitContainerStatuses, func(c containerStatus) bool { return c.Name == validation })
	if at < 0 || !p.Status.InitContainerStatuses[at].unredirected() {
		return sound
	}
	if p.Status.StartTime.After(since.Add(reloadTime)) {
		return inexplicable
	}
	return slipped
}

// unredirected reports whether the container's last run found that the pod is not redirected.
func (c *containerStatus) unredirected() bool {
	switch {
	case c.State.Running != nil:
		return false
	case c.State.Terminated != nil:
		return c.State.Terminated.ExitCode == exitUnredirected
	}
	return c.LastState.Terminated != nil && c.LastState.Terminated.ExitCode == exitUnredirected
}

// controlled reports whether a controller would make the pod anew.
func (p *pod) controlled() bool {
	return slices.ContainsFunc(p.Metadata.OwnerReferences, func(o ownerReference) bool { return o.Controller })
}

// repairer acts on the pods of one node.
type repairer struct {
	api   *client
	node  string
	how   Repair
	ready func() (time.Time, error)
	log   *slog.Logger

	mu sync.Mutex
	// waiting are the pods that are not redirected, by UID. There are at most as many as pods on the node.
	waiting map[string]pod
	// told are the pods of which the log says why they are not repaired, by UID: they fail again and again.
	told map[string]bool
}

func (in *Installer) newRepairer() *repairer {
	return &repairer{
		api: in.api, node: in.o.Node, how: in.o.Repair, ready: in.ready, log: in.log,
		waiting: map[string]pod{}, told: map[string]bool{},
	}
}

// run watches and repairs until ctx ends.
func (r *repairer) run(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() { r.follow(ctx) })
	running.Go(func() { r.work(ctx) })
	running.Wait()
}

// follow keeps waiting current.
func (r *repairer) follow(ctx context.Context) {
	pause := firstPause
	for ctx.Err() == nil {
		version, err := r.list(ctx)
		for err == nil && ctx.Err() == nil {
			pause = firstPause
			version, err = r.watch(ctx, version)
		}
		if ctx.Err() != nil {
			return
		}
		if status(err) != http.StatusGone { // gone is how the API server asks for a new list
			r.log.LogAttrs(ctx, slog.LevelWarn, "pods of the node cannot be watched", slog.String("error", err.Error()+hint(err)))
		}
		if wait(ctx, pause) != nil {
			return
		}
		pause = min(2*pause, watchSlack)
	}
}

// path gives the pods of the node.
func (r *repairer) path(query url.Values) string {
	query.Set("fieldSelector", "spec.nodeName="+r.node)
	return "/api/v1/pods?" + query.Encode()
}

// list reads all pods of the node, from the API server's cache.
func (r *repairer) list(ctx context.Context) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, watchSlack)
	defer cancel()
	resp, err := r.api.do(ctx, request{method: http.MethodGet, path: r.path(url.Values{"resourceVersion": {"0"}})})
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var pods struct {
		Metadata podMetadata `json:"metadata"`
		Items    []pod       `json:"items"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&pods); err != nil {
		return "", err
	}
	r.mu.Lock()
	clear(r.waiting)
	clear(r.told) // it has pods that were deleted unseen
	r.mu.Unlock()
	for i := range pods.Items {
		r.note(&pods.Items[i])
	}
	return pods.Metadata.ResourceVersion, nil
}

// watch follows changes after version, and gives the version to go on from.
func (r *repairer) watch(ctx context.Context, version string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, watchTime+watchSlack)
	defer cancel()
	resp, err := r.api.do(ctx, request{method: http.MethodGet, path: r.path(url.Values{
		"watch": {"true"}, "resourceVersion": {version}, "allowWatchBookmarks": {"true"},
		"timeoutSeconds": {strconv.Itoa(int(watchTime.Seconds()))},
	})})
	if err != nil {
		return version, err
	}
	defer resp.Body.Close()
	events := json.NewDecoder(resp.Body)
	for {
		var e struct {
			Type   string          `json:"type"`
			Object json.RawMessage `json:"object"`
		}
		if err := events.Decode(&e); errors.Is(err, io.EOF) {
			return version, nil // the end of timeoutSeconds
		} else if err != nil {
			return version, err
		}
		if version, err = r.event(e.Type, e.Object); err != nil {
			return version, err
		}
	}
}

// event takes one event of a watch.
func (r *repairer) event(kind string, object []byte) (version string, err error) {
	if kind == "ERROR" {
		var s struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		}
		if err := json.Unmarshal(object, &s); err != nil {
			return "", err
		}
		return "", &statusError{s.Code, s.Message}
	}
	var p pod
	if err := json.Unmarshal(object, &p); err != nil {
		return "", err
	}
	switch kind {
	case "ADDED", "MODIFIED":
		r.note(&p)
	case "DELETED":
		r.forget(p.Metadata.UID)
		r.mu.Lock()
		delete(r.told, p.Metadata.UID)
		r.mu.Unlock()
	}
	return p.Metadata.ResourceVersion, nil
}

// note keeps a pod in mind that is not redirected, whenever that was.
func (r *repairer) note(p *pod) {
	if judge(p, p.Status.StartTime) == sound {
		r.forget(p.Metadata.UID)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting[p.Metadata.UID] = *p
}

func (r *repairer) forget(uid string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, uid)
}

// next takes the pod that has waited longest.
func (r *repairer) next() (pod, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) == 0 {
		return pod{}, false
	}
	first := slices.MinFunc(slices.Collect(maps.Values(r.waiting)), func(a, b pod) int {
		if c := a.Status.StartTime.Compare(b.Status.StartTime); c != 0 {
			return c
		}
		return strings.Compare(a.Metadata.UID, b.Metadata.UID)
	})
	delete(r.waiting, first.Metadata.UID)
	return first, true
}

// work repairs one pod after the other, while the plugin is in place: earlier, the next pod would be as unlucky.
func (r *repairer) work(ctx context.Context) {
	for wait(ctx, repairPause) == nil {
		since, err := r.ready()
		if err != nil {
			continue
		}
		if p, ok := r.next(); ok {
			r.repair(ctx, &p, since)
		}
	}
}

// repair acts on one pod. One whose repair failed comes again with its next status, at the latest when the kubelet
// starts the validation anew.
func (r *repairer) repair(ctx context.Context, p *pod, since time.Time) {
	action, req := r.decide(p, since)
	if req == nil {
		if r.firstTime(p.Metadata.UID) {
			r.log.LogAttrs(ctx, slog.LevelWarn, "pod is not redirected", slog.String("pod", p.String()), slog.String("reason", action))
		}
		return
	}
	err := r.api.once(ctx, *req, nil)
	switch status(err) {
	case http.StatusNotFound, http.StatusConflict:
		return // it is another pod by now
	}
	if err != nil {
		r.log.LogAttrs(ctx, slog.LevelWarn, "pod could not be repaired", slog.String("pod", p.String()),
			slog.String("action", action), slog.String("error", err.Error()+hint(err)))
		return
	}
	r.log.LogAttrs(ctx, slog.LevelInfo, "pod repaired", slog.String("pod", p.String()), slog.String("action", action))
}

// firstTime reports whether the log does not yet say why a pod is not repaired; from now on it does.
func (r *repairer) firstTime(uid string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.told[uid]
	r.told[uid] = true
	return !before
}

// decide gives the request that repairs a pod and its name, or the reason why there is none.
func (r *repairer) decide(p *pod, since time.Time) (string, *request) {
	if judge(p, since) == inexplicable {
		return "it was started after the plugin was put in place; does the runtime use the configuration in conf-dir?", nil
	}
	switch r.how {
	case RepairDelete:
		if !p.controlled() {
			return "it was started before the plugin was in place, and has no controller that would make it anew; delete it and create it again", nil
		}
		return "evict", eviction(p)
	case RepairLabel:
		if p.Metadata.Labels[LabelUnredirected] != "" {
			return "it was started before the plugin was in place, and is labelled already", nil
		}
		return "label", labelling(p)
	case RepairNone:
	}
	return "repair is off", nil
}

// eviction asks for a pod's end in the way that keeps disruption budgets; they let pending pods go at any time.
func eviction(p *pod) *request {
	b, _ := json.Marshal(map[string]any{ // strings are always encoded
		"apiVersion":    "policy/v1",
		"kind":          "Eviction",
		"metadata":      map[string]string{"name": p.Metadata.Name, "namespace": p.Metadata.Namespace},
		"deleteOptions": map[string]any{"preconditions": map[string]string{"uid": p.Metadata.UID}},
	})
	return &request{http.MethodPost, podPath(p.Metadata.Namespace, p.Metadata.Name) + "/eviction", "application/json", b}
}

// labelling marks a pod; the UID in the patch makes it fail on another pod of the same name.
func labelling(p *pod) *request {
	b, _ := json.Marshal(map[string]any{ // strings are always encoded
		"metadata": map[string]any{"uid": p.Metadata.UID, "labels": map[string]string{LabelUnredirected: "true"}},
	})
	return &request{http.MethodPatch, podPath(p.Metadata.Namespace, p.Metadata.Name), "application/merge-patch+json", b}
}

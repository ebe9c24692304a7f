package incluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/apiserver"
)

// mirroredLabel is Linkerd's, on every mirror; managedByLabel with fieldManager is on what the control plane makes.
const mirroredLabel = "mirror.linkerd.io/mirrored-service"

// Mirror is a Service that there is to be, with its EndpointSlices.
type Mirror struct {
	Service *corev1.Service
	Slices  []*discoveryv1.EndpointSlice
}

// MirrorsOptions configure Mirrors.
type MirrorsOptions struct {
	// Client is required. Namespace is the control plane's own, where events are.
	Client    *Client
	Namespace string
	Logger    *slog.Logger
}

// Mirrors keeps mirrors of Services of other clusters: it makes, changes and deletes Services that have both Linkerd's label for mirrors
// and that of what this control plane manages, and touches no other. Each is read anew right before, and written or deleted only
// as that version of that object, so that one which was made, or taken over, a moment ago by anybody else stays. One replica at a time
// should run it; the others remember what is wanted.
type Mirrors struct {
	o       MirrorsOptions
	repairs *repairs

	mu     sync.Mutex // taken before that of repairs
	wanted map[string]Mirror
	prints map[string]string // what was wanted of each the last time, printed
	said   map[string]bool   // events that are about
	events []*corev1.Event   // those to be written
	wake   chan struct{}
}

// mostEvents bounds what waits to be written.
const mostEvents = 100

// NewMirrors checks the options. It sends nothing.
func NewMirrors(o MirrorsOptions) (*Mirrors, error) {
	if o.Client == nil || o.Logger == nil || o.Namespace == "" {
		return nil, errors.New("mirrors: Client, Namespace and Logger are required")
	}
	m := &Mirrors{o: o, wanted: map[string]Mirror{}, prints: map[string]string{}, said: map[string]bool{}, wake: make(chan struct{}, 1)}
	m.repairs = newRepairs(o.Logger, m.write)
	return m, nil
}

// Set says which mirrors there are to be, by "namespace/name", which are to go, which of those that are wanted are not as they should
// be, and which namespaces are to be made. It does not block.
func (m *Mirrors) Set(wanted map[string]Mirror, gone []string, wrong map[string]bool, namespaces []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wanted = wanted
	for _, ns := range namespaces {
		m.repairs.want(ns)
	}
	for key, w := range wanted {
		text, err := json.Marshal(w)
		if err != nil {
			continue // objects of fixed types are encoded always
		}
		switch written := string(text); {
		case m.prints[key] != written:
			m.prints[key] = written
			m.repairs.wantAnew(key)
		case wrong[key]:
			m.repairs.want(key)
		default:
			m.repairs.fine(key)
		}
	}
	ended := map[string]bool{}
	for key := range m.prints {
		if _, still := wanted[key]; !still {
			delete(m.prints, key)
			m.repairs.fine(key)
			ended[key] = true
		}
	}
	for _, key := range gone {
		if ended[key] {
			m.repairs.wantAnew(key)
		} else {
			m.repairs.want(key)
		}
	}
}

// Say has events written about an object of the own namespace, once for as long as they are said: by their texts.
func (m *Mirrors) Say(about corev1.ObjectReference, events map[string]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	prefix := about.Name + "\x00"
	for id := range m.said {
		if rest, ok := strings.CutPrefix(id, prefix); ok {
			if _, still := events[rest]; !still {
				delete(m.said, id)
			}
		}
	}
	for text, reason := range events {
		if m.said[prefix+text] || len(m.events) >= mostEvents {
			continue
		}
		m.said[prefix+text] = true
		now := metav1.Now()
		m.events = append(m.events, &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{GenerateName: about.Name + ".", Namespace: m.o.Namespace},
			InvolvedObject: about, Reason: reason, Message: text, Type: corev1.EventTypeWarning, Count: 1,
			Source: corev1.EventSource{Component: fieldManager}, FirstTimestamp: now, LastTimestamp: now,
		})
	}
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Run writes until ctx ends. It may be run again, but not twice at once.
func (m *Mirrors) Run(ctx context.Context) {
	m.mu.Lock()
	m.repairs.hurry()
	for key := range m.wanted {
		m.repairs.want(key) // the leader before may have been another one
	}
	m.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { m.repairs.run(ctx) })
	wg.Go(func() { m.tell(ctx) })
	wg.Wait()
}

// tell writes events. One that cannot be written is dropped: the status of the Link says the same.
func (m *Mirrors) tell(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
		}
		m.mu.Lock()
		list := m.events
		m.events = nil
		m.mu.Unlock()
		for _, e := range list {
			if err := m.o.Client.create(ctx, target{resource: events(), namespace: e.Namespace}, e); err != nil && ctx.Err() == nil {
				m.o.Logger.LogAttrs(ctx, slog.LevelWarn, "event not written", slog.String("about", e.InvolvedObject.Name), slog.Any("error", err))
			}
		}
	}
}

// write brings one mirror, or one namespace, into the state that it should be in.
func (m *Mirrors) write(ctx context.Context, key string) error {
	namespace, name, ok := strings.Cut(key, "/")
	if !ok {
		return m.makeNamespace(ctx, key)
	}
	m.mu.Lock()
	w, wanted := m.wanted[key]
	m.mu.Unlock()
	at := target{resource: services(), namespace: namespace, name: name}
	var list corev1.ServiceList
	if err := m.o.Client.list(ctx, at, &list); err != nil {
		return err
	}
	if len(list.Items) == 0 && wanted {
		made := w.Service.DeepCopy()
		if err := m.o.Client.create(ctx, at, made); err != nil {
			return notThere(fmt.Errorf("mirror %s: %w", key, err))
		}
	} else if len(list.Items) > 0 {
		there := &list.Items[0]
		if there.Labels[mirroredLabel] != "true" || there.Labels[managedByLabel] != fieldManager {
			return m.writeSlices(ctx, at, nil) // it is not ours: the next decision says so
		}
		if !wanted {
			// Slices first: while the Service is there what failed is tried again, and nobody else deletes them.
			if err := m.writeSlices(ctx, at, nil); err != nil {
				return err
			}
			return m.remove(ctx, at, there.UID, there.ResourceVersion)
		}
		if err := m.change(ctx, at, there, w.Service); err != nil {
			return err
		}
	}
	return m.writeSlices(ctx, at, w.Slices)
}

// change writes a Service as it should be where it is not. One that is headless and should not be, or the other way round, is made anew.
func (m *Mirrors) change(ctx context.Context, at target, there, want *corev1.Service) error {
	if isHeadless(there) != isHeadless(want) {
		if err := m.remove(ctx, at, there.UID, there.ResourceVersion); err != nil {
			return err
		}
		return notThere(m.o.Client.create(ctx, at, want.DeepCopy()))
	}
	next := there.DeepCopy()
	next.Labels, next.Annotations = maps.Clone(want.Labels), maps.Clone(want.Annotations)
	next.Spec.Ports = want.DeepCopy().Spec.Ports
	if alike(there, next) {
		return nil
	}
	return m.o.Client.update(ctx, at, next)
}

// alike reports whether two objects are written alike.
func alike(a, b any) bool {
	one, errA := json.Marshal(a)
	other, errB := json.Marshal(b)
	return errA == nil && errB == nil && bytes.Equal(one, other)
}

func isHeadless(s *corev1.Service) bool { return s.Spec.ClusterIP == corev1.ClusterIPNone }

// writeSlices keeps the EndpointSlices of a mirror, and deletes others that were made here.
func (m *Mirrors) writeSlices(ctx context.Context, service target, want []*discoveryv1.EndpointSlice) error {
	at := target{resource: endpointSlices(), namespace: service.namespace, labels: discoveryv1.LabelServiceName + "=" + service.name + "," + managedByLabel + "=" + fieldManager}
	var list discoveryv1.EndpointSliceList
	if err := m.o.Client.list(ctx, at, &list); err != nil {
		return err
	}
	missing := slices.Clone(want)
	for i := range list.Items {
		there := &list.Items[i]
		at.name = there.Name
		mine := slices.IndexFunc(missing, func(s *discoveryv1.EndpointSlice) bool { return s.Name == there.Name })
		if mine < 0 {
			if err := m.remove(ctx, at, there.UID, there.ResourceVersion); err != nil {
				return err
			}
			continue
		}
		if err := m.changeSlice(ctx, at, there, missing[mine]); err != nil {
			return err
		}
		missing = slices.Delete(missing, mine, mine+1)
	}
	for _, s := range missing {
		at.name = s.Name
		// One of that name that was not made here stays what it is.
		if err := m.o.Client.create(ctx, at, s.DeepCopy()); err != nil && !apierrors.IsAlreadyExists(err) {
			return notThere(err)
		}
	}
	return nil
}

// changeSlice writes an EndpointSlice as it should be where it is not.
func (m *Mirrors) changeSlice(ctx context.Context, at target, there, want *discoveryv1.EndpointSlice) error {
	next := there.DeepCopy()
	next.Labels, next.Endpoints, next.Ports = maps.Clone(want.Labels), want.Endpoints, want.Ports
	if alike(there, next) {
		return nil
	}
	return m.o.Client.update(ctx, at, next)
}

// remove deletes a version of an object, and no other.
func (m *Mirrors) remove(ctx context.Context, at target, uid any, version string) error {
	body, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": map[string]any{"uid": uid, "resourceVersion": version}})
	if err != nil {
		return err
	}
	err = m.o.Client.do(ctx, "delete", at, apiserver.Request{Method: http.MethodDelete, Body: body}, nil)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// makeNamespace makes a namespace that is not there.
func (m *Mirrors) makeNamespace(ctx context.Context, name string) error {
	err := m.o.Client.create(ctx, target{resource: namespaces()}, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{managedByLabel: fieldManager}}})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// notThere passes over a namespace that is ending.
func notThere(err error) error {
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return err
}

// Linkerd's Secrets with the kubeconfig of a linked cluster.
const (
	mirrorCredentialsType = "mirror.linkerd.io/remote-kubeconfig"
	mirrorCredentialsKey  = "kubeconfig"
)

// NewMirrorSecrets follows the Secrets of Linkerd's type, one kubeconfig each: Set is given that by the name of the Secret.
func NewMirrorSecrets(o RemoteSecretsOptions) (*RemoteSecrets, error) {
	o.Label = mirrorCredentialsType // which none has: it is the type that counts
	r, err := NewRemoteSecrets(o)
	if err == nil {
		r.ofType = mirrorCredentialsType
	}
	return r, err
}

// kubeconfigs gives what a Secret has of those, as Set takes it.
func (r *RemoteSecrets) kubeconfigs(s *corev1.Secret) map[string][]byte {
	if r.ofType == "" {
		return s.Data
	}
	return map[string][]byte{s.Name: s.Data[mirrorCredentialsKey]}
}

// mine reports whether a Secret is one of those that are followed.
func (r *RemoteSecrets) mine(s *corev1.Secret) bool {
	if r.ofType != "" {
		return string(s.Type) == r.ofType
	}
	return s.Labels[r.o.Label] == "true"
}

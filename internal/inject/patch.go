package inject

import (
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Operation is one step of a JSON patch (RFC 6902): add, remove or replace.
type Operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// Diff gives the steps from one pod to another, where the latter comes from [Pod] or [Remove] of the former.
//
// A comparison of the two as plain JSON would work by position: one container put in front would be written as a change
// of every field of every container, and fields that this build's types do not know would end up with the wrong one.
// Here lists are compared by name and nothing is named that did not change.
func Diff(before, after *corev1.Pod) []Operation {
	var d differ
	d.annotations(before.Annotations, after.Annotations)
	containerName := func(c corev1.Container) string { return c.Name }
	// Probes by the old positions, then what moves them.
	for _, l := range []struct {
		path          string
		before, after []corev1.Container
	}{
		{"/spec/initContainers", before.Spec.InitContainers, after.Spec.InitContainers},
		{"/spec/containers", before.Spec.Containers, after.Spec.Containers},
	} {
		d.probes(l.path, l.before, l.after)
		list(&d, l.path, l.before, l.after, containerName)
	}
	list(&d, "/spec/volumes", before.Spec.Volumes, after.Spec.Volumes, func(v corev1.Volume) string { return v.Name })
	list(&d, "/spec/imagePullSecrets", before.Spec.ImagePullSecrets, after.Spec.ImagePullSecrets,
		func(r corev1.LocalObjectReference) string { return r.Name })
	return d.ops
}

type differ struct{ ops []Operation }

func (d *differ) add(path string, value any) {
	d.ops = append(d.ops, Operation{Op: "add", Path: path, Value: value})
}

func (d *differ) replace(path string, value any) {
	d.ops = append(d.ops, Operation{Op: "replace", Path: path, Value: value})
}

func (d *differ) remove(path string) { d.ops = append(d.ops, Operation{Op: "remove", Path: path}) }

// escape writes a key as part of a JSON pointer (RFC 6901 §3).
func escape(key string) string {
	return strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
}

func (d *differ) annotations(before, after map[string]string) {
	const path = "/metadata/annotations"
	switch {
	case len(before) == 0 && len(after) == 0:
		return
	case len(before) == 0:
		d.add(path, after)
		return
	case len(after) == 0:
		d.remove(path)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(before)) {
		if value, stays := after[key]; !stays {
			d.remove(path + "/" + escape(key))
		} else if value != before[key] {
			d.replace(path+"/"+escape(key), value)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(after)) {
		if _, was := before[key]; !was {
			d.add(path+"/"+escape(key), after[key])
		}
	}
}

// probes writes the changed actions of probes and hooks, whose periods and thresholds never change, and what the
// sidecar is told of them.
func (d *differ) probes(path string, before, after []corev1.Container) {
	survivors := pair(before, after, func(c corev1.Container) string { return c.Name })
	for _, s := range survivors {
		at := path + "/" + strconv.Itoa(s.before)
		was, is := actions(&before[s.before]), actions(&after[s.after])
		for _, field := range slices.Sorted(maps.Keys(was)) {
			if _, stays := is[field]; stays {
				d.action(at+field, was[field], is[field])
			}
		}
		if before[s.before].Name != proxyContainer {
			list(d, at+"/env", before[s.before].Env, after[s.after].Env, func(e corev1.EnvVar) string { return e.Name })
			list(d, at+"/volumeMounts", before[s.before].VolumeMounts, after[s.after].VolumeMounts, func(m corev1.VolumeMount) string { return m.Name + " " + m.MountPath })
		}
		d.hold(at+"/lifecycle", before[s.before].Lifecycle, after[s.after].Lifecycle)
		if env := after[s.after].Env; before[s.before].Name == proxyContainer && !reflect.DeepEqual(before[s.before].Env, env) {
			d.add(at+"/env", env) // add replaces what is there (RFC 6902 §4.1)
		}
	}
}

// hold writes that the preStop hook of holdApps came or went, and with it the field that it is in.
func (d *differ) hold(path string, was, is *corev1.Lifecycle) {
	switch {
	case was == nil && is == nil:
	case was == nil:
		d.add(path, is)
	case is == nil:
		d.remove(path)
	case was.PreStop == nil && is.PreStop != nil:
		d.add(path+"/preStop", is.PreStop)
	case was.PreStop != nil && is.PreStop == nil:
		d.remove(path + "/preStop")
	}
}

// actions gives what the kubelet asks of a container, by where that is in the container.
func actions(c *corev1.Container) map[string]map[string]any {
	all := map[string]map[string]any{}
	for field, p := range map[string]*corev1.Probe{"/livenessProbe": c.LivenessProbe, "/readinessProbe": c.ReadinessProbe, "/startupProbe": c.StartupProbe} {
		if p != nil {
			all[field] = map[string]any{"exec": p.Exec, "httpGet": p.HTTPGet, "tcpSocket": p.TCPSocket, "grpc": p.GRPC}
		}
	}
	if c.Lifecycle != nil {
		for field, h := range map[string]*corev1.LifecycleHandler{"/lifecycle/postStart": c.Lifecycle.PostStart, "/lifecycle/preStop": c.Lifecycle.PreStop} {
			if h != nil {
				all[field] = map[string]any{"httpGet": h.HTTPGet}
			}
		}
	}
	for _, kinds := range all {
		maps.DeleteFunc(kinds, func(_ string, v any) bool { return reflect.ValueOf(v).IsNil() })
	}
	return all
}

// action writes the change of one action: kinds that go, then kinds that come or are different.
func (d *differ) action(path string, was, is map[string]any) {
	for _, kind := range slices.Sorted(maps.Keys(was)) {
		if _, stays := is[kind]; !stays {
			d.remove(path + "/" + kind)
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(is)) {
		if value, had := was[kind]; !had {
			d.add(path+"/"+kind, is[kind])
		} else if !reflect.DeepEqual(value, is[kind]) {
			d.replace(path+"/"+kind, is[kind])
		}
	}
}

// list writes what was taken out of a list, from its end, and what was put in, from its beginning.
func list[T any](d *differ, path string, before, after []T, name func(T) string) {
	switch {
	case len(before) == 0 && len(after) == 0:
		return
	case len(before) == 0:
		d.add(path, after)
		return
	case len(after) == 0:
		d.remove(path)
		return
	}
	survivors := pair(before, after, name)
	for i := range slices.Backward(before) {
		if !slices.ContainsFunc(survivors, func(s positions) bool { return s.before == i }) {
			d.remove(path + "/" + strconv.Itoa(i))
		}
	}
	for i := range after {
		if !slices.ContainsFunc(survivors, func(s positions) bool { return s.after == i }) {
			d.add(path+"/"+strconv.Itoa(i), after[i])
		}
	}
}

// positions are those of one element before and after.
type positions struct{ before, after int }

// pair finds the elements that are in both lists. Names that are only in one tell what came and went; the others are
// in the same order in both, however often a name occurs.
func pair[T any](before, after []T, name func(T) string) []positions {
	in := func(list []T, e T) bool {
		return slices.ContainsFunc(list, func(o T) bool { return name(o) == name(e) })
	}
	var survivors []positions
	next := 0
	for i := range before {
		if !in(after, before[i]) {
			continue
		}
		for next < len(after) && !in(before, after[next]) {
			next++
		}
		if next == len(after) {
			break
		}
		survivors = append(survivors, positions{i, next})
		next++
	}
	return survivors
}

package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"

	"github.com/vishvananda/netns"

	"fairlead.dev/fairlead/internal/redirect"
)

const (
	// annotationStatus is on every pod with a sidecar; the injector writes it (internal/inject, Status).
	annotationStatus = "fairlead.dev/status"
	annotationMirror = "kubernetes.io/config.mirror"
)

// plugin serves one invocation.
type plugin struct {
	inv  Invocation
	conf *netConf
	log  *slog.Logger
}

// decision says what to do for a pod. Rules are nil where there is nothing to do; Reason says why.
type decision struct {
	Reason string
	Rules  *redirect.Ruleset
}

func nothing(reason string) decision { return decision{Reason: reason} }

// decide reads a pod's annotations.
func decide(annotations map[string]string) (decision, error) {
	written := annotations[annotationStatus]
	if written == "" {
		return nothing("not injected"), nil
	}
	var status struct {
		// Redirect are flags of `fairlead-proxy init`; nil where an init container applies them.
		Redirect []string `json:"redirect"`
	}
	if err := json.Unmarshal([]byte(written), &status); err != nil {
		return decision{}, fail(codeAnnotation, "annotation %s is not what the injector writes: %w", annotationStatus, err)
	}
	if status.Redirect == nil {
		return nothing("redirects its traffic itself"), nil
	}
	o, err := redirect.ParseFlags(status.Redirect)
	if err != nil {
		return decision{}, fail(codeAnnotation, "annotation %s: redirect: %w", annotationStatus, err)
	}
	rules, err := redirect.Plan(o)
	if err != nil {
		return decision{}, fail(codeAnnotation, "annotation %s: %w", annotationStatus, err)
	}
	return decision{Reason: "injected", Rules: &rules}, nil
}

func (p *plugin) add(ctx context.Context) error {
	result, err := p.result()
	if err != nil {
		return err
	}
	pod := parseArgs(p.inv.Args)
	d, err := p.decide(ctx, pod)
	if err == nil && d.Rules != nil {
		err = inNamespace(p.inv.NetNS, func() error { return apply(*d.Rules) })
	}
	if err != nil {
		p.log.LogAttrs(ctx, slog.LevelError, "pod not redirected", pod.attr(), slog.String("error", err.Error()))
		return fmt.Errorf("pod %s: %w", pod, err)
	}
	p.log.LogAttrs(ctx, slog.LevelInfo, "pod seen", pod.attr(), slog.Bool("redirected", d.Rules != nil), slog.String("reason", d.Reason))
	if _, err := p.inv.Stdout.Write(append(result, '\n')); err != nil {
		return fail(codeIO, "result: %w", err)
	}
	return nil
}

// check looks whether the rules of a pod are still there.
func (p *plugin) check(ctx context.Context) error {
	if _, err := p.result(); err != nil {
		return err
	}
	pod := parseArgs(p.inv.Args)
	d, err := p.decide(ctx, pod)
	if err == nil && d.Rules != nil {
		err = inNamespace(p.inv.NetNS, present)
	}
	if err != nil {
		return fmt.Errorf("pod %s: %w", pod, err)
	}
	return nil
}

// result is that of the plugin before this one, untouched: what an unknown field means is not ours to know.
func (p *plugin) result() ([]byte, error) {
	if p.conf.PrevResult == nil {
		return nil, fail(codeConfig, "no prevResult: %s changes the namespace that another plugin has made; put it behind one in a .conflist", Name)
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(p.conf.PrevResult, &object); err != nil {
		return nil, fail(codeDecode, "prevResult: %w", err)
	}
	if _, ok := object["cniVersion"]; ok {
		return bytes.TrimSpace(p.conf.PrevResult), nil
	}
	object["cniVersion"], _ = json.Marshal(p.conf.CNIVersion) // a string is always encoded
	b, err := json.Marshal(object)
	if err != nil {
		return nil, fail(codeDecode, "prevResult: %w", err)
	}
	return b, nil
}

// decide finds out about the pod.
func (p *plugin) decide(ctx context.Context, pod podArgs) (decision, error) {
	if pod.Name == "" {
		return nothing("not a pod of Kubernetes"), nil
	}
	if slices.Contains(p.conf.ExcludeNamespaces, pod.Namespace) {
		return nothing("namespace is excluded"), nil
	}
	annotations := p.conf.RuntimeConfig.PodAnnotations
	if len(annotations) == 0 {
		var err error
		if annotations, err = p.fetch(ctx, pod); err != nil {
			return decision{}, err
		}
	}
	return decide(annotations)
}

// fetch asks the API server for the pod's annotations.
func (p *plugin) fetch(ctx context.Context, pod podArgs) (map[string]string, error) {
	if p.conf.Kubeconfig == "" {
		return nil, fail(codeConfig, "the runtime passes no annotations, and the plugin's configuration has no kubeconfig to ask for them")
	}
	ctx, cancel := context.WithTimeout(ctx, addTimeout)
	defer cancel()
	c, err := clientOf(p.conf.Kubeconfig)
	if err != nil {
		return nil, fail(codeTryAgain, "%w", err)
	}
	defer c.close()
	found, err := c.pod(ctx, pod.Namespace, pod.Name)
	switch {
	case errors.Is(err, errNotFound):
		// The kubelet knows the pod from the API server, so it has just been deleted; or it is a static one, which no
		// webhook has seen.
		return nil, nil
	case err != nil:
		return nil, fail(codeTryAgain, "%w", err)
	}
	_, mirror := found.Metadata.Annotations[annotationMirror]
	if pod.UID != "" && found.Metadata.UID != pod.UID && !mirror {
		return nil, fail(codeTryAgain, "the API server knows another pod of this name (uid %s, want %s)", found.Metadata.UID, pod.UID)
	}
	return found.Metadata.Annotations, nil
}

// podArgs is what the kubelet says of the pod in CNI_ARGS.
type podArgs struct{ Namespace, Name, UID string }

func (p podArgs) String() string  { return p.Namespace + "/" + p.Name }
func (p podArgs) attr() slog.Attr { return slog.String("pod", p.String()) }

// parseArgs reads "KEY=value;KEY=value" and leaves what it does not know.
func parseArgs(s string) podArgs {
	var p podArgs
	for pair := range strings.SplitSeq(s, ";") {
		key, value, _ := strings.Cut(pair, "=")
		switch key {
		case "K8S_POD_NAMESPACE":
			p.Namespace = value
		case "K8S_POD_NAME":
			p.Name = value
		case "K8S_POD_UID":
			p.UID = value
		}
	}
	return p
}

func apply(r redirect.Ruleset) error {
	if err := redirect.PrepareLoopback(); err != nil {
		return fail(codeRedirect, "%w", err)
	}
	if err := redirect.Apply(r); err != nil {
		return fail(codeRedirect, "%w", err)
	}
	return nil
}

func present() error {
	there, err := redirect.Present()
	if err != nil {
		return fail(codeRedirect, "%w", err)
	}
	if !there {
		return fail(codeRedirect, "the table inet %s is gone from its network namespace", redirect.Table)
	}
	return nil
}

// inNamespace runs do in a network namespace, on a thread of its own that ends with it.
func inNamespace(path string, do func() error) error {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return fail(codeEnvironment, "CNI_NETNS %s: %w", path, err)
	}
	defer func() { _ = ns.Close() }() // opened for reading
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread has changed and must not be used again.
		runtime.LockOSThread()
		if err := netns.Set(ns); err != nil {
			done <- fail(codeEnvironment, "CNI_NETNS %s: %w", path, err)
			return
		}
		done <- do()
	}()
	return <-done
}

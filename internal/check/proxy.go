package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/admin"
)

func proxyRules() []rule {
	return []rule{
		{"proxy-pods", "there are pods with a sidecar", judgeAnySidecar},
		{"proxy-ready", "sidecars are ready", judgeSidecars},
		{"proxy-missing", "pods that should have a sidecar have one", judgeMissing},
		{"proxy-user", "apps run as another user than the sidecar", judgeUsers},
		{"proxy-connected", "sidecars are connected to the control plane", judgeConnected},
		{"proxy-version", "sidecars have the control plane's version", judgeProxyVersion},
	}
}

// where ends a sentence about the pods in scope.
func (s Scope) where() string {
	if s.Namespace == "" {
		return "in any namespace"
	}
	return "in namespace " + s.Namespace
}

// meshed are the pods with a sidecar that are not done.
func (f *Facts) meshed() []Workload {
	return slices.DeleteFunc(slices.Clone(f.Workloads.Value), func(w Workload) bool { return w.Sidecar == nil || w.Finished })
}

func (w *Workload) id() string { return w.Name + "." + w.Namespace }

func judgeAnySidecar(f *Facts) verdict {
	if f.Workloads.Err != nil {
		v := unknown(f.Workloads.Err)
		v.stop = true
		return v
	}
	if len(f.meshed()) > 0 {
		return pass()
	}
	var opted []string
	for _, n := range f.optedIn() {
		if f.Scope.Namespace == "" || n.Name == f.Scope.Namespace {
			opted = append(opted, n.Name)
		}
	}
	if len(opted) > 0 {
		slices.Sort(opted)
		return warn("restart what runs there: kubectl rollout restart -n NAMESPACE deploy; where pods do not come, kubectl get events -n NAMESPACE says why",
			fmt.Sprintf("no pod %s has a sidecar, although %s opted in", f.Scope.where(), shortened(opted)))
	}
	return warn("opt a namespace in, then restart its workloads: kubectl label namespace NAME "+injectLabel+"="+enabled,
		"no pod "+f.Scope.where()+" has a sidecar")
}

func judgeSidecars(f *Facts) verdict {
	var wrong []string
	otherwise := warn
	for _, w := range f.meshed() {
		if w.Sidecar.Ready {
			continue
		}
		if w.Sidecar.Trouble != "" || f.now().Sub(w.Created) > quiet {
			otherwise = fail // else it has only just begun
		}
		what := "running, but not ready"
		if w.Sidecar.Trouble != "" {
			what = w.Sidecar.Trouble
		}
		wrong = append(wrong, fmt.Sprintf("pod %s/%s: %s: %s", w.Namespace, w.Name, ProxyContainer, what))
	}
	slices.Sort(wrong)
	return judge(wrong, otherwise, "its log says what it waits for: kubectl logs -n NAMESPACE POD -c "+ProxyContainer)
}

// judgeMissing finds pods that started before their namespace opted in, or slipped through.
func judgeMissing(f *Facts) verdict {
	// One line for each owner: a hundred pods of one Deployment are one thing to do.
	lacking := map[string][]string{}
	for i := range f.Workloads.Value {
		w := &f.Workloads.Value[i]
		if w.Missing && !w.Finished && !f.exempt(w.Namespace) {
			owner := w.Namespace + " " + w.Owner
			lacking[owner] = append(lacking[owner], w.Name)
		}
	}
	var lines []string
	for _, owner := range slices.Sorted(maps.Keys(lacking)) {
		namespace, what, _ := strings.Cut(owner, " ")
		slices.Sort(lacking[owner])
		lines = append(lines, fmt.Sprintf("namespace %s, %s: %s without a sidecar: %s", namespace, what, counted(len(lacking[owner]), "pod"), shortened(lacking[owner])))
	}
	return judge(lines, warn, "a sidecar comes with a pod's start: kubectl rollout restart -n NAMESPACE deploy/NAME")
}

// shortened names the first few.
func shortened(names []string) string {
	const few = 3
	if len(names) <= few {
		return listed(names)
	}
	return fmt.Sprintf("%s and %d more", listed(names[:few]), len(names)-few)
}

// exempt are the namespaces that the webhook never asks about.
func (f *Facts) exempt(namespace string) bool {
	return slices.Contains([]string{"kube-system", "kube-node-lease", "kube-public", f.System}, namespace)
}

func judgeConnected(f *Facts) verdict {
	_, silent := each(f.Replicas, func(r *Replica) Got[[]admin.Proxy] { return r.Proxies })
	if len(f.Replicas) == 0 || len(silent) > 0 {
		return warn("see fairlead-controller above", "not checked: not every control plane pod answers")
	}
	connected := map[string]bool{}
	for _, p := range f.proxies() {
		connected[p.ID] = true
	}
	var lines []string
	for _, w := range f.meshed() {
		if w.Sidecar.Ready && !connected[w.id()] {
			lines = append(lines, fmt.Sprintf("pod %s/%s goes on with the configuration it has", w.Namespace, w.Name))
		}
	}
	slices.Sort(lines)
	return judge(lines, warn, "its log says why: kubectl logs -n NAMESPACE POD -c "+ProxyContainer)
}

func judgeProxyVersion(f *Facts) verdict {
	said, _ := each(f.Replicas, func(r *Replica) Got[string] { return r.Version })
	if len(said) == 0 {
		return warn("see fairlead-controller above", "not checked: no control plane pod answers")
	}
	var lines []string
	for _, p := range f.proxies() {
		if !slices.Contains(said, p.Version) && (f.Scope.Namespace == "" || p.Namespace == f.Scope.Namespace) {
			lines = append(lines, fmt.Sprintf("sidecar %s: version %s, control plane: %s", p.ID, p.Version, said[0]))
		}
	}
	return judge(lines, warn, "it works, and the pod's next start brings the new one: kubectl rollout restart -n NAMESPACE deploy/NAME")
}

package check

import "fmt"

// usesCNI reports whether the injector leaves the redirection of traffic to the CNI plugin.
func usesCNI(f *Facts) bool {
	c, err := f.injector()
	return f.Config.Err == nil && err == nil && c.CNI
}

func cniRules() []rule {
	return []rule{
		{"cni-daemonset", "CNI plugin is on every node", judgeCNINodes},
		{"cni-injector", "injector and CNI plugin agree", judgeCNIInjector},
	}
}

func judgeCNINodes(f *Facts) verdict {
	if f.CNI.absent() {
		return fail("install with cni.enabled, or set it to false", fmt.Sprintf("there is no DaemonSet %s/%s, but the injector relies on it: pods with a sidecar do not start", f.System, cniDaemonSet))
	}
	if f.CNI.Err != nil {
		return unknown(f.CNI.Err)
	}
	s := &f.CNI.Value.Status
	name := f.System + "/" + cniDaemonSet
	switch {
	case s.DesiredNumberScheduled == 0:
		return warn("see its nodeSelector and tolerations", fmt.Sprintf("DaemonSet %s matches no node", name))
	case s.NumberReady < s.DesiredNumberScheduled:
		return fail(fmt.Sprintf("kubectl describe pods -n %s, kubectl logs -n %s ds/%s; pods on those nodes wait until it is ready", f.System, f.System, cniDaemonSet),
			fmt.Sprintf("DaemonSet %s is ready on %d of %d nodes", name, s.NumberReady, s.DesiredNumberScheduled))
	case s.UpdatedNumberScheduled < s.DesiredNumberScheduled:
		return warn(fmt.Sprintf("watch it: kubectl rollout status -n %s ds/%s", f.System, cniDaemonSet),
			fmt.Sprintf("DaemonSet %s has its newest revision on %d of %d nodes", name, s.UpdatedNumberScheduled, s.DesiredNumberScheduled))
	}
	return pass()
}

func judgeCNIInjector(f *Facts) verdict {
	switch {
	case f.Config.Err != nil:
		return warn("see fairlead-config above", "not checked: the injector's ConfigMap is not known")
	case f.CNI.Err == nil && !usesCNI(f):
		return warn("install with cni.enabled, or delete the DaemonSet", fmt.Sprintf("DaemonSet %s/%s runs, but the injector gives pods an init container all the same", f.System, cniDaemonSet))
	}
	return pass()
}

package cli

import (
	"strings"
	"testing"
)

// TestEndpointsOfReplicas: what one of two replicas does not know yet is shown, and that they differ is said.
func TestEndpointsOfReplicas(t *testing.T) {
	file := exampleCluster(t).Kubeconfig(t)
	code, out, errOut := inCluster(t, file, "diagnostics", "endpoints", "lagging.team:80")
	if code != 0 || strings.Count(out, "users-1") != 1 || strings.Count(out, "users-2") != 1 ||
		errOut != "fairlead: the replicas of the control plane do not say the same of lagging.team:80: one is behind\n" {
		t.Errorf("exit code %d, printed %q, %q", code, out, errOut)
	}
	if code, out, errOut := inCluster(t, file, "diagnostics", "endpoints", "none.team:80"); code != 0 || out != "" || errOut != "No endpoints found.\n" {
		t.Errorf("none: exit code %d, printed %q, %q", code, out, errOut)
	}
}

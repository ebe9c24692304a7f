package lab_test

import (
	"testing"

	"fairlead.dev/fairlead/internal/lab"
)

// TestJobWithSidecar: an app that ends ends its pod: the sidecar, which would go on for ever, is ended after it. Its call
// went by the mesh.
func TestJobWithSidecar(t *testing.T) {
	t.Parallel()
	const ip = "10.96.0.117"
	m := startMesh(t, app{name: "server", replicas: 1}.String()+service("server", ip, "app: server", http80)+`
apiVersion: batch/v1
kind: Job
metadata: {name: caller, namespace: shop}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers:
      - {name: app, image: any, command: [sh, -c, "until fairlead demo-app get http://server/; do sleep 0.1; done; fairlead demo-app call http://server/ --count 5"]}
`)
	m.await(t, "the Job to end", func(st *lab.Status) bool { return len(st.Jobs) == 1 && st.Jobs[0].Status != "Running" })
	st := m.settle(t)
	if j := st.Jobs[0]; j.Status != "Complete" || j.Succeeded != 1 || j.Failed != 0 {
		t.Errorf("the Job: %+v", j)
	}
	p := st.Find(pod("job/caller"))
	if p == nil || p.Status != "Succeeded" {
		t.Fatalf("its pod: %+v", p)
	}
	for _, c := range p.Containers {
		if c.State != "Terminated" {
			t.Errorf("container %s is %s after the app has ended", c.Name, c.State)
		}
	}
	if line := m.cli(t, "lab", "status"); len(keep(line, "caller", "Complete", "1/1")) != 1 {
		t.Errorf("lab status:\n%s", line)
	}
}

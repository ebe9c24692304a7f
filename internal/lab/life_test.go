package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/source/file"
)

func TestReadinessDecidesWhoIsCalled(t *testing.T) {
	t.Parallel()
	f := upLab(t, deployment("web", 2)+webService("")+deployment("client", 1))
	st, err := f.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pod := st.Find(PodRef{"default", "deploy/web"})
	if r := f.call(t, pod.Name, "http://127.0.0.1:8080/ready?ok=false", "--method", "POST"); r.OK != 1 {
		t.Fatalf("switch readiness off: %+v", r)
	}
	f.await(t, "the pod to be not ready", func(st *Status) bool { p := st.Find(PodRef{"default", pod.Name}); return p != nil && !p.Ready })
	awaitCalls(t, f, func(pods map[string]int) bool { return len(pods) == 1 && pods[pod.Name] == 0 })
	if r := f.call(t, pod.Name, "http://127.0.0.1:8080/ready?ok=true", "--method", "POST"); r.OK != 1 {
		t.Fatalf("switch readiness on: %+v", r)
	}
	f.await(t, "the pod to be ready", func(st *Status) bool { return st.Settled })
	awaitCalls(t, f, func(pods map[string]int) bool { return len(pods) == 2 })
}

// awaitCalls calls the service until those who answer are as wanted.
func awaitCalls(t *testing.T, f *fixture, done func(pods map[string]int) bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		r := f.call(t, "deploy/client", "http://web/", "--count", "50", "--new-connections")
		if done(r.Pods) && r.Failed == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("answers come from %v, %d failed", r.Pods, r.Failed)
		}
	}
}

func TestKilledPodIsReplaced(t *testing.T) {
	t.Parallel()
	f := upLab(t, deployment("web", 2)+webService("")+deployment("client", 1))
	name, err := f.Kill(t.Context(), PodRef{"default", "deploy/web"})
	if err != nil {
		t.Fatal(err)
	}
	st := f.await(t, "a replacement", func(st *Status) bool { return st.Settled && st.Find(PodRef{"default", name}) == nil })
	if len(st.Pods) != 3 {
		t.Errorf("%d pods, want 3", len(st.Pods))
	}
	awaitCalls(t, f, func(pods map[string]int) bool { return len(pods) == 2 && pods[name] == 0 })
	if slice := readGenerated(t, f, "EndpointSlice_default_web-"); strings.Contains(slice, name) {
		t.Errorf("the killed pod %s is still an endpoint: %s", name, slice)
	}
}

// readGenerated gives the generated files whose names begin with prefix.
func readGenerated(t *testing.T, f *fixture, prefix string) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(f.Client.state.generated(), prefix+"*"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no generated file %s* (%v)", prefix, err)
	}
	var all strings.Builder
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		all.Write(raw)
	}
	return all.String()
}

func TestEditsTakeEffect(t *testing.T) {
	t.Parallel()
	f := upLab(t, deployment("web", 1)+webService("")+deployment("client", 1))
	t.Run("replicas", func(t *testing.T) {
		f.write(t, "all.yaml", deployment("web", 3)+webService("")+deployment("client", 1))
		f.await(t, "four pods", func(st *Status) bool { return st.Settled && len(st.Pods) == 4 })
	})
	t.Run("template", func(t *testing.T) {
		f.write(t, "all.yaml", deployment("web", 2, "        args: [--version, v2]")+webService("")+deployment("client", 1))
		f.await(t, "three pods", func(st *Status) bool { return st.Settled && len(st.Pods) == 3 })
		if r := f.call(t, "deploy/client", "http://web/", "--count", "20", "--new-connections"); r.Versions["v2"] != 20 {
			t.Errorf("answers after the replacement: %+v", r)
		}
	})
	read, err := file.Load(file.LoadOptions{Paths: []string{file.Stdin}, Stdin: strings.NewReader(deployment("extra", 1) + deployment("web", 1))})
	if err != nil || len(read.Objects) != 2 {
		t.Fatalf("Load() = %+v, %v", read, err)
	}
	extra := read.Objects
	t.Run("apply_overrides_the_directory", func(t *testing.T) {
		if changed, err := f.Apply(extra); err != nil || len(changed) != 2 {
			t.Fatalf("Apply() = %v, %v", changed, err)
		}
		f.await(t, "one pod each of web, extra, client", func(st *Status) bool { return st.Settled && len(st.Pods) == 3 })
	})
	t.Run("delete_hides_the_directory_s_object", func(t *testing.T) {
		if _, err := f.Delete(extra); err != nil {
			t.Fatal(err)
		}
		f.await(t, "the client alone", func(st *Status) bool { return st.Settled && len(st.Pods) == 1 })
		changed, err := f.Delete(extra)
		if err != nil || len(changed) != 2 || changed[0].Verb != "not found" {
			t.Errorf("second Delete() = %v, %v", changed, err)
		}
	})
	t.Run("apply_brings_it_back", func(t *testing.T) {
		if _, err := f.Apply(extra); err != nil {
			t.Fatal(err)
		}
		f.await(t, "three pods", func(st *Status) bool { return st.Settled && len(st.Pods) == 3 })
	})
}

// TestRelabel: a label of a running pod moves it in and out of Services, as kubectl label does.
func TestRelabel(t *testing.T) {
	t.Parallel()
	pod := func(label string) string {
		return "apiVersion: v1\nkind: Pod\nmetadata: {name: lone, labels: {app: " + label + "}}\nspec: {containers: [{name: app, image: fairlead.dev/demo-app, ports: [{name: web, containerPort: 8080}]}]}\n---\n"
	}
	f := upLab(t, pod("other")+deployment("client", 1)+webService(""))
	st, err := f.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := st.Find(PodRef{"default", "lone"})
	if r := f.call(t, "deploy/client", "http://web/", "--timeout", "2s"); r.OK != 0 {
		t.Fatalf("a pod of another label answers: %+v", r)
	}
	f.write(t, "all.yaml", pod("web")+deployment("client", 1)+webService(""))
	st = f.await(t, "the label", func(st *Status) bool { return st.Settled && st.Find(PodRef{"default", "lone"}).Labels["app"] == "web" })
	if after := st.Find(PodRef{"default", "lone"}); !after.Created.Equal(before.Created) || after.IPs[0] != before.IPs[0] {
		t.Errorf("the pod was replaced: %+v, then %+v", before, after)
	}
	for r, end := f.call(t, "deploy/client", "http://web/"), time.Now().Add(30*time.Second); r.Pods["lone"] != 1; r = f.call(t, "deploy/client", "http://web/") {
		if time.Now().After(end) { // the kernel's rules follow the endpoints
			t.Fatalf("a call after the label: %+v", r)
		}
	}
}

func TestPodLife(t *testing.T) {
	t.Parallel()
	work := t.TempDir()
	f := startLab(t, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: steps}
spec:
  initContainers:
  - {name: first, image: x, command: [sh, -c, "echo first >> %[1]s/steps"]}
  - name: helper # what follows a sidecar waits for it only as far as its startup probe says
    image: x
    restartPolicy: Always
    command: [sh, -c, "echo helper >> %[1]s/steps; exec sleep 1000"]
    startupProbe: {exec: {command: [grep, -q, helper, %[1]s/steps]}, periodSeconds: 1}
  containers:
  - {name: app, image: x, command: [sh, -c, "echo app >> %[1]s/steps; exec sleep 1000"]}
---
apiVersion: v1
kind: Pod
metadata: {name: crashes}
spec:
  containers:
  - {name: app, image: x, command: [sh, -c, "exit 3"]}
---
apiVersion: v1
kind: Pod
metadata: {name: sick}
spec:
  containers:
  - name: app
    image: x
    command: [sh, -c, "exec sleep 1000"]
    livenessProbe: {exec: {command: ["false"]}, periodSeconds: 1, failureThreshold: 1, initialDelaySeconds: 0}
---
apiVersion: v1
kind: Pod
metadata: {name: task}
spec:
  restartPolicy: Never
  containers:
  - {name: app, image: x, command: [sh, -c, "exit 0"]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      containers:
      - {name: app, image: fairlead.dev/demo-app, readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: unknown}
spec:
  containers:
  - {name: app, image: example.com/some/image:1}
`, work))
	st := f.await(t, "restarts, the task's end and the set", func(st *Status) bool {
		restarts := func(name string) int {
			if p := st.Find(PodRef{"default", name}); p != nil {
				return p.Restarts
			}
			return 0
		}
		task, db := st.Find(PodRef{"default", "task"}), st.Find(PodRef{"default", "db-1"})
		steps := st.Find(PodRef{"default", "steps"})
		return restarts("crashes") > 0 && restarts("sick") > 0 && task != nil && task.Status == phaseSucceeded &&
			db != nil && db.Ready && steps != nil && steps.Ready
	})
	t.Run("init_containers_run_in_order", func(t *testing.T) {
		raw, err := os.ReadFile(filepath.Join(work, "steps"))
		if err != nil || string(raw) != "first\nhelper\napp\n" {
			t.Errorf("steps %q, %v", raw, err)
		}
	})
	t.Run("the_exit_code_is_told", func(t *testing.T) {
		if c := st.Find(PodRef{"default", "crashes"}).Containers[0]; c.State == terminated && c.ExitCode != 3 {
			t.Errorf("status of the crashed container: %+v", c)
		}
	})
	t.Run("an_image_without_command_is_explained", func(t *testing.T) {
		if all := strings.Join(st.Waiting, "\n"); !strings.Contains(all, `image "example.com/some/image:1" has no command`) {
			t.Errorf("waiting for:\n%s", all)
		}
	})
	t.Run("set_pods_have_names_of_their_own", func(t *testing.T) {
		for r, end := f.call(t, "db-0", "http://db-1.db:8080/"), time.Now().Add(30*time.Second); r.Pods["db-1"] != 1; r = f.call(t, "db-0", "http://db-1.db:8080/") {
			if time.Now().After(end) { // names follow the endpoints
				t.Fatalf("call of db-1: %+v", r)
			}
		}
	})
}

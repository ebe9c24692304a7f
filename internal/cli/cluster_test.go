package cli

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/check"
	"fairlead.dev/fairlead/internal/cluster/clustertest"
)

var updateGolden = flag.Bool("update", false, "rewrite the golden files")

// inCluster runs a command line with a kubeconfig and no lab.
func inCluster(t *testing.T, kubeconfig string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	code = Execute(t.Context(), args, Streams{
		In: strings.NewReader(""), Out: &out, Err: &errOut, Environ: []string{"KUBECONFIG=" + kubeconfig}, Version: "0.1.0", Brief: time.Minute,
	})
	return code, out.String(), errOut.String()
}

// page serves v at a path.
func page(t *testing.T, mux *http.ServeMux, path string, v any) {
	t.Helper()
	mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	})
}

// exampleDump is a sidecar that has one of everything.
func exampleDump() *admin.Dump {
	at := time.Date(2026, 11, 22, 20, 57, 40, 0, time.UTC)
	const host = "users-service.myapp.svc.cluster.local"
	return &admin.Dump{
		Pod: "orders-1", Namespace: "myapp", Version: "0.1.0",
		Clusters: []admin.ClusterDump{
			{Name: "outbound|8080|v1|" + host, FQDN: host, Port: 8080, Subset: "v1", Direction: "outbound", Type: "EDS", DestinationRule: "users-service.myapp"},
			{
				Name: "outbound|8080||" + host, FQDN: host, Port: 8080, Direction: "outbound", Type: "EDS", DestinationRule: "users-service.myapp",
				Limits: []admin.LimitDump{
					{Setting: "tcp.maxConnections", Limit: 10, InUse: 10}, {Setting: "http.http1MaxPendingRequests", Limit: 5, InUse: 3, Overflows: 12},
				},
			},
			{Name: "inbound|8080||", FQDN: "orders-service.myapp.svc.cluster.local", Port: 8080, Direction: "inbound", Type: "ORIGINAL_DST"},
		},
		Endpoints: []admin.EndpointDump{{Address: "10.244.0.3:8080", Status: "HEALTHY", Outlier: "OK", Cluster: "outbound|8080|v1|" + host, Weight: 1, MTLS: true, Locality: "west/a", Level: new(int), LevelPercent: &[]float64{70}[0]}},
		Routes: []admin.RouteDump{{
			Name: "8080", VHost: host + ":8080", Domains: []string{host, "10.96.230.247"}, Match: "/*", Origin: "VirtualService myapp/users-service http[0]",
			Action: "outbound|8080|v1|" + host, Retries: "2 on 5xx; 500ms per try",
		}},
		Listeners: []admin.ListenerDump{{Address: "0.0.0.0", Port: 15001, Match: "ALL", Destination: "virtualOutbound: by original destination"}},
		Telemetry: []admin.TelemetryDump{
			{Side: "CLIENT", AccessLog: "off", Traces: "off"},
			{Side: "SERVER", AccessLog: "text", Filter: "response.code >= 400", Traces: "1% to otlp", Origins: []string{"Telemetry istio-system/mesh", "Telemetry myapp/orders"}},
		},
		Secrets: []admin.SecretDump{{
			Name: "default", Type: "Cert Chain", Status: "ACTIVE", Valid: true, Serial: "48ea", NotBefore: at, NotAfter: at.Add(24 * time.Hour), TrustDomain: "cluster.local",
		}},
	}
}

// exampleCluster has two controller pods, a pod with a sidecar, one whose sidecar does not run, and one without.
func exampleCluster(t *testing.T) *clustertest.Server {
	t.Helper()
	s := clustertest.New(t)
	pod := func(namespace, name, app string, containers ...string) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": app}}}
		p.Status.Phase = corev1.PodRunning
		for _, c := range containers {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: c})
			p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: c, Ready: true})
		}
		return p
	}
	crashing := pod("team", "crashing", "crashing", check.ProxyContainer)
	crashing.Status.ContainerStatuses[0].State.Waiting = &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}
	ended := pod("team", "ended", "ended", check.ProxyContainer)
	ended.Status.Phase = corev1.PodSucceeded
	for _, p := range []*corev1.Pod{
		pod("team", "orders-1", "orders", "app", check.ProxyContainer), pod("team", "plain-1", "plain", "app"), crashing, ended, pod("team", "deaf", "deaf", check.ProxyContainer),
		pod("fairlead-system", "c-1", "c", "controller"), pod("fairlead-system", "c-2", "c", "controller"),
	} {
		s.Put(t, "/api/v1/namespaces/"+p.Namespace+"/pods/"+p.Name, p)
	}
	deployment := func(namespace, name, app string) {
		s.Put(t, "/apis/apps/v1/namespaces/"+namespace+"/deployments/"+name,
			appsv1.Deployment{Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}}})
	}
	deployment("team", "orders", "orders")
	deployment("fairlead-system", check.Controller, "c")
	sidecar := http.NewServeMux()
	page(t, sidecar, "/config_dump", exampleDump())
	sidecar.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "# TYPE a counter\na 1\n") })
	s.Listen(t, "team/orders-1", adminPort, sidecar)
	since := time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)
	for i, rows := range [][]admin.Proxy{
		{
			{ID: "orders-1.team", Namespace: "team", Version: "0.0.9", State: "STALE", ConnectedSince: since, Names: map[string]int{"ip": 1}},
			{ID: "users-1.team", Namespace: "team", Version: "0.1.0", State: "SYNCED", ConnectedSince: since, Names: map[string]int{"ip": 2, "in": 1}, LeftOut: []admin.Refusal{{Resource: "dst/y", Reason: "destination.backends: field 23"}}},
		},
		{{
			ID: "orders-1.team", Namespace: "team", Version: "0.1.0", State: "ERROR", ConnectedSince: since.Add(time.Minute), Names: map[string]int{"dst": 3},
			Refused: []admin.Refusal{{Resource: "dst/x", Reason: "no backends"}},
		}},
	} {
		mux := http.NewServeMux()
		page(t, mux, "/debug/syncz", rows)
		page(t, mux, "/debug/clusterz", [][]admin.RemoteCluster{
			{{ID: "east", SecretName: "fairlead-system/istio-remote-secret-east", SyncStatus: "synced"}},
			{{ID: "east", SecretName: "fairlead-system/istio-remote-secret-east", SyncStatus: "stale", AgeSeconds: 61.2, Cause: "401 Unauthorized"}},
		}[i])
		shards := []admin.Shard{{Name: "eps/users.team.svc.cluster.local:80/slice/users-1", Service: "team/users", Endpoints: []admin.Endpoint{
			{Address: "10.0.0.2:8080", Pod: "users-2", Namespace: "team", Health: "UNHEALTHY", Weight: 1, Meshed: true, Subsets: []string{"v2"}, Identity: "spiffe://cluster.local/ns/team/sa/users"},
			{Address: "10.0.0.1:8080", Pod: "users-1", Namespace: "team", Health: "HEALTHY", Weight: 3},
		}}}
		mux.HandleFunc("GET /debug/endpointz", func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Query().Get("authority") {
			case "users.team:80", "lagging.team:80":
				if r.URL.Query().Get("authority") == "lagging.team:80" && i == 1 {
					json.NewEncoder(w).Encode([]admin.Shard{{Service: "team/users", Endpoints: shards[0].Endpoints[:1]}})
					return
				}
				json.NewEncoder(w).Encode(shards)
			case "none.team:80":
				json.NewEncoder(w).Encode([]admin.Shard{})
			default:
				http.Error(w, "no Service and no ServiceEntry defines it", http.StatusBadRequest)
			}
		})
		page(t, mux, "/version", admin.Version{Version: "0.1.0"})
		s.Listen(t, "fairlead-system/c-"+string(rune('1'+i)), check.MonitorPort, mux)
	}
	return s
}

// TestOutputOfTheMesh compares what the commands print about a cluster with testdata/mesh.txtar: scripts read it.
func TestOutputOfTheMesh(t *testing.T) {
	file := exampleCluster(t).Kubeconfig(t)
	archive := &txtar.Archive{Comment: []byte("What the commands about a live mesh print.\n")}
	for _, line := range []string{
		"proxy-config clusters orders-1",
		"proxy-config cluster orders-1.team --subset v1 -o json",
		"proxy-config endpoints deploy/orders -o yaml",
		"pc routes deployment/orders.team",
		"pc listeners orders-1 -n team",
		"pc secret pod/orders-1",
		"pc all orders-1",
		"pc metrics orders-1",
		"proxy-status",
		"proxy-status --verbosity 1",
		"proxy-status orders-1",
		"proxy-status deploy/orders",
		"version",
		"version -o json",
		"version --client",
		"diagnostics endpoints users.team:80",
		"diagnostics endpoints users.team:80 -o wide",
		"diagnostics endpoints users.team:80 none.team:80 -o json",
	} {
		code, out, errOut := inCluster(t, file, strings.Fields(line)...)
		if code != 0 || errOut != "" {
			t.Errorf("%s: exit code %d, %s", line, code, errOut)
		}
		archive.Files = append(archive.Files, txtar.File{Name: line, Data: []byte(out)})
	}
	golden := filepath.Join("testdata", "mesh.txtar")
	if *updateGolden {
		if err := os.WriteFile(golden, txtar.Format(archive), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(txtar.Format(archive))); diff != "" {
		t.Errorf("%s (-want +got):\n%s", golden, diff)
	}
}

func TestMeshThatCannotBeAsked(t *testing.T) {
	s := exampleCluster(t)
	file := s.Kubeconfig(t)
	none := filepath.Join(t.TempDir(), "none")
	for _, tt := range []struct {
		name, kubeconfig, line string
		want                   string
	}{
		{"missing pod", file, "pc clusters x", `pods "x" not found in namespace team of https://`},
		{"no sidecar", file, "pc clusters plain-1", "pod team/plain-1 has no sidecar: opt its namespace in"},
		{"crashed", file, "pc clusters crashing", "the sidecar of pod team/crashing does not run: CrashLoopBackOff"},
		{"ended", file, "pc clusters ended", "pod team/ended does not run: it is Succeeded"},
		{"deaf", file, "pc clusters deaf", "sidecar of pod team/deaf: nothing listens on port 15000 of pod team/deaf"},
		{"no pods", file, "pc clusters ingress/x", `kind "ingress" has no pods`},
		{"not connected", file, "proxy-status nobody", "no sidecar nobody is connected to the control plane"},
		{"not installed", file, "proxy-status --system-namespace other", "no control plane in namespace other of https://"},
		{"no such host", file, "diagnostics endpoints x:80", "no Service and no ServiceEntry defines it"},
		{"no host", file, "diagnostics endpoints", "usage: fairlead diagnostics endpoints HOST:PORT"},
		{"another context", file, "proxy-status --context nix", `context "nix" is not in the kubeconfig, which has: other, test`},
		{"nothing", none, "proxy-status", `nothing to ask: lab "lab" is not running, and there is no cluster`},
		{"no lab", file, "proxy-status --lab", `lab "lab" is not running`},
		{"no lab of that name", file, "pc clusters x --name other", `lab "other" is not running`},
		{"metrics in another form", file, "pc metrics orders-1 -o json", "metrics have one form"},
		{"a bootstrap of what has none", file, "pc bootstrap orders-1", "Fairlead's own, which has no bootstrap"},
		{"both", file, "pc clusters x --lab --context test", "choose one: a lab (--lab, --name, --state-dir) or a cluster"},
		{"a form nobody knows", file, "version -o xml", "use one of text, json, yaml"},
		{"check both", file, "check --pre --proxy", "choose one: --pre, before an installation, or --proxy"},
		{"check nothing", none, "check", "no cluster: no kubeconfig"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, out, errOut := inCluster(t, tt.kubeconfig, strings.Fields(tt.line)...)
			if code != 1 || out != "" || !strings.Contains(errOut, tt.want) || strings.Count(errOut, "\n") != 1 {
				t.Errorf("%s: exit code %d, printed %q, %q, want %q", tt.line, code, out, errOut, tt.want)
			}
		})
	}
}

// TestCompletionOfSidecars: in the namespace of the context a name is enough.
func TestCompletionOfSidecars(t *testing.T) {
	file := exampleCluster(t).Kubeconfig(t)
	for line, want := range map[string]string{
		"__complete proxy-status ":             "orders-1\nusers-1\n:4\n",
		"__complete pc clusters ":              "orders-1\nusers-1\n:4\n",
		"__complete pc clusters -n other ":     ":4\n",
		"__complete pc routes orders-1 ":       ":4\n",
		"__complete pc all orders-1 --output ": "table\njson\nyaml\nshort\n:4\n",
	} {
		if code, out, _ := inCluster(t, file, strings.Split(line, " ")...); code != 0 || out != want {
			t.Errorf("%s: exit code %d, printed %q, want %q", line, code, out, want)
		}
	}
}

// TestHalfOfTheControlPlane: what one replica knows is shown although another one does not answer.
func TestHalfOfTheControlPlane(t *testing.T) {
	s := exampleCluster(t)
	s.Fail("/api/v1/namespaces/fairlead-system/pods/c-2/portforward", http.StatusForbidden)
	file := s.Kubeconfig(t)
	code, out, errOut := inCluster(t, file, "proxy-status")
	if code != 0 || !strings.Contains(out, "users-1.team") || !strings.Contains(errOut, "sidecars may be missing: control plane pod fairlead-system/c-2: ") {
		t.Errorf("proxy-status: exit code %d, printed %q, %q", code, out, errOut)
	}
	code, out, errOut = inCluster(t, file, "version")
	if code != 0 || errOut != "" || !strings.HasPrefix(out, "client version: 0.1.0\ncontrol plane version: 0.1.0 (1 pod)\nnot available: control plane pod fairlead-system/c-2: ") {
		t.Errorf("version: exit code %d, printed %q, %q", code, out, errOut)
	}
	s.Fail("/api/v1/namespaces/fairlead-system/pods/c-1/portforward", http.StatusForbidden)
	if code, out, errOut = inCluster(t, file, "proxy-status"); code != 1 || out != "" || !strings.Contains(errOut, "c-1") {
		t.Errorf("proxy-status: exit code %d, printed %q, %q", code, out, errOut)
	}
}

func TestVersionWithoutAMesh(t *testing.T) {
	code, out, errOut := inCluster(t, filepath.Join(t.TempDir(), "none"), "version")
	if code != 0 || out != "client version: 0.1.0\n" || errOut != "" {
		t.Errorf("exit code %d, printed %q, %q", code, out, errOut)
	}
}

func TestCheckCommand(t *testing.T) {
	s := clustertest.New(t)
	s.Put(t, "/version", map[string]string{"gitVersion": "v1.34.4", "major": "1", "minor": "34"})
	file := s.Kubeconfig(t)
	code, out, errOut := inCluster(t, file, "check", "--pre")
	if code != 0 || !strings.HasSuffix(out, "\nStatus check results are √\n") || errOut != "" {
		t.Errorf("check --pre: exit code %d, printed %q, %q", code, out, errOut)
	}
	code, out, errOut = inCluster(t, file, "check")
	if code != 1 || !strings.Contains(out, "× control plane namespace exists\n    there is no namespace fairlead-system\n") || errOut != "" {
		t.Errorf("check: exit code %d, printed %q, %q", code, out, errOut)
	}
	code, out, _ = inCluster(t, file, "check", "-o", "json", "--system-namespace", "mesh")
	var report struct{ Success bool }
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 1 || report.Success || !strings.Contains(out, "there is no namespace mesh") {
		t.Errorf("check -o json: exit code %d, printed %q, %v", code, out, err)
	}
}

package cli

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/cluster/clustertest"
)

// putPod puts a pod with a label, whose port answers with its own name.
func putPod(t *testing.T, s *clustertest.Server, namespace, name, label string, phase corev1.PodPhase, port int) {
	t.Helper()
	key, value, _ := strings.Cut(label, "=")
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{key: value}}}
	p.Status.Phase = phase
	s.Put(t, "/api/v1/namespaces/"+namespace+"/pods/"+name, p)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, namespace+"/"+name) })
	s.Listen(t, namespace+"/"+name, port, mux)
}

// shown runs a dashboard command until the test's end and gives the line that it prints.
func shown(t *testing.T, kubeconfig string, args ...string) (line string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	ended := make(chan int, 1)
	var complaints strings.Builder
	go func() {
		ended <- Execute(ctx, append([]string{"dashboard"}, append(args, "--browser=false")...), Streams{
			In: strings.NewReader(""), Out: w, Err: &complaints, Environ: []string{"KUBECONFIG=" + kubeconfig},
		})
		w.Close()
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		if text := complaints.String(); text != "fairlead: context canceled\n" {
			t.Errorf("complained: %q", text)
		}
	})
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(line, err, complaints.String())
	}
	return line
}

// fetched gives what is at the URL that a line begins with, by a connection of its own.
func fetched(t *testing.T, line string) string {
	t.Helper()
	url, _, _ := strings.Cut(line, " ")
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestOtherDashboards(t *testing.T) {
	for _, tt := range []struct{ name, line, at string }{
		{"beside the control plane", "kiali", "fairlead-system/kiali-1"},
		{"anywhere", "prometheus", "monitoring/prometheus-0"},
		{"as another chart labels it", "grafana", "monitoring/grafana-0"},
		{"where the user says", "kiali -n istio-system", "istio-system/kiali-1"},
		{"its other port", "jaeger --ui-port 8080", "traces/jaeger-0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := clustertest.New(t)
			putPod(t, s, "istio-system", "kiali-1", "app=kiali", corev1.PodRunning, 20001)
			putPod(t, s, "fairlead-system", "kiali-0", "app=kiali", corev1.PodFailed, 20001)
			putPod(t, s, "fairlead-system", "kiali-1", "app=kiali", corev1.PodRunning, 20001)
			putPod(t, s, "monitoring", "prometheus-0", "app.kubernetes.io/name=prometheus", corev1.PodRunning, 9090)
			putPod(t, s, "monitoring", "grafana-0", "app=grafana", corev1.PodRunning, 3000)
			putPod(t, s, "traces", "jaeger-0", "app=jaeger", corev1.PodRunning, 8080)
			line := shown(t, s.Kubeconfig(t), strings.Fields(tt.line)...)
			if !strings.HasPrefix(line, "http://localhost:") || !strings.HasSuffix(line, ", pod "+tt.at+"; Ctrl-C ends it\n") {
				t.Errorf("printed %q", line)
			}
			for range 2 {
				if got := fetched(t, line); got != tt.at {
					t.Errorf("%s gives %q, want %q", line, got, tt.at)
				}
			}
		})
	}
}

// TestDashboardWhosePodIsReplaced: the next connection goes to the new pod.
func TestDashboardWhosePodIsReplaced(t *testing.T) {
	s := clustertest.New(t)
	putPod(t, s, "m", "kiali-old", "app=kiali", corev1.PodRunning, 20001)
	line := shown(t, s.Kubeconfig(t), "kiali")
	if got := fetched(t, line); got != "m/kiali-old" {
		t.Errorf("at first %q", got)
	}
	putPod(t, s, "m", "kiali-new", "app=kiali", corev1.PodRunning, 20001)
	putPod(t, s, "m", "kiali-old", "app=kiali", corev1.PodSucceeded, 20002)
	s.Fail("/api/v1/namespaces/m/pods/kiali-old/portforward", http.StatusNotFound)
	if got := fetched(t, line); got != "m/kiali-new" {
		t.Errorf("after the pod was replaced %q", got)
	}
}

func TestDashboardThatCannotBeShown(t *testing.T) {
	s := clustertest.New(t)
	putPod(t, s, "m", "grafana", "app=grafana", corev1.PodPending, 3000)
	putPod(t, s, "m", "kiali", "app=kiali", corev1.PodRunning, 20001)
	file := s.Kubeconfig(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	for line, want := range map[string]string{
		"dashboard grafana":                          "no Grafana: no running pod in any namespace has the label app.kubernetes.io/name=grafana or app=grafana; install it, or say with -n where it is",
		"dashboard kiali -n other":                   "no Kiali: no running pod in namespace other has the label app=kiali",
		"dashboard kiali --browser=false -p " + port: "address already in use",
		"dashboard kiali pod":                        "cannot use the arguments \"pod\"",
	} {
		code, out, errOut := inCluster(t, file, strings.Fields(line)...)
		if code != 1 || out != "" || !strings.Contains(errOut, want) || strings.Count(errOut, "\n") != 1 {
			t.Errorf("%s: exit code %d, printed %q, %q, want %q", line, code, out, errOut, want)
		}
	}
}

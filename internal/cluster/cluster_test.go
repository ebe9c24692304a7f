package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/cluster"
	"fairlead.dev/fairlead/internal/cluster/clustertest"
)

func load(t *testing.T, s *clustertest.Server) *cluster.Client {
	t.Helper()
	c, err := cluster.Load(cluster.Options{Kubeconfig: s.Kubeconfig(t), UserAgent: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLoadChoosesAsKubectlDoes(t *testing.T) {
	s := clustertest.New(t)
	file := s.Kubeconfig(t)
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, ".kube"), 0o700); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".kube", "config"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(home, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name      string
		o         cluster.Options
		namespace string
		wantErr   string
	}{
		{name: "flag", o: cluster.Options{Kubeconfig: file}, namespace: "team"},
		{name: "another context", o: cluster.Options{Kubeconfig: file, Context: "other"}, namespace: "default"},
		{name: "namespace over the context's", o: cluster.Options{Kubeconfig: file, Namespace: "n"}, namespace: "n"},
		{name: "environment", o: cluster.Options{Environ: []string{"KUBECONFIG=" + empty + ":" + file}}, namespace: "team"},
		{name: "home", o: cluster.Options{Environ: []string{"HOME=" + home}}, namespace: "team"},
		{name: "unknown context", o: cluster.Options{Kubeconfig: file, Context: "x"}, wantErr: `context "x" is not in the kubeconfig, which has: other, test`},
		{name: "unknown context without a kubeconfig", o: cluster.Options{Context: "x"}, wantErr: `context "x": no cluster`},
		{name: "nothing", o: cluster.Options{Environ: []string{"HOME=" + home + "/none"}}, wantErr: "no cluster: no kubeconfig with a current context (looked at " + home + "/none/.kube/config)"},
		{name: "no home", wantErr: "looked at $KUBECONFIG"},
		{name: "missing file", o: cluster.Options{Kubeconfig: home + "/none"}, wantErr: "no such file or directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := cluster.Load(tt.o)
			if err != nil || tt.wantErr != "" {
				if err == nil || tt.wantErr == "" || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("Load = %v, want %q", err, tt.wantErr)
				}
				return
			}
			if c.Namespace() != tt.namespace {
				t.Errorf("namespace %q, want %q", c.Namespace(), tt.namespace)
			}
		})
	}
	if _, err := cluster.Load(cluster.Options{}); !errors.Is(err, cluster.ErrNoCluster) {
		t.Errorf("Load = %v, want ErrNoCluster", err)
	}
}

func TestParsePodRef(t *testing.T) {
	for _, tt := range []struct {
		name, in, namespace string
		want                cluster.PodRef
		wantErr             string
	}{
		{name: "plain", in: "web-1", want: cluster.PodRef{Kind: "pods", Namespace: "team", Name: "web-1"}},
		{name: "with namespace", in: "web-1.shop", want: cluster.PodRef{Kind: "pods", Namespace: "shop", Name: "web-1"}},
		{name: "dots in the name", in: "etcd.node.1.kube-system", want: cluster.PodRef{Kind: "pods", Namespace: "kube-system", Name: "etcd.node.1"}},
		{name: "a flag makes it all name", in: "web.1", namespace: "shop", want: cluster.PodRef{Kind: "pods", Namespace: "shop", Name: "web.1"}},
		{name: "workload", in: "deploy/web", want: cluster.PodRef{Kind: "deployments", Namespace: "team", Name: "web"}},
		{name: "workload with namespace", in: "Deployment.apps/web.shop", want: cluster.PodRef{Kind: "deployments", Namespace: "shop", Name: "web"}},
		{name: "service", in: "svc/web", want: cluster.PodRef{Kind: "services", Namespace: "team", Name: "web"}},
		{name: "pod", in: "po/web-1", want: cluster.PodRef{Kind: "pods", Namespace: "team", Name: "web-1"}},
		{name: "no pods", in: "ingress/web", wantErr: `kind "ingress" has no pods`},
		{name: "empty", in: "", wantErr: "names no pod"},
		{name: "only a namespace", in: ".shop", wantErr: "names no pod"},
		{name: "two slashes", in: "deploy/web/x", wantErr: "names no pod"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := cluster.ParsePodRef(tt.in, tt.namespace, "team")
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("ParsePodRef(%q) = %v, want %q", tt.in, err, tt.wantErr)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("ParsePodRef(%q) = %v, %v, want %v", tt.in, got, err, tt.want)
			}
		})
	}
}

// pod makes a pod of app web.
func pod(name string, phase corev1.PodPhase, ready corev1.ConditionStatus) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", Labels: map[string]string{"app": "web"}},
		Status:     corev1.PodStatus{Phase: phase, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}},
	}
}

func TestFindPodPrefersOneThatIsReady(t *testing.T) {
	s := clustertest.New(t)
	s.Pages(2)
	for _, p := range []*corev1.Pod{
		pod("web-a", corev1.PodRunning, corev1.ConditionFalse), pod("web-b", corev1.PodSucceeded, corev1.ConditionFalse),
		pod("web-c", corev1.PodRunning, corev1.ConditionTrue), pod("web-d", corev1.PodRunning, corev1.ConditionTrue),
	} {
		s.Put(t, "/api/v1/namespaces/shop/pods/"+p.Name, p)
	}
	stranger := pod("other", corev1.PodRunning, corev1.ConditionTrue)
	stranger.Labels = nil
	s.Put(t, "/api/v1/namespaces/shop/pods/other", stranger)
	s.Put(t, "/apis/apps/v1/namespaces/shop/deployments/web", appsv1.Deployment{Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}})
	s.Put(t, "/apis/apps/v1/namespaces/shop/deployments/none", appsv1.Deployment{Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "none"}}}})
	s.Put(t, "/apis/apps/v1/namespaces/shop/deployments/broken", appsv1.Deployment{})
	s.Put(t, "/api/v1/namespaces/shop/services/web", corev1.Service{Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}}})
	s.Put(t, "/api/v1/namespaces/shop/services/outside", corev1.Service{})
	c := load(t, s)
	for _, tt := range []struct{ name, in, want, wantErr string }{
		{name: "deployment", in: "deploy/web", want: "web-c"},
		{name: "service", in: "svc/web", want: "web-c"},
		{name: "pod", in: "web-a", want: "web-a"},
		{name: "missing pod", in: "web-x", wantErr: `pods "web-x" not found`},
		{name: "missing deployment", in: "deploy/x", wantErr: `deployments "x" not found`},
		{name: "no pods", in: "deploy/none", wantErr: "deployment shop/none has no running pod"},
		{name: "no selector", in: "svc/outside", wantErr: "service shop/outside has no selector, so no pods"},
		{name: "a selector of everything", in: "deploy/broken", wantErr: "deployment shop/broken has no selector, so no pods"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ref, err := cluster.ParsePodRef(tt.in, "shop", "")
			if err != nil {
				t.Fatal(err)
			}
			p, err := c.FindPod(t.Context(), ref)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("FindPod(%s) = %v, want %q", tt.in, err, tt.wantErr)
				}
				return
			}
			if err != nil || p.Name != tt.want {
				t.Errorf("FindPod(%s) = %v, %v, want %s", tt.in, p, err, tt.want)
			}
		})
	}
	all, err := c.PodsOf(t.Context(), cluster.PodRef{Kind: "deployments", Namespace: "shop", Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range all {
		names = append(names, all[i].Name)
	}
	if diff := cmp.Diff([]string{"web-c", "web-d", "web-a", "web-b"}, names); diff != "" {
		t.Errorf("PodsOf (-want +got):\n%s", diff)
	}
}

func TestErrorsKeepTheirReason(t *testing.T) {
	s := clustertest.New(t)
	s.Fail("/api/v1/namespaces/shop/secrets/x", http.StatusForbidden)
	s.Put(t, "/version", []string{"not", "an", "object"})
	c := load(t, s)
	var into corev1.Secret
	if err := c.Get(t.Context(), cluster.Path("/api/v1", "shop", "secrets", "x"), &into); !apierrors.IsForbidden(err) {
		t.Errorf("Get = %v, want forbidden", err)
	}
	if err := c.Get(t.Context(), cluster.Path("/api/v1", "shop", "secrets", "y"), &into); !apierrors.IsNotFound(err) {
		t.Errorf("Get = %v, want not found", err)
	}
	if err := c.Get(t.Context(), "/version", &into); err == nil || !strings.Contains(err.Error(), "is not the expected JSON") {
		t.Errorf("Get = %v, want a word about JSON", err)
	}
	ctx, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	if err := c.Get(ctx, "/version", &into); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("Get = %v, want a deadline", err)
	}
}

func TestErrorsOfSomethingThatIsNoAPIServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: 'http://%s'}}]\ncontexts: [{name: c, context: {cluster: c}}]\n", l.Addr())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := cluster.Load(cluster.Options{Kubeconfig: file})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	h := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "<html>sign in first</html>", http.StatusBadGateway)
	})}
	go func() { served <- h.Serve(l) }()
	var into any
	if err := c.Get(t.Context(), "/version", &into); err == nil || !strings.Contains(err.Error(), "sign in first") {
		t.Errorf("Get = %v, want the words of the proxy", err)
	}
	h.Close()
	<-served
	if err := c.Get(t.Context(), "/version", &into); err == nil || !strings.Contains(err.Error(), "connection refused") || !strings.HasPrefix(err.Error(), "API server http://") {
		t.Errorf("Get = %v, want connection refused", err)
	}
}

func TestDialPod(t *testing.T) {
	for _, way := range []string{"websocket", "spdy"} {
		t.Run(way, func(t *testing.T) {
			s := clustertest.New(t)
			if way == "spdy" {
				s.RefuseWebSocket()
			}
			s.Listen(t, "shop/web-1", 15000, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/config_dump":
					fmt.Fprintf(w, `{"pod": %q}`, strings.Repeat("x", 1<<20))
				case "/debug/syncz":
					fmt.Fprint(w, "{")
				default:
					http.NotFound(w, r)
				}
			}))
			c := load(t, s)
			pages := func(pod string, port uint16) admin.Client {
				return admin.Client{Dial: func(ctx context.Context) (net.Conn, error) { return c.DialPod(ctx, "shop", pod, port) }}
			}
			for range 3 {
				if big, err := pages("web-1", 15000).Dump(t.Context()); err != nil || len(big.Pod) != 1<<20 {
					t.Fatalf("Dump = %v, %d bytes", err, len(big.Pod))
				}
			}
			_, err := pages("web-1", 15000).Problems(t.Context())
			if e, ok := errors.AsType[*admin.PageError](err); !ok || e.Code != http.StatusNotFound {
				t.Errorf("Problems = %v, want 404", err)
			}
			if _, err := pages("web-1", 15000).Proxies(t.Context()); err == nil {
				t.Error("Proxies took half an answer")
			}
			_, err = pages("web-1", 9).Dump(t.Context())
			if err == nil || err.Error() != "nothing listens on port 9 of pod shop/web-1" {
				t.Errorf("Dump = %v, want that nothing listens", err)
			}
			s.Fail("/api/v1/namespaces/shop/pods/web-2/portforward", http.StatusForbidden)
			if _, err := pages("web-2", 15000).Dump(t.Context()); err == nil || !strings.Contains(err.Error(), "port-forward to pod shop/web-2") {
				t.Errorf("Dump = %v, want forbidden", err)
			}
			asked := slices.DeleteFunc(s.Asked(), func(r string) bool { return !strings.HasPrefix(r, "POST") })
			if (way == "spdy") != (len(asked) > 1) {
				t.Errorf("plain upgrades: %v", asked)
			}
		})
	}
}

// TestDialPodEndsWithItsContext: a page that does not come leaves nothing behind.
func TestDialPodEndsWithItsContext(t *testing.T) {
	s := clustertest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.Listen(t, "shop/web-1", 15000, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	c := load(t, s)
	pages := admin.Client{Dial: func(ctx context.Context) (net.Conn, error) { return c.DialPod(ctx, "shop", "web-1", 15000) }}
	_, err := pages.Dump(ctx)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Dump = %v, want canceled", err)
	}
}

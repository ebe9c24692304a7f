package cni

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/redirect"
)

// injected are the annotations of a pod that the plugin is to redirect.
func injected(flags ...string) map[string]string {
	b, _ := json.Marshal(map[string]any{"version": "1", "redirect": append([]string{}, flags...)})
	return map[string]string{annotationStatus: string(b)}
}

func TestDecide(t *testing.T) {
	tests := []struct {
		name        string
		annotations map[string]string
		want        string // the reason, or part of the error
		rules       bool
		fails       bool
	}{
		{name: "none", want: "not injected"},
		{name: "others", annotations: map[string]string{"a": "b"}, want: "not injected"},
		{name: "with_an_init_container", annotations: map[string]string{annotationStatus: `{"version":"1","mode":"native"}`}, want: "redirects its traffic itself"},
		{name: "injected", annotations: injected(), want: "injected", rules: true},
		{name: "with_flags", annotations: injected("--no-dns", "--exclude-inbound-ports=22"), want: "injected", rules: true},
		{name: "bad_flag", annotations: injected("--exclude-inbound-ports=x"), want: `redirect: --exclude-inbound-ports: "x" is no port`, fails: true},
		{name: "flag_of_the_command", annotations: injected("--remove"), want: "not defined", fails: true},
		{name: "bad_status", annotations: map[string]string{annotationStatus: "yes"}, want: "annotation fairlead.dev/status is not what the injector writes", fails: true},
		{name: "too_many_ports", annotations: injected("--exclude-inbound-ports=" + strings.Repeat("1,", 2000) + "1"), want: "ExcludeInboundPorts", fails: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := decide(tt.annotations)
			got := d.Reason
			if err != nil {
				got = err.Error()
			}
			if (err != nil) != tt.fails || (d.Rules != nil) != tt.rules || !strings.Contains(got, tt.want) {
				t.Errorf("decide(%v) = %q, rules %t, want %q, %t", tt.annotations, got, d.Rules != nil, tt.want, tt.rules)
			}
		})
	}
}

func TestParseArgs(t *testing.T) {
	got := parseArgs("IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=users-1;K8S_POD_INFRA_CONTAINER_ID=c;K8S_POD_UID=u-1;")
	if diff := cmp.Diff(podArgs{"shop", "users-1", "u-1"}, got); diff != "" {
		t.Errorf("parseArgs() (-want +got):\n%s", diff)
	}
}

// conf is a configuration of the plugin as the runtime hands it over.
func conf(t *testing.T, annotations map[string]string, more map[string]any) string {
	t.Helper()
	var c map[string]any
	must(t, json.Unmarshal([]byte(chained), &c))
	if annotations != nil {
		c["runtimeConfig"] = map[string]any{"io.kubernetes.cri.pod-annotations": annotations}
	}
	maps.Copy(c, more)
	b, err := json.Marshal(c)
	must(t, err)
	return string(b)
}

func podCall(command, netns string) Invocation {
	return Invocation{
		Command: command, ContainerID: "c1", IfName: "eth0", NetNS: netns,
		Args: "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=users-1;K8S_POD_UID=u-1",
	}
}

// redirected reports whether the traffic of a namespace comes to its sidecar.
func redirected(t *testing.T, netns string, flags ...string) error {
	t.Helper()
	o, err := redirect.ParseFlags(flags)
	must(t, err)
	return inNamespace(netns, func() error { return redirect.Verify(t.Context(), o) })
}

func TestAddRedirects(t *testing.T) {
	netns := newNamespace(t)
	config := conf(t, injected("--exclude-outbound-ports=80"), nil)
	if code, out, _ := invoke(t, podCall("CHECK", netns), config); code != 1 || !strings.Contains(out, "table inet fairlead is gone") {
		t.Errorf("CHECK before ADD = %d %s, want 1, table is gone", code, out)
	}
	code, out, log := invoke(t, podCall("ADD", netns), config)
	if code != 0 || strings.TrimSpace(out) != compact(t, previous) {
		t.Fatalf("ADD = %d %s, want 0 %s", code, out, previous)
	}
	if !strings.Contains(log, "redirected=true") || !strings.Contains(log, "pod=shop/users-1") {
		t.Errorf("log of ADD = %s", log)
	}
	must(t, redirected(t, netns, "--exclude-outbound-ports=80"))
	for _, command := range []string{"CHECK", "ADD", "DEL"} {
		if code, out, _ := invoke(t, podCall(command, netns), config); code != 0 {
			t.Errorf("%s after ADD = %d %s, want 0", command, code, out)
		}
	}
}

// compact writes a value as encoding/json does: conf went through it.
func compact(t *testing.T, s string) string {
	t.Helper()
	b, err := json.Marshal(decode(t, []byte(s)))
	must(t, err)
	return string(b)
}

func TestAddLeavesAlone(t *testing.T) {
	tests := []struct {
		name        string
		annotations map[string]string
		more        map[string]any
	}{
		{"not_injected", map[string]string{"kubernetes.io/config.source": "api"}, nil},
		{"with_an_init_container", map[string]string{annotationStatus: "{}"}, nil},
		{"excluded_namespace", injected(), map[string]any{"excludeNamespaces": []string{"kube-system", "shop"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			netns := newNamespace(t)
			if code, out, log := invoke(t, podCall("ADD", netns), conf(t, tt.annotations, tt.more)); code != 0 || !strings.Contains(log, "redirected=false") {
				t.Errorf("ADD = %d %s, log %s", code, out, log)
			}
			must(t, inNamespace(netns, func() error {
				if there, err := redirect.Present(); err != nil || there {
					return fmt.Errorf("rules are there: %t, %w", there, err)
				}
				return nil
			}))
		})
	}
}

func TestAddFails(t *testing.T) {
	tests := []struct {
		name        string
		netns       string
		annotations map[string]string
		more        map[string]any
		want        string
	}{
		{"no_namespace", "/proc/self/ns/none", injected(), nil, "CNI_NETNS /proc/self/ns/none: no such file"},
		{"no_network_namespace", "/proc/self/ns/uts", injected(), nil, "CNI_NETNS /proc/self/ns/uts"},
		{"bad_flags", "/proc/self/ns/net", injected("--uid=x"), nil, "pod shop/users-1: annotation fairlead.dev/status"},
		{"nobody_to_ask", "/proc/self/ns/net", nil, nil, "the runtime passes no annotations"},
		{"no_kubeconfig", "/proc/self/ns/net", nil, map[string]any{"kubeconfig": "/nowhere"}, "open /nowhere: no such file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if code, out, _ := invoke(t, podCall("ADD", tt.netns), conf(t, tt.annotations, tt.more)); code != 1 || !strings.Contains(out, tt.want) {
				t.Errorf("ADD = %d %s, want 1 and %q", code, out, tt.want)
			}
		})
	}
}

// apiServer serves one pod and notes what is asked of it.
func apiServer(t *testing.T, answer func(w http.ResponseWriter, attempt int)) (config string, asked *[]string) {
	t.Helper()
	loopbackUp(t)
	asked = &[]string{}
	var mu sync.Mutex
	var attempts atomic.Int32
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		*asked = append(*asked, r.Method+" "+r.URL.Path+" "+r.Header.Get("Authorization"))
		mu.Unlock()
		answer(w, int(attempts.Add(1)))
	}))
	t.Cleanup(server.Close)
	kubeconfig := filepath.Join(t.TempDir(), kubeconfigName)
	content, err := encodeKubeconfig(server.URL, pemOf(server), "secret")
	must(t, err)
	must(t, os.WriteFile(kubeconfig, content, 0o600))
	return conf(t, nil, map[string]any{"kubeconfig": kubeconfig}), asked
}

func answerPod(uid string, annotations map[string]string) string {
	b, _ := json.Marshal(map[string]any{"metadata": map[string]any{"name": "users-1", "namespace": "shop", "uid": uid, "annotations": annotations}})
	return string(b)
}

func TestAddAsksTheAPIServer(t *testing.T) {
	refusal := func(code int, message string) func(http.ResponseWriter, int) {
		return func(w http.ResponseWriter, _ int) {
			w.WriteHeader(code)
			fmt.Fprintf(w, `{"kind":"Status","message":%q}`, message)
		}
	}
	mirror := injected()
	mirror[annotationMirror] = "u-1"
	tests := []struct {
		name   string
		answer func(w http.ResponseWriter, attempt int)
		rules  bool
		want   string // part of the error
	}{
		{"injected", func(w http.ResponseWriter, _ int) { fmt.Fprint(w, answerPod("u-1", injected())) }, true, ""},
		{"not_injected", func(w http.ResponseWriter, _ int) { fmt.Fprint(w, answerPod("u-1", nil)) }, false, ""},
		{"mirror_of_a_static_pod", func(w http.ResponseWriter, _ int) { fmt.Fprint(w, answerPod("m-1", mirror)) }, true, ""},
		{"deleted_or_static", refusal(404, `pods "users-1" not found`), false, ""},
		{"another_of_the_name", func(w http.ResponseWriter, _ int) { fmt.Fprint(w, answerPod("u-2", injected())) }, false, "another pod of this name (uid u-2, want u-1)"},
		{"forbidden", refusal(403, "pods is forbidden"), false, "status 403: pods is forbidden (the service account of fairlead-cni lacks a permission)"},
		{"down_for_a_moment", func(w http.ResponseWriter, attempt int) {
			if attempt < 3 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			fmt.Fprint(w, answerPod("u-1", injected()))
		}, true, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			netns := newNamespace(t)
			config, asked := apiServer(t, tt.answer)
			code, out, _ := invoke(t, podCall("ADD", netns), config)
			if (code != 0) != (tt.want != "") || !strings.Contains(out, tt.want) {
				t.Errorf("ADD = %d %s, want %q", code, out, tt.want)
			}
			if got, want := (*asked)[0], "GET /api/v1/namespaces/shop/pods/users-1 Bearer secret"; got != want {
				t.Errorf("request = %s, want %s", got, want)
			}
			must(t, inNamespace(netns, func() error {
				if there, err := redirect.Present(); err != nil || there != tt.rules {
					return fmt.Errorf("rules are there: %t, %w, want %t", there, err, tt.rules)
				}
				return nil
			}))
		})
	}
}

func TestAddGivesUpWithTheCause(t *testing.T) {
	config, _ := apiServer(t, func(w http.ResponseWriter, _ int) { w.WriteHeader(http.StatusUnauthorized) })
	ctx, cancel := context.WithCancel(t.Context())
	c, err := parseConfig(strings.NewReader(config))
	must(t, err)
	p := plugin{conf: c}
	cancel()
	if _, err := p.fetch(ctx, podArgs{Namespace: "shop", Name: "users-1"}); err == nil || !strings.Contains(err.Error(), "the API server https://127.0.0.1") {
		t.Errorf("fetch() = %v, want an error that names the API server", err)
	}
}

// TestChain has the library of the runtimes call the plugins of a list, ours among them.
func TestChain(t *testing.T) {
	bin, netns := t.TempDir(), newNamespace(t)
	for _, name := range []string{Name, networkPlugin} {
		must(t, os.Symlink(os.Args[0], filepath.Join(bin, name)))
	}
	raw, err := insert([]byte(`{"cniVersion":"1.0.0","name":"mesh","plugins":[{"type":"`+networkPlugin+`"}]}`), testEntry())
	must(t, err)
	list, err := libcni.ConfListFromBytes(raw)
	must(t, err)
	cni := libcni.NewCNIConfigWithCacheDir([]string{bin}, t.TempDir(), nil)
	rt := &libcni.RuntimeConf{
		ContainerID: "c1", NetNS: netns, IfName: "eth0",
		Args:           [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "shop"}, {"K8S_POD_NAME", "users-1"}},
		CapabilityArgs: map[string]any{"io.kubernetes.cri.pod-annotations": injected(), "portMappings": []int{}},
	}
	_, err = cni.ValidateNetworkList(t.Context(), list)
	must(t, err)
	result, err := cni.AddNetworkList(t.Context(), list, rt)
	must(t, err)
	var b strings.Builder
	must(t, result.PrintTo(&b))
	if !strings.Contains(b.String(), `"10.7.0.2/24"`) {
		t.Errorf("result = %s, want that of the first plugin", b.String())
	}
	must(t, redirected(t, netns))
	must(t, cni.CheckNetworkList(t.Context(), list, rt))
	must(t, cni.DelNetworkList(t.Context(), list, rt))
}

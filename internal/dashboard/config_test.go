package dashboard

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/observe"
	"fairlead.dev/fairlead/internal/traffic"
)

// TestObserved: what is wrong beside the configuration, each by its own cause, and nothing where all is well.
func TestObserved(t *testing.T) {
	now := time.UnixMilli(1_000_000_000)
	ago := func(d time.Duration) int64 { return now.Add(-d).UnixMilli() }
	pod := func(proxy string, sync observe.Sync, age, left time.Duration) *observe.Config {
		return &observe.Config{Workloads: []observe.Workload{{
			Namespace: "shop", Pod: "a-1", Proxy: proxy, Sync: sync, Certificate: &observe.Certificate{From: ago(age), To: ago(-left)},
		}}}
	}
	serving := func(endpoints ...observe.Endpoint) *observe.Config {
		return &observe.Config{Services: []observe.Service{{ID: "shop/a", Namespace: "shop", Name: "a", Ports: []observe.ServicePort{{Port: 80}}, Endpoints: endpoints}}}
	}
	synced := observe.Sync{State: admin.Synced, At: ago(time.Hour)}
	tests := []struct {
		name string
		c    *observe.Config
		want string // begins so; empty for none
	}{
		{"well", pod("fairlead", synced, time.Hour, time.Hour), ""},
		{"about_to_confirm", pod("fairlead", observe.Sync{State: admin.Stale, At: ago(29 * time.Second)}, 1, time.Hour), ""},
		{"lags", pod("fairlead", observe.Sync{State: admin.Stale, At: ago(31 * time.Second)}, 1, time.Hour), "the sidecar has not confirmed"},
		{"never_confirmed", pod("fairlead", observe.Sync{State: admin.Stale, Since: ago(31 * time.Second)}, 1, time.Hour), "the sidecar has not confirmed"},
		{"not_connected", pod("fairlead", observe.Sync{State: observe.SyncNone}, 1, time.Hour), "the pod has a sidecar, which is not connected"},
		{"no_sidecar", pod("none", observe.Sync{State: observe.SyncNone}, 1, time.Hour), ""},
		{"a_quarter_left", pod("fairlead", synced, 18*time.Hour, 6*time.Hour), ""},
		{"less_than_a_quarter_left", pod("fairlead", synced, 19*time.Hour, 5*time.Hour), "its certificate ends at"},
		{"an_endpoint", serving(observe.Endpoint{Health: "unhealthy"}, observe.Endpoint{Health: "healthy"}), ""},
		{"no_endpoint", serving(), "no endpoint"},
		{"none_ready", serving(observe.Endpoint{Health: "unhealthy"}, observe.Endpoint{Health: "draining"}), "none of its 2 endpoints is ready"},
		{"elsewhere", &observe.Config{Services: []observe.Service{{ID: "shop/x", External: true, Ports: []observe.ServicePort{{Port: 443}}}}}, ""},
	}
	s := configuration{newServer(t, &fakeMesh{}, nil)}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := s.observed(tt.c, now)
			switch {
			case tt.want == "" && len(got) != 0 || tt.want != "" && len(got) != 1:
				t.Errorf("%+v, want %q", got, tt.want)
			case tt.want != "" && (!strings.HasPrefix(got[0].Text, tt.want) || got[0].Fix == "" || got[0].Command == "" || got[0].Severity != severityWarning):
				t.Errorf("%+v, want %q", got[0], tt.want)
			}
		})
	}
}

// TestMergeConfig: each replica knows its own sidecars; of one that moved, the newer connection counts, and the newest
// certificate, whoever signed it.
func TestMergeConfig(t *testing.T) {
	pod := func(id, state string, since, signed int64) observe.Workload {
		w := observe.Workload{ID: id, Sync: observe.Sync{State: state, Since: since}}
		if signed > 0 {
			w.Certificate = &observe.Certificate{From: signed}
		}
		return w
	}
	got := mergeConfig([]observe.Config{
		{Workloads: []observe.Workload{pod("a", observe.SyncNone, 0, 9), pod("b", admin.Synced, 5, 0), pod("c", admin.Stale, 1, 0)}},
		{Workloads: []observe.Workload{pod("a", admin.Synced, 2, 3), pod("b", observe.SyncNone, 0, 4), pod("c", admin.Synced, 2, 0), pod("d", admin.Synced, 1, 1)}},
	})
	want := []observe.Workload{pod("a", admin.Synced, 2, 9), pod("b", admin.Synced, 5, 4), pod("c", admin.Synced, 2, 0), pod("d", admin.Synced, 1, 1)}
	if diff := cmp.Diff(want, got.Workloads); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestLineOf(t *testing.T) {
	const manifest = "apiVersion: v1\nmetadata:\n  annotations:\n    fairlead.dev/inject: x\nspec:\n  http:\n    - route:\n        - {destination: {host: a}, weight: 9}\n        - weight: 1\n"
	for field, want := range map[string]int{
		"": 0, "spec": 5, "spec.http[0].route[0].weight": 8, "spec.http[0].route[1].weight": 9, "metadata.annotations[fairlead.dev/inject]": 4,
		"spec.http[0].timeout": 7, "spec.http[7].timeout": 6, "nothing": 1, "[": 1,
	} {
		if got := lineOf(manifest, field); got != want {
			t.Errorf("lineOf(%q) = %d, want %d", field, got, want)
		}
	}
	if got := lineOf("a: [", "a"); got != 0 {
		t.Errorf("of what is no YAML: %d", got)
	}
}

func FuzzLineOf(f *testing.F) {
	f.Add("a: {b: [1, 2]}", "a.b[1]")
	f.Fuzz(func(t *testing.T, text, field string) {
		if n := lineOf(text, field); n < 0 {
			t.Errorf("line %d of %q", n, text)
		}
	})
}

// TestSeries: what lies between two points and was not reported is null, so that a chart shows a gap.
func TestSeries(t *testing.T) {
	point := func(at int64, n uint64) traffic.Point {
		s := traffic.Sample{Responses: [traffic.Classes]uint64{2: n}, Failures: n / 2}
		s.Latency[0] = n
		p := traffic.Point{At: at}
		p.Total, p.Latency = traffic.TotalOf(&s)
		return p
	}
	m := &fakeMesh{answer: map[string]any{observe.ViewSeries: traffic.Series{Seconds: 10, Points: []traffic.Point{point(100, 20), point(130, 40)}}}}
	w := get(newServer(t, m, nil), "/api/v1/series?window=600&dst=shop/deployment/a&src=shop/deployment/b")
	want := `{"t":[100,110,120,130],"rps":[2,null,null,4],"success":[0.5,null,null,0.5],`
	if got := w.Body.String(); w.Code != http.StatusOK || !strings.HasPrefix(got, want) {
		t.Errorf("%d %s\nwant %s", w.Code, got, want)
	}
	if q := m.asked[0].Encode(); q != "namespace=&node=shop%2Fdeployment%2Fa&src=shop%2Fdeployment%2Fb&window=10m0s" {
		t.Errorf("asked %s", q)
	}
}

// Object implements Mesh.
func (*fakeMesh) Object(_ context.Context, o observe.ObjectName) (string, error) {
	return "kind: " + o.Kind + "\nspec:\n  hosts: [x]\n", nil
}

// TestObject: a manifest with its own problems, each at its line, and how many sidecars have all that they were sent.
func TestObject(t *testing.T) {
	m := &fakeMesh{answer: map[string]any{
		observe.ViewObjects: []observe.ObjectName{{Kind: "VirtualService", Namespace: "shop", Name: "a"}},
		observe.ViewProblems: []admin.Problem{
			{Severity: "error", Kind: "VirtualService", Object: "shop/a", Field: "spec.hosts[0]", Message: "x is nobody", Fix: "write y"},
			{Severity: "error", Kind: "VirtualService", Object: "shop/b", Message: "another's"},
		},
		observe.ViewConfig: observe.Config{Workloads: []observe.Workload{
			{Sync: observe.Sync{State: admin.Synced}}, {Sync: observe.Sync{State: admin.Refusing}}, {Sync: observe.Sync{State: observe.SyncNone}},
		}},
	}}
	s := newServer(t, m, nil)
	var got Object
	w := get(s, "/api/v1/object?kind=VirtualService&ns=shop&name=a")
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatalf("%s: %v", w.Body, err)
	}
	want := Object{
		YAML: "kind: VirtualService\nspec:\n  hosts: [x]\n", Acked: 1, Of: 2, Command: "fairlead check",
		Problems: []ObjectProblem{{Path: "spec.hosts[0]", Line: 3, Severity: "error", Text: "x is nobody", Fix: "write y"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if w := get(s, "/api/v1/object?kind=Secret&ns=shop&name=a"); w.Code != http.StatusNotFound {
		t.Errorf("what the mesh does not read: %d %s", w.Code, w.Body)
	}
}

package kube

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	istiometa "istio.io/api/meta/v1alpha1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.dev/fairlead/internal/model"
)

// write runs a Writer against f until the test ends.
func write(t *testing.T, f *fakeServer) (*Writer, *buffer) {
	t.Helper()
	log, text := newLog()
	w, err := NewWriter(WriterOptions{Config: f.config(), Logger: log, Rate: 10000, Burst: 10000})
	if err != nil {
		t.Fatal(err)
	}
	w.first = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	return w, text
}

// patched waits for the nth patch and gives its status.
func (f *fakeServer) patched(t *testing.T, n int) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		f.mu.Lock()
		patches, changed := f.patches, f.changed
		f.mu.Unlock()
		if len(patches) >= n {
			var p struct{ Status json.RawMessage }
			if err := json.Unmarshal([]byte(patches[n-1]), &p); err != nil {
				t.Fatal(err)
			}
			return string(p.Status)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("patches: %q, want %d", patches, n)
		}
	}
}

func routeRef(kind string) model.Ref {
	return model.Ref{Kind: kind, Key: model.Key{Namespace: "myapp", Name: "users"}}
}

// ours keeps the entries of others and replaces that of "fairlead".
func ours(parent string) RouteParents {
	return func(existing []gatewayv1.RouteParentStatus) []gatewayv1.RouteParentStatus {
		var out []gatewayv1.RouteParentStatus
		for _, p := range existing {
			if p.ControllerName != "fairlead" {
				out = append(out, p)
			}
		}
		return append(out, gatewayv1.RouteParentStatus{
			ControllerName: "fairlead", ParentRef: gatewayv1.ParentReference{Name: gatewayv1.ObjectName(parent)},
		})
	}
}

func newRoutes(t *testing.T) *fakeServer {
	t.Helper()
	f := newFake(t)
	f.offer(gatewayV1, "HTTPRoute")
	f.put(t, httpRoutes, `{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: users, namespace: myapp},
		status: {parents: [{controllerName: other, parentRef: {name: gate}, conditions: []}]}}`)
	return f
}

func TestWriterKeepsTheEntriesOfOthers(t *testing.T) {
	f := newRoutes(t)
	w, _ := write(t, f)
	if err := w.Set(routeRef("HTTPRoute"), ours("users")); err != nil {
		t.Fatal(err)
	}
	const want = `{"parents":[{"controllerName":"other","parentRef":{"name":"gate"}},{"controllerName":"fairlead","parentRef":{"name":"users"}}]}`
	if diff := cmp.Diff(want, f.patched(t, 1)); diff != "" {
		t.Errorf("patch (-want +got):\n%s", diff)
	}
}

func TestWriterLeavesAnEqualStatusAlone(t *testing.T) {
	f := newRoutes(t)
	w, _ := write(t, f)
	for _, parent := range []string{"users", "users", "orders"} {
		if err := w.Set(routeRef("HTTPRoute"), ours(parent)); err != nil {
			t.Fatal(err)
		}
		w.drained(t)
	}
	if got := f.patched(t, 2); !strings.Contains(got, "orders") {
		t.Errorf("second patch = %s, want that of orders", got)
	}
	if n := f.seen("PATCH"); n != 2 {
		t.Errorf("%d patches, want 2", n)
	}
}

// drained waits until nothing is left to write.
func (w *Writer) drained(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if _, pending, _ := w.next(); pending == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("there is something left to write")
		}
	}
}

func TestWriterReadsAgainAfterAConflict(t *testing.T) {
	f := newRoutes(t)
	var gets atomic.Int32
	f.onGet = func() {
		if gets.Add(1) == 1 { // somebody else writes after we have read
			f.put(t, httpRoutes, `{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: users, namespace: myapp},
				status: {parents: [{controllerName: third, parentRef: {name: x}, conditions: []}]}}`)
		}
	}
	w, log := write(t, f)
	if err := w.Set(routeRef("HTTPRoute"), ours("users")); err != nil {
		t.Fatal(err)
	}
	if got := f.patched(t, 1); !strings.Contains(got, "third") || !strings.Contains(got, "fairlead") {
		t.Errorf("patch = %s, want the third's entry and ours", got)
	}
	if n := log.count("level=WARN"); n != 0 {
		t.Errorf("%d warnings about a conflict", n)
	}
}

func TestWriterOfIstioStatus(t *testing.T) {
	f := newFake(t)
	f.offer(istioV1, "VirtualService")
	f.put(t, virtual, `{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: users, namespace: myapp},
		status: {observedGeneration: "2", conditions: [{type: Other, status: "True"}], validationMessages: [{level: ERROR}]}}`)
	w, _ := write(t, f)
	err := w.Set(routeRef("VirtualService"), IstioStatus(func(existing *istiometa.IstioStatus) *istiometa.IstioStatus {
		existing.Conditions = append(existing.Conditions, &istiometa.IstioCondition{Type: "Reconciled", Status: "True"})
		existing.ValidationMessages = nil
		return existing
	}))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"conditions":[{"status":"True","type":"Other"},{"status":"True","type":"Reconciled"}],"validationMessages":null}`
	if diff := cmp.Diff(want, f.patched(t, 1)); diff != "" {
		t.Errorf("patch (-want +got):\n%s", diff)
	}
}

func TestWriterTriesAgain(t *testing.T) {
	f := newRoutes(t)
	object := "/apis/" + gatewayV1 + "/namespaces/myapp/httproutes/users"
	f.answer(object, http.StatusForbidden)
	w, log := write(t, f)
	if err := w.Set(routeRef("HTTPRoute"), ours("users")); err != nil {
		t.Fatal(err)
	}
	log.until(t, `the ClusterRole fairlead-controller needs {apiGroups: [\"gateway.networking.k8s.io\"], resources: [\"httproutes\"], verbs: [\"get\"]} `+
		`and {apiGroups: [\"gateway.networking.k8s.io\"], resources: [\"httproutes/status\"], verbs: [\"patch\"]}`)
	f.answer(object, http.StatusServiceUnavailable)
	log.until(t, "the API server is away")
	f.answer(object, 0)
	if got := f.patched(t, 1); !strings.Contains(got, "fairlead") {
		t.Errorf("patch = %s", got)
	}
	log.until(t, "statuses can be written again")
	if n := log.count("level=WARN"); n != 2 {
		t.Errorf("%d warnings, want one per reason:\n%s", n, log.text.String())
	}
}

func TestWriterForgetsWhatIsGone(t *testing.T) {
	f := newRoutes(t)
	w, log := write(t, f)
	gone := model.Ref{Kind: "HTTPRoute", Key: model.Key{Namespace: "myapp", Name: "gone"}}
	for _, ref := range []model.Ref{gone, routeRef("VirtualService")} { // the latter's CRD is absent
		var status Status = ours("x")
		if ref.Kind == "VirtualService" {
			status = IstioStatus(func(in *istiometa.IstioStatus) *istiometa.IstioStatus { return in })
		}
		if err := w.Set(ref, status); err != nil {
			t.Fatal(err)
		}
	}
	w.drained(t)
	if n := log.count("level=WARN"); n != 0 {
		t.Errorf("%d warnings:\n%s", n, log.text.String())
	}
	if err := w.Set(model.Ref{Kind: "Service"}, ours("x")); err == nil {
		t.Error("Set of a Service = nil, want an error")
	}
}

func TestMergePatch(t *testing.T) {
	type status map[string]any
	for _, tt := range []struct {
		name     string
		is, want status
		patch    map[string]any
	}{
		{"equal", status{"a": 1}, status{"a": 1}, nil},
		{"none_and_empty_are_equal", status{}, status{"a": []any{}}, nil},
		{"changed", status{"a": 1, "b": 2}, status{"a": 2, "b": 2}, map[string]any{"a": 2.0}},
		{"added", status{}, status{"a": []any{1}}, map[string]any{"a": []any{1.0}}},
		{"removed", status{"a": 1}, status{}, map[string]any{"a": nil}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := mergePatch(tt.is, tt.want)
			if diff := cmp.Diff(tt.patch, got); err != nil || diff != "" {
				t.Errorf("mergePatch (-want +got):\n%s%v", diff, err)
			}
		})
	}
}

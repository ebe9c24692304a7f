package controlplane

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/graph"
	"fairlead.dev/fairlead/internal/inject"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source/file"
	"fairlead.dev/fairlead/internal/store"
)

// engineWith is an engine in which manifests are in force.
func engineWith(t *testing.T, manifests string) *engine {
	t.Helper()
	e := newEngine(engineOptions{
		global: compile.Global{TrustDomain: "cluster.local", ClusterDomain: "cluster.local"}, log: slog.New(slog.DiscardHandler),
		publish: func([]graph.Key, time.Time) {},
	})
	objects, problems := file.Decode("a.yaml", []byte(manifests))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	e.store.Commit(func(tx *store.Txn) {
		for i := range objects {
			e.kinds.Translate(objects[i].Value, config.Place{Ref: objects[i].Ref, ClusterDomain: "cluster.local"}).Commit(tx)
		}
	})
	return e
}

const usersInForce = `
apiVersion: v1
kind: Service
metadata: {name: users, namespace: myapp}
spec: {ports: [{name: http, port: 80}], clusterIP: 10.0.0.1}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: users, namespace: myapp}
spec: {host: users, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: broken-by-others, namespace: myapp}
spec: {hosts: [users], http: [{route: [{destination: {host: nobody}}]}]}
`

func TestReview(t *testing.T) {
	e := engineWith(t, usersInForce)
	route := func(spec string) string {
		return `{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","metadata":{"name":"users","namespace":"myapp",
			"managedFields":[{"manager":"kubectl","operation":"Apply"}]},"spec":` + spec + `}`
	}
	for _, tt := range []struct {
		name, object      string
		refusals, warning string
	}{
		{"good", route(`{"hosts":["other"],"http":[{"route":[{"destination":{"host":"users","subset":"v1"}}]}]}`), "", "hosts[0]"},
		{"subset", route(`{"hosts":["users"],"http":[{"route":[{"destination":{"host":"users","subset":"v9"}}]}]}`), "", `subset "v9" is not defined`},
		{"timeout", route(`{"hosts":["users"],"http":[{"timeout":"3parsecs","route":[{"destination":{"host":"users"}}]}]}`), "spec.http[0].timeout", ""},
		{"unknown_field", route(`{"hosts":["users"],"htpp":[]}`), "spec.htpp", ""},
		{"no_json", `{`, "object.json", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := e.review([]byte(tt.object))
			if got := strings.Join(v.refusals, "\n"); (tt.refusals == "") != (got == "") || !strings.Contains(got, strings.TrimSuffix(tt.refusals, "object.json")) {
				t.Errorf("refusals %q, want %q", got, tt.refusals)
			}
			got := strings.Join(v.warnings, "\n")
			if !strings.Contains(got, tt.warning) || strings.Contains("\n"+got, "\nVirtualService myapp/broken-by-others") {
				t.Errorf("warnings %q, want %q and nothing of other objects", got, tt.warning)
			}
			if strings.Contains(got, "object.json") {
				t.Errorf("warnings %q name a file that the user has not", got)
			}
		})
	}
	if rs := store.List[model.RouteSet](e.reader()); len(rs) != 1 {
		t.Errorf("after reviews %d routes are in force, want 1", len(rs))
	}
}

func TestValidatorAnswers(t *testing.T) {
	p := &ControlPlane{engine: engineWith(t, usersInForce), metrics: newMetrics("test")}
	ask := func(operation admissionv1.Operation, object string) *admissionv1.AdmissionResponse {
		t.Helper()
		body, err := json.Marshal(admissionv1.AdmissionReview{Request: &admissionv1.AdmissionRequest{
			UID: "u", Operation: operation, Object: runtime.RawExtension{Raw: []byte(object)},
		}})
		if err != nil {
			t.Fatal(err)
		}
		body = bytes.Replace(body, []byte("{"), []byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview",`), 1)
		r := httptest.NewRequest(http.MethodPost, "/validate", bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		p.validator().ServeHTTP(w, r)
		var review admissionv1.AdmissionReview
		if err := json.Unmarshal(w.Body.Bytes(), &review); err != nil {
			t.Fatalf("%v: %s", err, w.Body)
		}
		return review.Response
	}
	const broken = `{"apiVersion":"networking.istio.io/v1","kind":"DestinationRule","metadata":{"name":"d","namespace":"myapp"},"spec":{}}`
	if r := ask(admissionv1.Create, broken); r.Allowed || !strings.HasPrefix(r.Result.Message, "fairlead: DestinationRule myapp/d: spec.host") {
		t.Errorf("create: %+v %+v", r, r.Result)
	}
	if r := ask(admissionv1.Delete, broken); !r.Allowed {
		t.Errorf("delete is held up: %+v", r)
	}
}

// A Service that is written just before a route to it is not missed.
func TestReviewWaitsForWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := engineWith(t, "")
		const route = `{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","metadata":{"name":"users","namespace":"myapp"},
			"spec":{"hosts":["users"],"http":[{"route":[{"destination":{"host":"users","port":{"number":80}}}]}]}}`
		if v := e.reviewPatiently(t.Context(), []byte(route)); !v.missing || len(v.warnings) == 0 {
			t.Fatalf("nothing is missed: %+v", v)
		}
		time.AfterFunc(3*missingPause, func() {
			objects, _ := file.Decode("a.yaml", []byte(usersInForce))
			e.store.Commit(func(tx *store.Txn) {
				e.kinds.Translate(objects[0].Value, config.Place{Ref: objects[0].Ref, ClusterDomain: "cluster.local"}).Commit(tx)
			})
		})
		begun := time.Now()
		if v := e.reviewPatiently(t.Context(), []byte(route)); len(v.warnings) != 0 {
			t.Errorf("after %s: %v", time.Since(begun), v.warnings)
		}
	})
}

// The file may change, and may be broken for a while.
func TestInjectorConfigIsReadAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "injector.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log strings.Builder
	c := injectorConfig{path: path, base: inject.DefaultConfig(), log: slog.New(slog.NewTextHandler(&log, nil))}
	if _, err := c.read(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("no file: %v", err)
	}
	write("image: a:1\nlogLevel: debug")
	if got := c.current().LogLevel; got != "debug" {
		t.Errorf("log level %q", got)
	}
	write("logLevel: [")
	if got := c.current().LogLevel; got != "debug" || !strings.Contains(log.String(), path) {
		t.Errorf("after a mistake: log level %q, log %q", got, log.String())
	}
	write("image: a:1\nlogLevel: warn")
	if got := c.current().LogLevel; got != "warn" {
		t.Errorf("after the correction: log level %q", got)
	}
}

package incluster

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"
)

// statusServer answers patches of pods' statuses.
type statusServer struct {
	mu     sync.Mutex
	code   int
	calls  []string // "seconds method path content-type"
	bodies []string
	began  time.Time
}

func (s *statusServer) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	s.calls = append(s.calls, strings.Join([]string{time.Since(s.began).String(), r.Method, r.URL.Path, r.Header.Get("Content-Type")}, " "))
	s.bodies = append(s.bodies, string(body))
	answer := map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": s.code, "message": "pods \"a\" is forbidden: no"}
	switch s.code {
	case http.StatusForbidden:
		answer["reason"] = "Forbidden"
	case http.StatusNotFound:
		answer["reason"] = "NotFound"
	case http.StatusConflict:
		answer["reason"] = "Conflict"
	}
	text, err := json.Marshal(answer)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: s.code, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(text)), Request: r}, nil
}

func (s *statusServer) take() (calls, bodies []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls, bodies = s.calls, s.bodies
	s.calls, s.bodies, s.began = nil, nil, time.Now()
	return calls, bodies
}

func (s *statusServer) answer(code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.code = code
}

func TestPodConditions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, l := &statusServer{code: http.StatusOK, began: time.Now()}, &logs{}
		client, err := NewClient(&rest.Config{Host: "https://api.example", Transport: server})
		if err != nil {
			t.Fatal(err)
		}
		p, err := NewPodConditions(PodConditionsOptions{Client: client, Logger: l.logger()})
		if err != nil {
			t.Fatal(err)
		}
		background(t, func(ctx context.Context) { p.Run(ctx) })
		pod := Pod{Namespace: "shop", Name: "a", UID: "u1"}
		set := func(holds bool) {
			p.Set(pod, []PodCondition{{Type: "health.fairlead.dev/reviews", Reason: "CheckFails", Message: "no answer", Holds: holds, Since: time.Unix(0, 0).UTC()}})
			synctest.Wait()
		}
		const patch = " PATCH /api/v1/namespaces/shop/pods/a/status application/strategic-merge-patch+json"
		set(false)
		calls, bodies := server.take()
		if diff := cmp.Diff([]string{"0s" + patch}, calls); diff != "" {
			t.Fatalf("calls (-want +got):\n%s", diff)
		}
		const want = `{"metadata":{"uid":"u1"},"status":{"conditions":[{"type":"health.fairlead.dev/reviews","status":"False","reason":"CheckFails","message":"no answer","lastTransitionTime":"1970-01-01T00:00:00Z"}]}}`
		if bodies[0] != want {
			t.Errorf("body = %s\nwant   %s", bodies[0], want)
		}
		for i := range 600 { // flaps for ten minutes
			set(i%2 == 0)
			time.Sleep(time.Second)
		}
		if calls, _ = server.take(); len(calls) < 10 || len(calls) > 20 {
			t.Errorf("%d writes in ten minutes, want about one per minute", len(calls))
		}
		time.Sleep(2 * calm)
		server.take()
		for _, code := range []int{http.StatusNotFound, http.StatusConflict} { // gone, another one by now
			server.answer(code)
			set(true)
			time.Sleep(time.Hour)
			if calls, _ = server.take(); len(calls) != 1 {
				t.Errorf("after %d: %d calls, want 1", code, len(calls))
			}
		}
		server.answer(http.StatusForbidden)
		set(false)
		time.Sleep(10 * time.Minute)
		if lines := l.with("cannot write to the API server", "resources: [pods/status]", "verbs: [patch]"); len(lines) != 1 {
			t.Errorf("log = %q, want one line that names the rule", l.lines())
		}
		p.Forget("shop", "a")
		server.take()
		time.Sleep(10 * time.Minute)
		if calls, _ = server.take(); len(calls) > 0 {
			t.Errorf("calls for a pod that is gone: %q", calls)
		}
	})
}

package proxy

import (
	"net/http"
	"strings"
	"testing"
)

// An app says by fields of its request how that is retried; the called app sees nothing of them, and which try it gets.
func TestAppsSayHowTheirRequestsAreRetried(t *testing.T) {
	for _, tt := range []struct {
		name    string
		retries string
		fields  map[string]string
		want    int // requests at the app
	}{
		{"no_word", "", nil, 1},
		{"envoys", "", map[string]string{"X-Envoy-Retry-On": "5xx"}, 3},
		{"envoys_and_how_often", "", map[string]string{"X-Envoy-Retry-On": "5xx", "X-Envoy-Max-Retries": "1"}, 2},
		{"envoys_statuses", "", map[string]string{"X-Envoy-Retry-On": "retriable-status-codes", "X-Envoy-Retriable-Status-Codes": "503"}, 3},
		{"envoys_fields", "", map[string]string{"X-Envoy-Retry-On": "retriable-headers", "X-Envoy-Retriable-Header-Names": "Retry-After"}, 3},
		{"linkerds", "", map[string]string{"L5d-Retry-Http": "5xx", "L5d-Retry-Limit": "1"}, 2},
		{"less_than_the_route", "retries: {attempts: 2, retryOn: 5xx, backoff: 1ms}", map[string]string{"X-Envoy-Max-Retries": "0"}, 1},
		{"never", "retries: {attempts: 0}", map[string]string{"X-Envoy-Retry-On": "5xx"}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			app, c, _ := retryingService(t, tt.retries, "")
			var counts []string
			app.seen = func(r *http.Request) {
				counts = append(counts, r.Header.Get("X-Envoy-Attempt-Count"))
				for name := range r.Header {
					if l := strings.ToLower(name); strings.HasPrefix(l, "x-envoy-") && l != "x-envoy-attempt-count" || strings.HasPrefix(l, "l5d-") {
						t.Errorf("the app sees %s", name)
					}
				}
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, usersURL+"/", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Envoy-Attempt-Count", "7") // of the call that this one is part of
			for name, value := range tt.fields {
				req.Header.Set(name, value)
			}
			resp, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if want := strings.Fields("1 2 3")[:tt.want]; strings.Join(counts, " ") != strings.Join(want, " ") {
				t.Errorf("the app got tries %q, want %q", counts, want)
			}
		})
	}
}

// What a caller writes about retries means nothing to the called sidecar, and does not reach the app.
func TestCallersDoNotSayHowRequestsAreRetried(t *testing.T) {
	m := newMesh(t)
	users := m.sidecar("users")
	app2 := new(failingApp)
	app2.seen = func(r *http.Request) {
		if r.Header.Get("X-Envoy-Retry-On") != "" || r.Header.Get("L5d-Retry-Http") != "" {
			t.Errorf("the app sees %v", r.Header)
		}
	}
	m.plainApp(app(users), app2)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, usersURL+"/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Envoy-Retry-On", "5xx")
	req.Header.Set("X-Envoy-Max-Retries", "3")
	req.Header.Set("L5d-Retry-Http", "5xx")
	resp, err := m.dialled(m.plainly(users, app(users))).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := app2.got.Load(); got != 1 {
		t.Errorf("the app got it %d times", got)
	}
}

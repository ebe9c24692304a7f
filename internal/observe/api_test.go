package observe

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
)

func TestAPIRefuses(t *testing.T) {
	w := newWorld(t)
	for range maxListeners {
		if err := w.hub.open(&listener{}); err != nil {
			t.Fatal(err)
		}
	}
	missing := ""
	var asked []Permission
	api := &API{
		Hub: w.hub, Ready: func() string { return missing },
		Authorize: func(_ context.Context, token string, p Permission) error {
			asked = append(asked, p)
			if token != "good" {
				return &RefusalError{http.StatusForbidden, "no"}
			}
			return nil
		},
		Views: map[string]http.Handler{"edges": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("[]")) })},
	}
	tests := []struct {
		name, method, path, token, body, missing string
		status                                   int
		want                                     string
		asked                                    Permission
	}{
		{"no_json", "POST", PathTap, "good", "x", "", 400, "the query is none: ", Permission{}},
		{"bad_query", "POST", PathTap, "good", `{"filter":{"status":"x"}}`, "", 400, `--status "x" is no status`, Permission{}},
		{"too_long", "POST", PathTap, "good", `"` + strings.Repeat("x", maxQuery) + `"`, "", 400, "more than 65536 bytes", Permission{}},
		{"not_allowed", "POST", PathTap, "bad", `{"resource":{"namespace":"a"}}`, "", 403, "no\n", Permission{TapHeads, "a"}},
		{"secrets", "POST", PathTap, "bad", `{"resource":{"namespace":"a"},"headers":true,"secrets":true}`, "", 403, "no\n", Permission{Secrets, "a"}},
		{"not_ready", "POST", PathTap, "good", `{}`, "it starts", 503, "the control plane is not ready: it starts", Permission{Kind: TapHeads}},
		{"one_too_many", "POST", PathTap, "good", `{}`, "", 429, "32 taps are open on this replica", Permission{Kind: TapHeads}},
		{"view_not_allowed", "GET", PathViews + "edges?namespace=b", "", "", "", 403, "no\n", Permission{View, "b"}},
		{"view", "GET", PathViews + "edges", "good", "", "", 200, "[]", Permission{Kind: View}},
		{"unknown", "GET", PathViews + "none", "good", "", "", 404, "", Permission{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			asked, missing = nil, tt.missing
			r := httptest.NewRequest(tt.method, tt.path, strings.NewReader(tt.body))
			r.Header.Set("Authorization", "Bearer "+tt.token)
			out := httptest.NewRecorder()
			api.Handler().ServeHTTP(out, r)
			if out.Code != tt.status || !strings.Contains(out.Body.String(), tt.want) {
				t.Errorf("%d %s, want %d and %q", out.Code, out.Body, tt.status, tt.want)
			}
			if tt.asked != (Permission{}) && (len(asked) != 1 || asked[0] != tt.asked) || tt.asked == (Permission{}) && asked != nil {
				t.Errorf("asked for %v, want %v", asked, tt.asked)
			}
		})
	}
}

func TestAPIStreams(t *testing.T) {
	w := newWorld(t)
	a := podAt("a", "10.0.0.1")
	w.town.add(a)
	tap, end := w.connect(a, nil)
	server := httptest.NewServer((&API{Hub: w.hub, Ready: func() string { return "" }}).Handler())
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+PathTap, strings.NewReader(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	frames := json.NewDecoder(bufio.NewReader(resp.Body))
	next := func() (f Frame) {
		if err := frames.Decode(&f); err != nil {
			t.Fatal(err)
		}
		return f
	}
	for f := next(); f.Began == nil || f.Began.Asked != 1; f = next() {
		continue // the sidecar is connecting
	}
	for tap.orders.Load() == nil {
		runtime.Gosched() // it has been asked, and is about to hear it
	}
	tap.Record(call("/x", 200))
	var shown *Event
	for shown == nil {
		shown = next().Event
	}
	if shown.Path != "/x" || shown.Pod != "a.myapp" || shown.Source.Labels["pod"] != "a" {
		t.Errorf("shown %+v", shown)
	}
	cancel()
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	end()
	w.joined.Wait()
}

package admin

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// page is a page of metrics that says the same each time.
func page(text string) *Metrics {
	return &Metrics{Write: func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}}
}

// TestAppsMetricsAreOnOnePortOnly: 15020 tells all that the pod has to tell, 15090 what the sidecar itself counted.
func TestAppsMetricsAreOnOnePortOnly(t *testing.T) {
	pages := Sidecar{
		Metrics: page("own_metric 1\n"), Probes: http.NotFoundHandler(), Ready: func() string { return "" },
		App: func(_ *http.Request, w io.Writer) error {
			_, err := io.WriteString(w, "app_metric 1\n")
			return err
		},
	}
	without := pages
	without.App = nil
	for _, tt := range []struct {
		name    string
		handler http.Handler
		path    string
		app     bool
	}{
		{"agent", pages.Agent(), "/stats/prometheus", true},
		{"agent_itself", pages.Agent(), "/metrics", false},
		{"public", pages.Public(), "/stats/prometheus", false},
		{"admin", pages.Admin(), "/stats/prometheus", false},
		{"no_app_metrics", without.Agent(), "/stats/prometheus", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			tt.handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, tt.path, http.NoBody))
			got := w.Body.String()
			if w.Code != http.StatusOK || !strings.Contains(got, "own_metric 1") || strings.HasSuffix(got, "app_metric 1\n") != tt.app {
				t.Errorf("%d, %s; want the app's part %t", w.Code, got, tt.app)
			}
		})
	}
}

package controlplane

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The clock of another cluster's API server is ten minutes ahead: it is followed, and who asks how it stands with it is told.
func TestClockOfAnotherCluster(t *testing.T) {
	w := start(t, "users.yaml", usersService)
	ended := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		out.Header().Set("Date", time.Now().Add(10*time.Minute).UTC().Format(http.TimeFormat))
		switch {
		case strings.HasPrefix(r.URL.Path, "/apis/") && strings.Count(r.URL.Path, "/") == 3:
			http.NotFound(out, r) // it has no kinds of others
		case r.URL.Query().Get("watch") == "true":
			out.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(out).Flush()
			select {
			case <-ended:
			case <-r.Context().Done():
			}
		default:
			out.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(out, `{"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []}`)
		}
	}))
	t.Cleanup(func() { close(ended); server.Close() })
	text := fmt.Sprintf("{apiVersion: v1, kind: Config, current-context: east, clusters: [{name: east, cluster: {server: %q}}], users: [{name: east, user: {token: t}}], contexts: [{name: east, context: {cluster: east, user: east}}]}", server.URL)
	if err := os.WriteFile(filepath.Join(w.others, "east"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the cluster is followed, and its clock is said", func() bool {
		c := w.clusters(t)["east"]
		return c.SyncStatus == "synced" && strings.HasPrefix(c.Cause, "the clock of its API server is ") && strings.Contains(c.Cause, " ahead of this control plane's: ")
	})
	eventually(t, "the log says so", func() bool {
		return strings.Contains(w.log.String(), "how the clock of a cluster goes")
	})
}

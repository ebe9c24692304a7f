package controlplane

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/rest"

	"fairlead.dev/fairlead/internal/incluster"
)

// TestNotReadyBeforeTheAPIServerTrustsTheWebhooks: a replica that is ready while the registrations have no caBundle is
// one with which no pod of an opted-in namespace can be made, and nothing says why.
func TestNotReadyBeforeTheAPIServerTrustsTheWebhooks(t *testing.T) {
	const roots = "roots of this mesh"
	var bundle atomic.Value
	bundle.Store("")
	var refused atomic.Int32 // attempts to write it
	changed := make(chan struct{})
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind := "MutatingWebhookConfiguration"
		if strings.Contains(r.URL.Path, "validating") {
			kind = "ValidatingWebhookConfiguration"
		}
		current := func() (object, version string) {
			roots := bundle.Load().(string)
			version = strconv.Itoa(1 + min(len(roots), 1))
			return fmt.Sprintf(`{"apiVersion":"admissionregistration.k8s.io/v1","kind":%q,"metadata":{"name":"it","resourceVersion":%q},"webhooks":[{"name":"a.fairlead.dev","clientConfig":{"caBundle":%q}}]}`,
				kind, version, base64.StdEncoding.EncodeToString([]byte(roots))), version
		}
		object, version := current()
		w.Header().Set("Content-Type", "application/json")
		switch query := r.URL.Query(); {
		case r.Method == http.MethodPatch:
			refused.Add(1)
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}`)
		case query.Get("sendInitialEvents") != "":
			w.WriteHeader(http.StatusUnprocessableEntity) // this API server has lists only
			io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422}`)
		case query.Get("watch") != "":
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			select {
			case <-changed:
			case <-r.Context().Done():
				return
			}
			if object, version = current(); query.Get("resourceVersion") != version {
				fmt.Fprintf(w, `{"type":"MODIFIED","object":%s}`, object)
				w.(http.Flusher).Flush()
			}
			<-r.Context().Done()
		default:
			fmt.Fprintf(w, `{"apiVersion":"admissionregistration.k8s.io/v1","kind":"%sList","metadata":{"resourceVersion":%q},"items":[%s]}`, kind, version, object)
		}
	}))
	t.Cleanup(api.Close)
	client, err := incluster.NewClient(&rest.Config{Host: api.URL})
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{}
	wantUnready := func(text string) {
		t.Helper()
		if got := c.unready(); !strings.Contains(got, text) || text == "" && got != "" {
			t.Errorf("unready = %q, want %q", got, text)
		}
	}
	wantUnready("webhook port")
	c.serving.Store(true)
	wantUnready("caBundle")
	if c.webhooks, err = incluster.NewWebhooks(incluster.WebhooksOptions{Client: client, Roots: []byte(roots), Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { c.webhooks.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	eventually(t, "the old bundle has been seen", func() bool { return refused.Load() > 0 })
	wantUnready("caBundle")
	bundle.Store(roots)
	close(changed)
	eventually(t, "ready once the bundle is there", func() bool { return c.unready() == "" })
}

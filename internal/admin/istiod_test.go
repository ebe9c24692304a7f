package admin

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// get asks a controller's monitor port from loopback.
func get(t *testing.T, c Controller, path string, header http.Header) (status int, body string) {
	t.Helper()
	s := httptest.NewServer(c.Handler())
	defer s.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// TestVersionAsAnIstiod: the bare text for Kiali, JSON for the fairlead command.
func TestVersionAsAnIstiod(t *testing.T) {
	c := Controller{Version: "1.2.3-abc", Ready: func() string { return "" }}
	if status, body := get(t, c, "/version", nil); status != http.StatusOK || body != "1.2.3-abc" {
		t.Errorf("GET /version = %d %q", status, body)
	}
	if _, body := get(t, c, "/version", http.Header{"Accept": {"application/json"}}); body != "{\n  \"version\": \"1.2.3-abc\"\n}\n" {
		t.Errorf("GET /version, JSON = %q", body)
	}
}

func TestReadyAsAnIstiod(t *testing.T) {
	missing := "a CA"
	c := Controller{Ready: func() string { return missing }}
	if status, body := get(t, c, "/ready", nil); status != http.StatusServiceUnavailable || body != "a CA\n" {
		t.Errorf("not ready: %d %q", status, body)
	}
	missing = ""
	if status, _ := get(t, c, "/ready", nil); status != http.StatusOK {
		t.Errorf("ready: %d", status)
	}
}

// TestSyncAsAnIstiod: what each tool reads is there, and Kiali's rule, the same and not empty, says what the state says.
func TestSyncAsAnIstiod(t *testing.T) {
	for _, tt := range []struct {
		name        string
		proxy       Proxy
		sent, acked string
	}{
		{"nothing was sent", Proxy{State: Synced}, "", ""},
		{"everything is confirmed", Proxy{State: Synced, Sent: 7, Acked: 6}, "7", "7"},
		{"something is not", Proxy{State: Stale, Sent: 7, Acked: 6}, "7", "6"},
		{"nothing is", Proxy{State: Stale, Sent: 7}, "7", ""},
		{"something is refused", Proxy{State: Refusing, Sent: 7, Acked: 7}, "7", ""},
		{"the pod is not known", Proxy{State: Unknown, Sent: 7, Acked: 6}, "7", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.proxy.ID, tt.proxy.Version = "users-1.shop", "1.2.3"
			got := asIstiod(&tt.proxy, "one")
			want := istiodSync{
				ClusterID: "one", Proxy: "users-1.shop", ProxyType: "sidecar", ProxyVersion: "1.2.3", IstioVersion: "1.2.3",
				ClusterSent: tt.sent, ClusterAcked: tt.acked, ListenerSent: tt.sent, ListenerAcked: tt.acked,
				RouteSent: tt.sent, RouteAcked: tt.acked, EndpointSent: tt.sent, EndpointAcked: tt.acked,
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestSyncPageIsBoth: the page is read back as fairlead proxy-status reads it, and has Istio's keys beside.
func TestSyncPageIsBoth(t *testing.T) {
	proxies := []Proxy{
		{ID: "users-1.shop", State: Synced, Sent: 3, Acked: 3, ConnectedSince: time.Unix(1, 0).UTC()},
		{ID: "grpc-1.shop", Node: "sidecar~10.0.0.1~grpc-1.shop~shop", State: Stale, Types: []TypeSync{
			{Type: "CDS", Sent: "a", InForce: "a"}, {Type: "LDS", Sent: "b", InForce: "b"}, {Type: "RDS", Sent: "c"}, {Type: "EDS", Sent: "d", InForce: "x"},
		}},
	}
	status, body := get(t, Controller{ClusterID: "one", Proxies: func() []Proxy { return proxies }}, pathProxies, nil)
	if status != http.StatusOK {
		t.Fatal(status, body)
	}
	var ours []Proxy
	var istio []map[string]any
	for _, into := range []any{&ours, &istio} {
		if err := json.Unmarshal([]byte(body), into); err != nil {
			t.Fatal(err, body)
		}
	}
	if diff := cmp.Diff(proxies, ours); diff != "" {
		t.Errorf("as the fairlead command reads it (-want +got):\n%s", diff)
	}
	for i, want := range []map[string]any{
		{"cluster_id": "one", "proxy": "users-1.shop", "cluster_sent": "3", "cluster_acked": "3", "endpoint_acked": "3"},
		{"proxy": "grpc-1.shop", "cluster_sent": "a", "cluster_acked": "a", "listener_acked": "b", "route_sent": "c", "route_acked": nil, "endpoint_sent": "d", "endpoint_acked": "x"},
	} {
		for key, value := range want {
			if istio[i][key] != value {
				t.Errorf("%s of %s = %v, want %v", key, proxies[i].ID, istio[i][key], value)
			}
		}
	}
}

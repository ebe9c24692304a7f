package controlplane

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/admin"
)

// TestEndpointsThatNobodyAskedFor: the page compiles them, by each way to name what is called.
func TestEndpointsThatNobodyAskedFor(t *testing.T) {
	w := start(t, "service.yaml", usersService, "slice.yaml", usersSlice(1, 2), "entry.yaml", `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ext, namespace: myapp}
spec:
  hosts: [api.example.com]
  ports: [{name: http, number: 80, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 192.0.2.7}]
`)
	ask := func(authority string) string {
		var shards []admin.Shard
		if err := json.Unmarshal([]byte(w.get(t, "/debug/endpointz?authority="+authority)), &shards); err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, s := range shards {
			found = append(found, s.Service)
			for _, e := range s.Endpoints {
				found = append(found, e.Address)
			}
		}
		return strings.Join(found, " ")
	}
	eventually(t, "the objects are read", func() bool { return w.status(t, "/debug/endpointz?authority=api.example.com:80") == http.StatusOK })
	for authority, want := range map[string]string{
		"users.myapp.svc.cluster.local:8080": "myapp/users 10.0.0.1:8080 10.0.0.2:8080",
		"users.myapp.svc:8080":               "myapp/users 10.0.0.1:8080 10.0.0.2:8080",
		"Users.myapp:8080":                   "myapp/users 10.0.0.1:8080 10.0.0.2:8080",
		"10.96.0.5:8080":                     "myapp/users 10.0.0.1:8080 10.0.0.2:8080",
		"api.example.com:80":                 "myapp/ext 192.0.2.7:80",
	} {
		if got := ask(authority); got != want {
			t.Errorf("%s: %q, want %q", authority, got, want)
		}
	}
	for authority, want := range map[string]string{
		"users":              `"users": write HOST:PORT`,
		"nobody:80":          "no Service and no ServiceEntry defines nobody",
		"users.myapp:81":     "users.myapp has no port 81: there are [8080]",
		"192.0.2.1:80":       "no Service and no ServiceEntry defines 192.0.2.1",
		"users.myapp:999999": "write HOST:PORT",
	} {
		path := "/debug/endpointz?authority=" + authority
		if status, said := w.status(t, path), w.get(t, path); status != http.StatusBadRequest || !strings.Contains(said, want) {
			t.Errorf("%s: %d %q, want %q", authority, status, said, want)
		}
	}
	if page := w.get(t, "/debug/endpointz"); page != "[]\n" {
		t.Errorf("what nobody subscribes to is on the page of what was sent: %s", page)
	}
}

//go:build envoy

package lab_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/lab"
	"fairlead.dev/fairlead/test/envoy"
)

// TestEnvoyRenewal has certificates renewed, and the root replaced, while sidecars of both kinds call each other.
func TestEnvoyRenewal(t *testing.T) {
	path, err := envoy.Binary()
	if err != nil {
		t.Fatal(err)
	}
	manifests := []string{object("security.istio.io/v1", "PeerAuthentication", "default", "  mtls: {mode: STRICT}")}
	var pods []string
	for i, kind := range mixed() {
		proxy := "fairlead.dev/proxy: " + kind
		server := app{name: "to-" + kind, replicas: 1, annotations: proxy, args: `--http, "8080,8081"`}
		manifests = append(manifests, app{name: "from-" + kind, replicas: 1, annotations: proxy}.String(), server.String(),
			service("to-"+kind, fmt.Sprint("10.96.8.", 1+i), "app: to-"+kind, http80+", {name: grpc, port: 81, targetPort: 8081}"))
		pods = append(pods, "deploy/from-"+kind+"-v1", "deploy/to-"+kind+"-v1")
	}
	m := startMesh(t, strings.Join(manifests, ""), func(o *lab.UpOptions) { o.Envoy = path }, withMesh(shortLived))
	r := renewal{mesh: m, certificates: m.shownCertificates(pods...), loads: map[string]func(*testing.T) (int, string){}}
	for _, from := range mixed() {
		for _, to := range mixed() {
			maps.Copy(r.loads, m.renewalLoads("deploy/from-"+from+"-v1", "to-"+to))
		}
	}
	t.Run("renewed", r.twice)
	t.Run("the_root_is_replaced", r.root)
}

package lab_test

import (
	"net/http"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/lab"
)

const dataIP = "10.96.0.130"

// TestDataOfApps: apps get variables out of ConfigMaps and Secrets, and wait for those that are not there yet; and names of
// addresses.
func TestDataOfApps(t *testing.T) {
	t.Parallel()
	const secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: late, namespace: shop}\nstringData: {VERSION: \"7\"}\n"
	m := startMesh(t, app{name: "client", replicas: 1}.String()+`
apiVersion: v1
kind: ConfigMap
metadata: {name: names, namespace: shop}
data: {MY_NAME: of-a-config-map}
---`+service("named", dataIP, "app: named", http80))
	m.write(t, "named.yaml", `
apiVersion: v1
kind: Pod
metadata: {name: named, namespace: shop, labels: {app: named}}
spec:
  hostAliases: [{ip: 192.0.2.1, hostnames: [alias.example.com]}]
  containers:
  - name: app
    image: fairlead.dev/demo-app
    args: [--name, $(MY_NAME), --version, $(V)]
    envFrom: [{configMapRef: {name: names}}]
    env: [{name: V, valueFrom: {secretKeyRef: {name: late, key: VERSION}}}]
    ports: [{name: web, containerPort: 8080}]
    readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
`)
	m.await(t, "the reason why the pod is not there", func(st *lab.Status) bool {
		return len(keep(strings.Join(st.Waiting, "\n"), "there is no Secret late")) > 0
	})
	m.write(t, "secret.yaml", secret)
	m.await(t, "the pod", func(st *lab.Status) bool { return st.Settled && st.Find(pod("named")) != nil })
	if a := m.do(t, client, http.MethodGet, dataIP+":80", "/"); a.echo.Name != "of-a-config-map" || a.echo.Version != "7" {
		t.Errorf("the app says %+v", a.echo)
	}
	if _, out, _ := m.exec(t, "named", "getent", "hosts", "alias.example.com"); !strings.HasPrefix(out, "192.0.2.1") {
		t.Errorf("the alias of an address leads to %q", out)
	}
}

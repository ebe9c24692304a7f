//go:build kube && consul

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/certs/certstest"
)

const (
	consulName  = "server.dc1.consul" // of its certificate
	consulToken = "e2e-token"
)

// consul is the Consul of the tests in a pod: by TLS, to clients that show a certificate and the token.
type consul struct {
	*namespace

	url    string // of a port-forward
	client *http.Client
	env    []string // what HashiCorp's client is told of TLS
}

// startConsul starts it, and makes the Secrets with what the control plane needs to call it.
func startConsul(t *testing.T) *consul {
	t.Helper()
	n := newNamespace(t, "catalog")
	ca := certstest.New(t, "consul")
	server, shown := ca.Issue(t, consulName), ca.Issue(t, "controller")
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	caFile, certFile, keyFile, token := file("ca.crt", ca.CA), file("tls.crt", shown.Cert), file("tls.key", shown.Key), file("token", consulToken)
	secret := func(namespace, name string, files map[string]string) {
		args := []string{"-n", namespace, "create", "secret", "generic", name}
		for key, path := range files {
			args = append(args, "--from-file="+key+"="+path)
		}
		_, _ = try(t, "", "-n", namespace, "delete", "secret", name, "--ignore-not-found")
		must(t, "", args...)
		t.Cleanup(func() { _, _ = try(t, "", "-n", namespace, "delete", "secret", name, "--ignore-not-found") })
	}
	secret(system, "consul-token", map[string]string{"token": token})
	secret(system, "consul-ca", map[string]string{"ca.crt": caFile})
	secret(system, "consul-cert", map[string]string{"tls.crt": certFile, "tls.key": keyFile})
	secret(n.name, "consul", map[string]string{"tls.crt": file("server.crt", server.Cert), "tls.key": file("server.key", server.Key), "ca.crt": caFile, "token": token})
	n.apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: consul, labels: {app: consul}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: consul
      image: fairlead.dev/consul:1
      readinessProbe: {tcpSocket: {port: 8501}, periodSeconds: 1}
      volumeMounts: [{name: files, mountPath: /etc/consul}]
  volumes: [{name: files, secret: {secretName: consul}}]
---
apiVersion: v1
kind: Service
metadata: {name: consul}
spec: {selector: {app: consul}, ports: [{port: 8501}]}`)
	n.kubectl(t, "wait", "--for=condition=Ready", "pod/consul", "--timeout=90s")
	pair, err := tls.X509KeyPair([]byte(shown.Cert), []byte(shown.Key))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(ca.CA))
	return &consul{
		namespace: n, url: "https://" + forwarded(t, n.name, "consul", 8501),
		client: &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: consulName, Certificates: []tls.Certificate{pair}}}},
		env:    []string{"CONSUL_CACERT=" + caFile, "CONSUL_CLIENT_CERT=" + certFile, "CONSUL_CLIENT_KEY=" + keyFile, "CONSUL_TLS_SERVER_NAME=" + consulName},
	}
}

// do asks it, with the token.
func (c *consul) do(t *testing.T, method, path string, body any) []byte {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, c.url+path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Consul-Token", consulToken)
	resp, err := c.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %d %s %v", method, path, resp.StatusCode, out, err)
	}
	return out
}

// instance is one of a service as the catalog tells it.
type instance struct {
	Node    struct{ Node string }
	Service struct {
		Address string
		Port    int
		Tags    []string
		Meta    map[string]string
	}
}

// instances are those of a service, by their addresses.
func (c *consul) instances(t *testing.T, service string) (list []instance, addresses []string) {
	t.Helper()
	out := c.do(t, http.MethodGet, "/v1/health/service/"+service, nil)
	if err := json.Unmarshal(out, &list); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for i := range list {
		addresses = append(addresses, fmt.Sprintf("%s:%d", list[i].Service.Address, list[i].Service.Port))
	}
	slices.Sort(addresses)
	return list, addresses
}

// hashicorps has HashiCorp's own client read the same.
func (c *consul) hashicorps(t *testing.T, service string) (addresses []string) {
	t.Helper()
	program := os.Getenv("CONSUL_CLIENT")
	if program == "" {
		t.Fatal("run this story by `make e2e-consul`")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, c.url, consulToken, service, "dc1", "0")
	cmd.Env, cmd.Stderr = append(os.Environ(), c.env...), os.Stderr
	out, err := cmd.Output()
	var seen struct {
		Instances []struct {
			Address string
			Port    int
		}
		Status int
	}
	if err == nil {
		err = json.Unmarshal(out, &seen)
	}
	if err != nil || seen.Status != 0 {
		t.Fatalf("HashiCorp's client: %v: %s", err, out)
	}
	for _, i := range seen.Instances {
		addresses = append(addresses, fmt.Sprintf("%s:%d", i.Address, i.Port))
	}
	slices.Sort(addresses)
	return addresses
}

// podAddresses are those of the ready pods with a label, with a port.
func (n *namespace) podAddresses(t *testing.T, app string, port int) (out []string) {
	t.Helper()
	text := n.kubectl(t, "get", "pods", "-l", "app="+app, "-o", `jsonpath={range .items[?(@.status.phase=="Running")]}{.status.podIP}{"\n"}{end}`)
	for ip := range strings.FieldsSeq(text) {
		out = append(out, fmt.Sprintf("%s:%d", ip, port))
	}
	slices.Sort(out)
	return out
}

// TestConsul has the control plane in its pod follow a Consul in a pod, and keep a Service in its catalog: as the chart's values say, by TLS with a
// CA and a certificate of Secrets, and with the ACL token of another one.
func TestConsul(t *testing.T) {
	c := startConsul(t)
	n := meshed(t, "consul")
	n.apply(t, server("users", 2), strings.ReplaceAll(server("billing", 1), "labels: {app: billing, version: v1}", "labels: {app: billing, version: v1, fairlead.dev/inject: disabled}"))
	n.startClient(t)
	n.rollout(t, "deployment/users", "deployment/billing")
	upgraded(t, "consul.address=https://consul."+c.name+".svc:8501,consul.serverName="+consulName+
		",consul.tokenSecret=consul-token,consul.caSecret=consul-ca,consul.certSecret=consul-cert,consul.sync=true,consul.datacenters={dc2}")

	t.Run("services_of_the_catalog_are_called", func(t *testing.T) {
		address := strings.TrimSuffix(n.podAddresses(t, "billing", 8080)[0], ":8080")
		for dc, host := range map[string]string{"dc1": "billing.service.consul", "dc2": "billing.service.dc2.consul"} {
			c.do(t, http.MethodPut, "/v1/catalog/register?dc="+dc, map[string]any{
				"Node": "legacy", "Address": address, "Service": map[string]any{"ID": "billing-1", "Service": "billing", "Port": 8080},
			})
			eventually(t, host+" is called", func() (string, bool) {
				r, err := n.tryCall(t, "client", "--count", "5", "http://"+host+":8080/")
				return fmt.Sprint(r, err), err == nil && r.OK == 5
			})
		}
	})
	t.Run("a_Service_of_the_mesh_is_in_the_catalog", func(t *testing.T) {
		want := func(what string, want []string) {
			t.Helper()
			eventually(t, what, func() (string, bool) {
				_, got := c.instances(t, "people")
				return fmt.Sprint(got, ", want ", want), slices.Equal(got, want)
			})
		}
		n.kubectl(t, "annotate", "service", "users", "consul.hashicorp.com/service-sync=true", "consul.hashicorp.com/service-name=people",
			"consul.hashicorp.com/service-port=http", "consul.hashicorp.com/service-tags=mesh,v1")
		pods := n.podAddresses(t, "users", 8080)
		want("both pods are instances", pods)
		list, _ := c.instances(t, "people")
		for _, i := range list {
			if i.Node.Node != "k8s-sync" || !slices.Equal(i.Service.Tags, []string{"mesh", "v1"}) || i.Service.Meta["external-source"] != "kubernetes" || i.Service.Meta["external-k8s-ns"] != n.name {
				t.Errorf("an instance is %+v", i)
			}
		}
		if got := c.hashicorps(t, "people"); !slices.Equal(got, pods) {
			t.Errorf("HashiCorp's client reads %v, want %v", got, pods)
		}
		n.kubectl(t, "scale", "deployment/users", "--replicas=1")
		eventually(t, "the pod that ended is no instance", func() (string, bool) {
			_, got := c.instances(t, "people")
			return fmt.Sprint(got), len(got) == 1 && slices.Contains(pods, got[0])
		})
		n.kubectl(t, "annotate", "service", "users", "consul.hashicorp.com/service-sync-")
		want("nothing of the Service is left", nil)
		if list, _ := c.instances(t, "billing"); len(list) != 1 {
			t.Errorf("what others have registered is %v", list)
		}
	})
}

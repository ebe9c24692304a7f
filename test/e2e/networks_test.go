//go:build kube && multicluster

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/lab/demoapp"
)

// Two clusters of which pods of one do not reach those of the other are one mesh by gateways of the chart: pods of both answer, who
// calls is known at the other end, a gateway's pod that is deleted and an API server that is away cost nothing, and without
// mutual TLS nothing crosses.
func TestSeparateNetworks(t *testing.T) {
	west, east := sides(t, "networks")
	outside := strings.NewReplacer("name: client", "name: stranger", "{app: client}", "{app: stranger, fairlead.dev/inject: disabled}")
	west.apply(t, server("users", 2), client, outside.Replace(client))
	east.apply(t, server("users", 2), client)
	for _, s := range []side{west, east} {
		s.kubectl(t, "rollout", "status", "deployment/users", "--timeout=120s")
		s.kubectl(t, "wait", "--for=condition=Ready", "pod/client", "--timeout=120s")
	}
	west.kubectl(t, "wait", "--for=condition=Ready", "pod/stranger", "--timeout=120s")
	ip := east.kubectl(t, "get", "pods", "-l", "app=users", "-o", "jsonpath={.items[0].status.podIP}")
	if r := west.call(t, "stranger", "--count", "1", "--timeout", "3s", "http://"+ip+":8080/"); r.OK > 0 || r.Requests == 0 || strings.Contains(fmt.Sprint(r.Errors), "reset") {
		t.Fatalf("a pod of east is reached from west, where these are to be separate networks: %+v", r)
	}
	forEast, forWest := west.secretFor(t), east.secretFor(t)
	must(t, forWest, "--context", west.context(), "apply", "-f", "-")
	must(t, forEast, "--context", east.context(), "apply", "-f", "-")
	west.awaitRemote(t, "east", "synced", "")
	east.awaitRemote(t, "west", "synced", "")
	inWest := west.pods(t, "users")
	all := slices.Concat(inWest, east.pods(t, "users"))
	west.reaches(t, all...)
	east.reaches(t, all...)
	if n, text := west.endpoints(t, east); n != 2 || !strings.Contains(text, "net-east") || !strings.Contains(text, "172.31.24"+east.number+".1:") {
		t.Errorf("the client's sidecar in west has %d endpoints of east, want 2 by node ports of net-east:\n%s", n, text)
	}
	t.Logf("endpoints of the client in west:\n%s", west.cli(t, "proxy-config", "endpoints", "client", "-n", west.ns))
	eventually(t, "a sidecar in east to have counted calls of the client in west", func() (string, bool) {
		out := east.cli(t, "edges", "pods", "-n", east.ns)
		return out, strings.Contains(out, "client")
	})
	t.Run("a_gateway_is_replaced", func(t *testing.T) {
		underLoad(t, west, "a gateway's pods replaced", func() {
			must(t, "", "--context", east.context(), "-n", system, "rollout", "restart", "deployment/fairlead-gateway")
			must(t, "", "--context", east.context(), "-n", system, "rollout", "status", "deployment/fairlead-gateway", "--timeout=120s")
		})
	})
	t.Run("a_secret_is_rotated", func(t *testing.T) {
		underLoad(t, west, "the Secret of east applied anew with another token", func() {
			must(t, withToken(forWest, "wrong"), "--context", west.context(), "apply", "-f", "-")
			west.awaitRemote(t, "east", "stale", wrongCredentials)
			must(t, forWest, "--context", west.context(), "apply", "-f", "-")
			west.awaitRemote(t, "east", "synced", "")
		})
	})
	t.Run("an_API_server_is_away", func(t *testing.T) {
		t.Cleanup(func() { east.freeze(t, "start") })
		underLoad(t, west, "the API server of east away for a minute", func() {
			east.freeze(t, "stop")
			frozen := time.After(time.Minute)
			west.awaitRemote(t, "east", "stale", "no answer from")
			<-frozen
			east.freeze(t, "start")
			west.awaitRemote(t, "east", "synced", "")
		})
	})
	t.Run("without_mutual_TLS", func(t *testing.T) {
		west.apply(t, `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: PERMISSIVE}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: users}
spec: {host: users, trafficPolicy: {tls: {mode: DISABLE}}}
`)
		west.reaches(t, inWest...)
	})
}

// underLoad has the client of a side call users 200 times a second while something is done, and demands that no call fails.
func underLoad(t *testing.T, s side, what string, do func()) {
	t.Helper()
	type end struct {
		out string
		err error
	}
	ended := make(chan end, 1)
	go func() {
		out, err := try(t, "", "--context", s.context(), "-n", s.ns, "exec", "client", "-c", "app", "--",
			"/fairlead", "demo-app", "call", "-o", "json", "--rate", "200", "--for", "90s", "--concurrency", "8", "--timeout", "30s", "http://users:8080/")
		ended <- end{out, err}
	}()
	do()
	got := <-ended
	var r demoapp.Report
	if got.err != nil || json.Unmarshal([]byte(got.out), &r) != nil {
		t.Fatalf("calls while %s: %v: %s", what, got.err, got.out)
	}
	noneFailed(t, fmt.Sprintf("%s, %d pods answered", what, len(r.Pods)), r)
}

// Two clusters whose control planes have each made their own root are one mesh once both trust the other's: until then nothing
// crosses, and the caller's sidecar says whose root it is.
func TestRootsThatDiffer(t *testing.T) {
	west, east := sides(t, "roots")
	west.apply(t, client)
	east.apply(t, server("users", 1))
	east.kubectl(t, "rollout", "status", "deployment/users", "--timeout=120s")
	west.kubectl(t, "wait", "--for=condition=Ready", "pod/client", "--timeout=120s")
	must(t, east.secretFor(t), "--context", west.context(), "apply", "-f", "-")
	west.awaitRemote(t, "east", "synced", "")
	eventually(t, "the client's sidecar in west to say that the root of east is not trusted", func() (string, bool) {
		if r := west.call(t, "client", "--count", "3", "--timeout", "10s", "http://users:8080/"); r.OK > 0 {
			t.Fatalf("calls cross although no root is trusted: %+v", r)
		}
		out := west.cli(t, "errors", "client", "-n", west.ns)
		return out, strings.Contains(out, "is not trusted here (the peer is of cluster east)")
	})
	t.Logf("errors in west:\n%s", west.cli(t, "errors", "client", "-n", west.ns))
	eventually(t, "the server's sidecar in east to say whose root it is that is not trusted", func() (string, bool) {
		out := east.kubectl(t, "logs", "deploy/users", "-c", "fairlead-proxy", "--tail=20")
		const says = "the peer does not accept the certificate of this workload, whose root is "
		return out, slices.ContainsFunc(strings.Split(out, "\n"), func(line string) bool {
			_, root, ok := strings.Cut(line, says)
			return ok && strings.Contains(root, "(key ") && strings.Contains(root, "of cluster") && strings.Contains(root, "east")
		})
	})
	must(t, east.cli(t, "multicluster", "trust", "--name", "east"), "--context", west.context(), "apply", "-f", "-")
	must(t, west.cli(t, "multicluster", "trust", "--name", "west"), "--context", east.context(), "apply", "-f", "-")
	began := time.Now()
	eventually(t, "calls to cross", func() (string, bool) {
		r := west.call(t, "client", "--count", "3", "--timeout", "10s", "http://users:8080/")
		return fmt.Sprintf("%+v", r), r.OK == 3
	})
	t.Logf("after %.1f s; the server's log:\n%s", time.Since(began).Seconds(), east.kubectl(t, "logs", "deploy/users", "-c", "fairlead-proxy", "--tail=5"))
	west.reaches(t, east.pods(t, "users")...)
}

//go:build kube && multicluster

package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/lab/demoapp"
)

// side is one of the two clusters of test/kube/clusters.sh.
type side struct {
	name, number string
	ns           string
}

// sides gives the two clusters, each with a namespace of that name where a call without a certificate is refused.
func sides(t *testing.T, ns string) (west, east side) {
	t.Helper()
	west, east = side{"west", os.Getenv("FAIRLEAD_KUBE_WEST"), "e2e-" + ns}, side{"east", os.Getenv("FAIRLEAD_KUBE_EAST"), "e2e-" + ns}
	if west.number == "" || east.number == "" {
		t.Fatal("FAIRLEAD_KUBE_WEST and FAIRLEAD_KUBE_EAST must say which clusters of test/kube these are: make multicluster")
	}
	for _, s := range []side{west, east} {
		_, _ = try(t, "", "--context", s.context(), "delete", "namespace", s.ns, "--ignore-not-found", "--timeout=60s")
		must(t, "", "--context", s.context(), "create", "namespace", s.ns)
		must(t, "", "--context", s.context(), "label", "namespace", s.ns, "fairlead.dev/inject=enabled")
		s.apply(t, `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
`)
		t.Cleanup(func() {
			if t.Failed() {
				for _, args := range [][]string{{"get", "pods", "-n", s.ns, "-o", "wide"}, {"logs", "-n", system, "deploy/fairlead-controller", "--tail=30"}} {
					out, _ := try(t, "", append([]string{"--context", s.context()}, args...)...)
					t.Logf("%s: kubectl %s\n%s", s.name, strings.Join(args, " "), out)
				}
				return // left for whoever looks into it
			}
			_, _ = try(t, "", "--context", s.context(), "delete", "namespace", s.ns, "--wait=false")
		})
	}
	return west, east
}

func (s side) context() string { return "fairlead-kube" + s.number }

func (s side) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return must(t, "", append([]string{"--context", s.context(), "-n", s.ns}, args...)...)
}

func (s side) apply(t *testing.T, manifests ...string) {
	t.Helper()
	must(t, strings.Join(manifests, "\n---\n"), "--context", s.context(), "-n", s.ns, "apply", "-f", "-")
}

func (s side) cli(t *testing.T, args ...string) string {
	t.Helper()
	return fairlead(t, "", append([]string{"--context", s.context()}, args...)...)
}

// remote is what fairlead remote-clusters says of another cluster, the zero value for nothing.
func (s side) remote(t *testing.T, name string) admin.RemoteCluster {
	t.Helper()
	var rows []admin.RemoteCluster
	text := s.cli(t, "remote-clusters", "-o", "json")
	if err := json.Unmarshal([]byte(text), &rows); err != nil {
		t.Fatalf("remote-clusters: %v: %s", err, text)
	}
	for _, r := range rows {
		if r.ID == name {
			return r
		}
	}
	return admin.RemoteCluster{}
}

// awaitRemote waits until remote-clusters says that of another cluster.
func (s side) awaitRemote(t *testing.T, name, status, cause string) {
	t.Helper()
	began := time.Now()
	eventually(t, fmt.Sprintf("remote-clusters in %s to say that %s is %s because of %q", s.name, name, status, cause), func() (string, bool) {
		r := s.remote(t, name)
		return fmt.Sprintf("%+v", r), r.SyncStatus == status && strings.Contains(r.Cause, cause)
	})
	t.Logf("after %.1f s:\n%s", time.Since(began).Seconds(), s.cli(t, "remote-clusters"))
}

// secretFor makes the Secret that lets another cluster read this one.
func (s side) secretFor(t *testing.T) string {
	t.Helper()
	return s.cli(t, "create-remote-secret", "--name", s.name, "--server", "https://172.31.24"+s.number+".1:6443")
}

// pods lists the names of the pods with a label.
func (s side) pods(t *testing.T, app string) []string {
	t.Helper()
	return strings.Fields(s.kubectl(t, "get", "pods", "-l", "app="+app, "-o", "jsonpath={.items[*].metadata.name}"))
}

func (s side) call(t *testing.T, from string, args ...string) (r demoapp.Report) {
	t.Helper()
	out := s.kubectl(t, append([]string{"exec", from, "-c", "app", "--", "/fairlead", "demo-app", "call", "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return r
}

// reaches calls users until exactly these pods answer, and demands that no call fails.
func (s side) reaches(t *testing.T, pods ...string) {
	t.Helper()
	slices.Sort(pods)
	eventually(t, "calls in "+s.name+" to be answered by "+strings.Join(pods, ", "), func() (string, bool) {
		r := s.call(t, "client", "--count", "60", "http://users:8080/")
		if r.Failed > 0 {
			t.Fatalf("%d of %d calls in %s failed: %v %v", r.Failed, r.Requests, s.name, r.Statuses, r.Errors)
		}
		return fmt.Sprint(r.Pods), slices.Equal(slices.Sorted(maps.Keys(r.Pods)), pods)
	})
}

// endpoints counts the pods of another cluster (or this one) that the client's sidecar would call as users, and shows all.
func (s side) endpoints(t *testing.T, of side) (n int, all string) {
	t.Helper()
	all = s.cli(t, "proxy-config", "endpoints", "client", "-n", s.ns)
	for line := range strings.Lines(all) {
		if strings.HasPrefix(line, "10.24"+of.number+".") && strings.Contains(line, "|8080||users."+s.ns) {
			n++
		}
	}
	return n, all
}

// freeze stops or starts the API server of a cluster.
func (s side) freeze(t *testing.T, verb string) {
	t.Helper()
	if out, err := exec.Command("../kube/cluster.sh", verb, s.number, "kube-apiserver").CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", verb, err, out)
	}
}

// Two clusters are one mesh by the Secrets that fairlead create-remote-secret makes: pods of both answer, with mutual TLS; what
// a cluster said last stays while its API server is away; without the Secret its pods are gone at once; and a Secret that is of
// no use says why.
func TestMulticluster(t *testing.T) {
	west, east := sides(t, "multicluster")
	outside := strings.NewReplacer("name: client", "name: stranger", "{app: client}", "{app: stranger, fairlead.dev/inject: disabled}")
	west.apply(t, server("users", 2), client, outside.Replace(client))
	east.apply(t, server("users", 2), client)
	for _, s := range []side{west, east} {
		s.kubectl(t, "rollout", "status", "deployment/users", "--timeout=90s")
		s.kubectl(t, "wait", "--for=condition=Ready", "pod/client", "--timeout=90s")
	}
	inWest, inEast := west.pods(t, "users"), east.pods(t, "users")
	all := slices.Concat(inWest, inEast)
	west.reaches(t, inWest...)
	east.reaches(t, inEast...)

	forEast, forWest := west.secretFor(t), east.secretFor(t)
	must(t, forWest, "--context", west.context(), "apply", "-f", "-")
	must(t, forEast, "--context", east.context(), "apply", "-f", "-")
	west.awaitRemote(t, "east", "synced", "")
	east.awaitRemote(t, "west", "synced", "")
	west.reaches(t, all...)
	east.reaches(t, all...)

	t.Run("mutual_TLS", func(t *testing.T) { mutualTLS(t, west, east) })
	inEast = rolledOut(t, west, east)
	all = slices.Concat(inWest, inEast)
	t.Run("away", func(t *testing.T) { clusterAway(t, west, east, all) })
	t.Run("wrong_token", func(t *testing.T) { wrongToken(t, west, forWest, all) })
	t.Run("taken_away", func(t *testing.T) { takenAway(t, west, east, forWest, inWest) })
}

// mutualTLS has a pod of the other cluster know the caller by its certificate, and refuse one that shows none.
func mutualTLS(t *testing.T, west, east side) {
	for _, of := range []side{west, east} {
		if n, text := west.endpoints(t, of); n != 2 {
			t.Errorf("the client's sidecar in west has %d endpoints of users in %s, want 2:\n%s", n, of.name, text)
		}
	}
	ip := east.kubectl(t, "get", "pods", "-l", "app=users", "-o", "jsonpath={.items[0].status.podIP}")
	if r := west.call(t, "stranger", "--count", "3", "http://"+ip+":8080/"); r.OK > 0 || r.Requests == 0 {
		t.Errorf("a pod without a sidecar was answered by the other cluster: %+v", r)
	}
	// What the server's own sidecar has counted: calls that a certificate of west's client came with.
	eventually(t, "a sidecar in east to have counted calls of the client in west", func() (string, bool) {
		out := east.cli(t, "edges", "pods", "-n", east.ns)
		return out, strings.Contains(out, "client")
	})
	t.Logf("edges in west:\n%s", west.cli(t, "edges", "deploy", "-n", west.ns))
}

// rolledOut replaces the pods of users in east while they are called from west, and gives the new ones.
func rolledOut(t *testing.T, west, east side) []string {
	t.Helper()
	type end struct {
		out string
		err error
	}
	ended := make(chan end, 1)
	go func() {
		out, err := try(t, "", "--context", west.context(), "-n", west.ns, "exec", "client", "-c", "app", "--",
			"/fairlead", "demo-app", "call", "-o", "json", "--rate", "100", "--for", "20s", "--concurrency", "4", "http://users:8080/")
		ended <- end{out, err}
	}()
	east.kubectl(t, "rollout", "restart", "deployment/users")
	east.kubectl(t, "rollout", "status", "deployment/users", "--timeout=90s")
	got := <-ended
	var r demoapp.Report
	if got.err != nil || json.Unmarshal([]byte(got.out), &r) != nil {
		t.Fatalf("calls while east's pods are replaced: %v: %s", got.err, got.out)
	}
	noneFailed(t, fmt.Sprintf("the pods of the other cluster replaced, %d pods answered", len(r.Pods)), r)
	eventually(t, "the old pods of east to be gone", func() (string, bool) {
		pods := east.pods(t, "users")
		return strings.Join(pods, " "), len(pods) == 2
	})
	pods := east.pods(t, "users")
	west.reaches(t, slices.Concat(west.pods(t, "users"), pods)...)
	return pods
}

// clusterAway freezes the API server of east: calls go on, and west says since when it has not heard from it, and why.
func clusterAway(t *testing.T, west, east side, all []string) {
	east.freeze(t, "stop")
	t.Cleanup(func() { east.freeze(t, "start") })
	frozen := time.Now()
	west.awaitRemote(t, "east", "stale", "no answer from https://172.31.24"+east.number+".1:6443: ")
	const reading = 2 // seconds for what was under way
	if least, r := time.Since(frozen).Seconds()-reading, west.remote(t, "east"); r.AgeSeconds < least {
		t.Errorf("what is known of east is %.0f s old at least: %+v", least, r)
	}
	west.reaches(t, all...)
	east.freeze(t, "start")
	west.awaitRemote(t, "east", "synced", "")
	west.reaches(t, all...)
}

// wrongToken has the Secret of east name a token that its API server does not know, and mends it: what east said last stays.
func wrongToken(t *testing.T, west side, forWest string, all []string) {
	must(t, withToken(forWest, "wrong"), "--context", west.context(), "apply", "-f", "-")
	west.awaitRemote(t, "east", "stale", wrongCredentials)
	west.reaches(t, all...)
	must(t, forWest, "--context", west.context(), "apply", "-f", "-")
	west.awaitRemote(t, "east", "synced", "")
	west.reaches(t, all...)
}

// wrongCredentials is what remote-clusters says of a token that an API server does not know.
const wrongCredentials = "does not accept the credentials"

// withToken is a Secret with another token in the kubeconfig.
func withToken(secret, token string) string {
	_, rest, _ := strings.Cut(secret, "token: ")
	old, _, _ := strings.Cut(rest, "\n")
	return strings.ReplaceAll(secret, old, token)
}

// takenAway deletes the Secret, and writes one whose token was never any good.
func takenAway(t *testing.T, west, east side, forWest string, inWest []string) {
	began := time.Now()
	must(t, "", "--context", west.context(), "-n", system, "delete", "secret", "istio-remote-secret-east")
	eventually(t, "the endpoints of east to be gone", func() (string, bool) {
		n, text := west.endpoints(t, east)
		return text, n == 0
	})
	t.Logf("gone after %.1f s", time.Since(began).Seconds())
	west.reaches(t, inWest...)
	if r := west.remote(t, "east"); r.ID != "" {
		t.Errorf("remote-clusters says of a cluster that was taken away: %+v", r)
	}
	must(t, withToken(forWest, "wrong"), "--context", west.context(), "apply", "-f", "-")
	west.awaitRemote(t, "east", "syncing", wrongCredentials)
	west.reaches(t, inWest...)
}

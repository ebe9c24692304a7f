//go:build kube && multicluster

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// linked has each of the two clusters read the other one.
func linked(t *testing.T, west, east side) {
	t.Helper()
	must(t, east.secretFor(t), "--context", west.context(), "apply", "-f", "-")
	must(t, west.secretFor(t), "--context", east.context(), "apply", "-f", "-")
	t.Cleanup(func() {
		for _, s := range []side{west, east} {
			_, _ = try(t, "", "--context", s.context(), "-n", system, "delete", "secret", "-l", "istio/multiCluster=true")
		}
	})
	west.awaitRemote(t, "east", "synced", "")
	east.awaitRemote(t, "west", "synced", "")
}

// shares are rules that send a tenth of the calls of users to another cluster, in the words of three APIs.
var shares = map[string]string{
	"HTTPRoute": `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shares}
spec:
  parentRefs: [{group: "", kind: Service, name: users}]
  rules: [{backendRefs: [{name: users, port: 8080, weight: 90}, {name: users-east, port: 8080, weight: 10}]}]
`,
	"VirtualService": `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shares}
spec:
  hosts: [users]
  http: [{route: [{destination: {host: users}, weight: 90}, {destination: {host: users-east}, weight: 10}]}]
`,
	"TrafficSplit": `
apiVersion: split.smi-spec.io/v1alpha2
kind: TrafficSplit
metadata: {name: shares}
spec: {service: users, backends: [{service: users, weight: 90}, {service: users-east, weight: 10}]}
`,
}

// TestClustersShares has nine of ten calls stay in west while one goes to east, by a mirror.
func TestClustersShares(t *testing.T) {
	west, east := sides(t, "shares")
	west.apply(t, server("users", 1), client)
	east.apply(t, server("users", 1))
	west.ready(t, "users")
	east.ready(t, "users")
	east.linkTo(t, west)
	east.exported(t, "users")
	inWest, inEast := west.pods(t, "users"), east.pods(t, "users")
	eventually(t, "the mirror of users", func() (string, bool) {
		return "", west.service(t, "users-east").Spec.ClusterIP != ""
	})
	west.answers(t, "http://users-east:8080/", inEast...)
	for kind, rule := range shares {
		t.Run(kind, func(t *testing.T) {
			west.apply(t, rule)
			west.answers(t, "http://users:8080/", slices.Concat(inWest, inEast)...)
			r := west.call(t, "client", "--count", "2000", "--concurrency", "4", "http://users:8080/")
			noneFailed(t, fmt.Sprintf("%s 90/10: %d in west, %d in east", kind, r.Pods[inWest[0]], r.Pods[inEast[0]]), r)
			const mean, fivefold = 200, 67 // of the deviation of two thousand tosses
			if n := r.Pods[inEast[0]]; n < mean-fivefold || n > mean+fivefold {
				t.Errorf("%d of 2,000 calls went to the other cluster, want a tenth", n)
			}
			must(t, rule, "--context", west.context(), "-n", west.ns, "delete", "-f", "-")
			west.answers(t, "http://users:8080/", inWest...)
		})
	}
}

// preferring is a DestinationRule by which calls of users keep to what is near.
func preferring(setting string) string {
	return `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: users}
spec: {host: users, trafficPolicy: {loadBalancer: {localityLbSetting: ` + setting + `}}}
`
}

// TestClustersFailover has calls stay in their cluster while it has a pod that is ready, go to the other one at once when it has
// none, and come back.
func TestClustersFailover(t *testing.T) {
	west, east := sides(t, "failover")
	west.apply(t, server("users", 2), client, preferring(`{failoverPriority: [topology.istio.io/cluster]}`))
	east.apply(t, server("users", 2))
	west.ready(t, "users")
	east.ready(t, "users")
	linked(t, west, east)
	for zone, s := range map[string]side{"a": west, "b": east} {
		must(t, "", "--context", s.context(), "label", "nodes", "--all", "--overwrite", "topology.kubernetes.io/region=r1", "topology.kubernetes.io/zone="+zone)
		t.Cleanup(func() {
			_, _ = try(t, "", "--context", s.context(), "label", "nodes", "--all", "topology.kubernetes.io/region-", "topology.kubernetes.io/zone-")
		})
	}
	inWest, inEast := west.pods(t, "users"), east.pods(t, "users")
	away := func(t *testing.T) {
		t.Helper()
		for _, step := range []struct {
			ready string
			by    []string
		}{{"false", inEast}, {"true", inWest}} {
			began := time.Now()
			for _, pod := range inWest {
				noneFailed(t, pod+" is ready: "+step.ready, west.call(t, pod, "--method", "POST", "--count", "1", "http://127.0.0.1:8080/ready?ok="+step.ready))
			}
			west.reaches(t, step.by...)
			t.Logf("ready: %s in west: after %.1f s all calls go to %s", step.ready, time.Since(began).Seconds(), strings.Join(step.by, ", "))
		}
	}
	west.reaches(t, inWest...)
	t.Run("by_cluster", func(t *testing.T) {
		underLoad(t, west, "no pod of west is ready, and then all are again", func() { away(t) })
	})
	t.Run("by_zone", func(t *testing.T) {
		west.apply(t, preferring(`{enabled: true}`))
		west.reaches(t, inWest...)
		away(t)
	})
	t.Run("by_nothing", func(t *testing.T) {
		west.kubectl(t, "delete", "destinationrule", "users")
		west.reaches(t, slices.Concat(inWest, inEast)...)
	})
}

// edge is a row of edges -o json.
type edge struct {
	Src, Dst    string
	SrcCluster  string `json:"src_cluster"`
	DstCluster  string `json:"dst_cluster"`
	ClientID    string `json:"client_id"`
	ServerID    string `json:"server_id"`
	NoTLSReason string `json:"no_tls_reason"`
}

// TestClustersEdges has edges and stat tell of calls between clusters: each control plane of those with an end in its own, with the
// clusters of both, whatever pods are called; and of calls to its own workloads, as many as were made.
func TestClustersEdges(t *testing.T) {
	west, east := sides(t, fmt.Sprint("edges-", time.Now().Unix())) // what ran just before under the same name is remembered
	account := "{apiVersion: v1, kind: ServiceAccount, metadata: {name: web}}"
	web := strings.Replace(server("web", 1), "    spec:\n", "    spec:\n      serviceAccountName: web\n", 1)
	west.apply(t, account, web, server("users", 1), client)
	east.apply(t, server("users", 1), client)
	west.ready(t, "web", "users")
	east.ready(t, "users")
	linked(t, west, east)
	inWest, inEast := west.pods(t, "users")[0], east.pods(t, "users")[0]
	west.reaches(t, inWest, inEast) // by the client, and here by web too
	r := west.call(t, "deployment/web", "--count", "400", "http://users:8080/")
	noneFailed(t, "web to users", r)
	if r.Pods[inWest] == 0 || r.Pods[inEast] == 0 {
		t.Fatalf("of 400 calls %v", r.Pods)
	}

	row := func(src, account, srcCluster, dstCluster string) edge {
		return edge{src, "users", srcCluster, dstCluster, account + "." + west.ns, "default." + west.ns, ""}
	}
	seenInEast := []edge{row("po/client", "default", "west", "east"), row("web", "web", "west", "east")}
	if separate() { // who comes by a gateway is known by what it has proved
		seenInEast = []edge{row("sa/default", "default", "", "east"), row("sa/web", "web", "", "east")}
	}
	for _, tt := range []struct {
		s    side
		want []edge
	}{
		{west, []edge{row("po/client", "default", "west", "east"), row("po/client", "default", "west", "west"), row("web", "web", "west", "east"), row("web", "web", "west", "west")}},
		{east, seenInEast},
	} {
		eventually(t, fmt.Sprintf("the edges of %s to be %+v", tt.s.name, tt.want), func() (string, bool) {
			rows, text := inJSON[[]edge](t, "--context", tt.s.context(), "edges", "deploy", "-n", tt.s.ns)
			return text, slices.Equal(rows, tt.want)
		})
		t.Logf("in %s:\n%s", tt.s.name, tt.s.cli(t, "edges", "deploy", "-n", tt.s.ns))
	}
	type stat struct {
		Name, Meshed string
		Requests     int
	}
	for _, tt := range []struct {
		s    side
		args []string
		want int
	}{
		{west, []string{"stat", "deploy/web", "--to", "svc/users"}, 400},
		{west, []string{"stat", "deploy/users", "--from", "deploy/web"}, r.Pods[inWest]},
	} {
		eventually(t, fmt.Sprintf("%s in %s to say %d", strings.Join(tt.args, " "), tt.s.name, tt.want), func() (string, bool) {
			rows, text := inJSON[[]stat](t, append([]string{"--context", tt.s.context(), "-n", tt.s.ns, "--since", "10m"}, tt.args...)...)
			return text, len(rows) == 1 && rows[0].Requests == tt.want
		})
	}
	t.Logf("stat in east:\n%s", east.cli(t, "stat", "deploy", "-n", east.ns, "--since", "10m"))
}

// TestClustersBadInput has Secrets that are of no use say why, in one line each, while what is right goes on.
func TestClustersBadInput(t *testing.T) {
	west, east := sides(t, "secrets")
	west.apply(t, server("users", 1), client)
	east.apply(t, server("users", 1))
	west.ready(t, "users")
	east.ready(t, "users")
	linked(t, west, east)
	all := slices.Concat(west.pods(t, "users"), east.pods(t, "users"))
	west.reaches(t, all...)
	good := east.secretFor(t)
	for name, tt := range map[string]struct{ secret, cluster, cause string }{
		"twice":         {strings.Replace(good, "name: istio-remote-secret-east", "name: twin", 1), "east", "cluster east is declared by fairlead-system/istio-remote-secret-east already: remove one, or give the clusters different names"},
		"itself":        {west.secretFor(t), "west", "west is the name of this cluster itself: give each cluster of the mesh a name of its own"},
		"no_kubeconfig": {secretWith("north", "apiVersion: v1\nkind: Pod\n"), "north", "it is no kubeconfig, which says apiVersion: v1 and kind: Config"},
		"no_yaml":       {secretWith("north", "{"), "north", "the kubeconfig cannot be read: yaml: "},
	} {
		t.Run(name, func(t *testing.T) {
			must(t, tt.secret, "--context", west.context(), "apply", "-f", "-")
			eventually(t, "the Secret to be refused", func() (string, bool) {
				out := west.cli(t, "remote-clusters")
				return out, slices.ContainsFunc(strings.Split(out, "\n"), func(line string) bool {
					return strings.HasPrefix(line, tt.cluster+" ") && strings.Contains(line, "refused") && strings.Contains(line, tt.cause)
				})
			})
			t.Logf("\n%s", west.cli(t, "remote-clusters"))
			must(t, tt.secret, "--context", west.context(), "delete", "-f", "-")
			eventually(t, "nothing to be refused", func() (string, bool) {
				out := west.cli(t, "remote-clusters")
				return out, !strings.Contains(out, "refused")
			})
			west.awaitRemote(t, "east", "synced", "")
			west.reaches(t, all...)
		})
	}
}

// secretWith is a remote Secret with any text in the place of a kubeconfig.
func secretWith(cluster, text string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %[1]s, namespace: %[2]s, labels: {istio/multiCluster: \"true\"}}\nstringData: {%[1]s: %[3]q}\n", cluster, system, text)
}

package controlplane

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/incluster"
	"fairlead.dev/fairlead/internal/source/file"
	"fairlead.dev/fairlead/internal/store"
)

// What is written for imports, of what manifests of two clusters say.
func TestImportsOfManifests(t *testing.T) {
	const (
		namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: myapp}\n---\n"
		export    = "apiVersion: multicluster.x-k8s.io/v1beta1\nkind: ServiceExport\nmetadata: {name: users, namespace: myapp}\nspec: {exportedLabels: {team: a}}\n---\n"
	)
	users := func(spec, address string) string {
		return `
apiVersion: v1
kind: Service
metadata: {name: users, namespace: myapp}
spec: {` + spec + ` ports: [{name: http, port: 80, appProtocol: http}, {name: assoc, port: 142, protocol: SCTP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: users-1, namespace: myapp, labels: {kubernetes.io/service-name: users}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [` + address + `], hostname: users-0, nodeName: n1, zone: z1}]
---
`
	}
	for _, tt := range []struct{ name, west, east, want string }{
		{"nothing is exported", namespace + users("clusterIP: 10.0.0.1,", "10.1.0.1"), users("clusterIP: 10.0.0.2,", "10.2.0.1"), ""},
		{
			"of the other cluster", namespace + users("clusterIP: 10.0.0.1,", "10.1.0.1"), export + users("clusterIP: 10.0.0.2,", "10.2.0.1"),
			"myapp/users ClusterSetIP None http 80/TCP http,assoc 142/SCTP of [east] labels map[team:a]: east 10.2.0.1 users-0 z1 node= http:8080/TCP",
		},
		{
			"of both, with affinity", namespace + export + users("clusterIP: 10.0.0.1, sessionAffinity: ClientIP,", "10.1.0.1"), export + users("clusterIP: 10.0.0.2,", "10.2.0.1"),
			"myapp/users ClusterSetIP None http 80/TCP http,assoc 142/SCTP of [east west] labels map[team:a]: " +
				"east 10.2.0.1 users-0 z1 node= http:8080/TCP, west 10.1.0.1 users-0 z1 node=n1 http:8080/TCP",
		},
		{
			"headless", namespace + export + users("clusterIP: None,", "10.1.0.1"), "",
			"myapp/users Headless None http 80/TCP http,assoc 142/SCTP of [west] labels map[team:a]: west 10.1.0.1 users-0 z1 node=n1 http:8080/TCP",
		},
		{"a namespace that only the other cluster has", "", export + users("clusterIP: 10.0.0.2,", "10.2.0.1"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			kinds, s := config.NewTable(), store.New()
			for cluster, manifests := range map[string]string{"": tt.west, "east": tt.east} {
				objects, problems := file.Decode("mesh.yaml", []byte(manifests))
				if len(problems) > 0 {
					t.Fatal(problems)
				}
				s.Commit(func(tx *store.Txn) {
					for _, o := range objects {
						o.Ref.Cluster = cluster
						kinds.Translate(o.Value, config.Place{Ref: o.Ref, ClusterDomain: "cluster.local", ClusterID: "west"}).Commit(tx)
					}
				})
			}
			var lines []string
			for _, i := range imports(store.NewReader(s.Snapshot()), "west") {
				lines = append(lines, importLine(i))
			}
			if got := strings.Join(lines, "\n"); got != tt.want {
				t.Errorf("=\n%s, want\n%s", got, tt.want)
			}
		})
	}
}

func importLine(i *incluster.Import) string {
	var ports, parts []string
	for _, p := range i.Spec.Ports {
		text := fmt.Sprintf("%s %d/%s", p.Name, p.Port, p.Protocol)
		if p.AppProtocol != nil {
			text += " " + *p.AppProtocol
		}
		ports = append(ports, text)
	}
	for _, s := range i.Slices {
		text := []string{s.Cluster}
		for _, e := range s.Endpoints {
			node := ""
			if e.NodeName != nil {
				node = *e.NodeName
			}
			text = append(text, fmt.Sprintf("%s %s %s node=%s", e.Addresses[0], *e.Hostname, *e.Zone, node))
		}
		for _, p := range s.Ports {
			text = append(text, fmt.Sprintf("%s:%d/%s", *p.Name, *p.Port, *p.Protocol))
		}
		parts = append(parts, strings.Join(text, " "))
	}
	slices.Sort(parts)
	return fmt.Sprintf("%s/%s %s %s %s of %v labels %v: %s", i.Namespace, i.Name, i.Spec.Type, i.Spec.SessionAffinity, strings.Join(ports, ","), i.Clusters, i.Labels, strings.Join(parts, ", "))
}

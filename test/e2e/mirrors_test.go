//go:build kube && multicluster

package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/config/linkerd"
)

// separate reports whether the two clusters are networks of their own, as test/kube/clusters.sh made them.
func separate() bool { return os.Getenv("NETWORKS") == "separate" }

// exported is a Service of which other clusters have a mirror: by the gateway where clusters are networks of their own.
func (s side) exported(t *testing.T, service string) {
	t.Helper()
	mode := "remote-discovery"
	if separate() {
		mode = "true"
	}
	s.kubectl(t, "label", "service", service, "mirror.linkerd.io/exported="+mode)
}

// linkTo prints the Link to this cluster, with its Secret, and applies it in another one.
func (s side) linkTo(t *testing.T, from side) {
	t.Helper()
	args := []string{"multicluster", "link-gen", "--cluster-name", s.name, "--api-server-address", "https://172.31.24" + s.number + ".1:6443"}
	if !separate() {
		args = append(args, "--gateway=false")
	}
	must(t, s.cli(t, args...), "--context", from.context(), "apply", "-f", "-")
	t.Cleanup(func() {
		_, err := try(t, "", "--context", from.context(), "-n", system, "delete", "--ignore-not-found", "link/"+s.name, "secret/cluster-credentials-"+s.name)
		if err != nil {
			t.Errorf("the Link is still there: %v", err)
		}
	})
}

// mirrored is what counts of a Service.
type mirrored struct {
	Metadata struct {
		ResourceVersion     string
		Labels, Annotations map[string]string
	}
	Spec struct{ ClusterIP string }
}

// service reads a Service, the zero value for none.
func (s side) service(t *testing.T, name string) (v mirrored) {
	t.Helper()
	if text := s.kubectl(t, "get", "service", name, "--ignore-not-found", "-o", "json"); text != "" {
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
	}
	return v
}

// answers calls a URL from the client until exactly these pods answer, and demands that no call fails.
func (s side) answers(t *testing.T, url string, pods ...string) {
	t.Helper()
	slices.Sort(pods)
	eventually(t, "calls of "+url+" in "+s.name+" to be answered by "+strings.Join(pods, ", "), func() (string, bool) {
		r := s.call(t, "client", "--count", "60", url)
		if r.Failed > 0 {
			t.Fatalf("%d of %d calls of %s in %s failed: %v %v", r.Failed, r.Requests, url, s.name, r.Statuses, r.Errors)
		}
		return strings.Join(slices.Sorted(maps.Keys(r.Pods)), " "), slices.Equal(slices.Sorted(maps.Keys(r.Pods)), pods)
	})
}

// outcome finds what became of a Service in the status of a Link.
func outcome(list []linkerd.ServiceStatus, name string) (reason, message string) {
	for i := range list {
		if list[i].RemoteRef.Name == name && len(list[i].Conditions) > 0 {
			return list[i].Conditions[0].Reason, list[i].Conditions[0].Message
		}
	}
	return "", ""
}

// TestClustersMirrors has Services of east that are exported be Services in west, under names of their own: calls reach east, know
// who calls, and end with the export. A Service of that name that somebody made stays what it is.
func TestClustersMirrors(t *testing.T) {
	west, east := sides(t, "mirrors")
	west.apply(t, server("users", 1), server("orders-east", 1), client)
	east.apply(t, server("users", 2), server("orders", 1), server("private", 1))
	west.ready(t, "users", "orders-east")
	east.ready(t, "users", "orders", "private")
	inWest, inEast := west.pods(t, "users"), east.pods(t, "users")
	handMade := west.service(t, "orders-east")

	east.linkTo(t, west)
	east.exported(t, "users")
	east.exported(t, "orders")
	eventually(t, "the mirror of users", func() (string, bool) {
		v := west.service(t, "users-east")
		return west.cli(t, "multicluster", "gateways"), v.Spec.ClusterIP != "" && v.Metadata.Labels["mirror.linkerd.io/cluster-name"] == "east"
	})
	west.answers(t, "http://users-east:8080/", inEast...)
	west.answers(t, "http://users-east."+west.ns+".svc.cluster.local:8080/", inEast...)
	west.answers(t, "http://users:8080/", inWest...)
	t.Run("who_calls", func(t *testing.T) { callerIsKnown(t, west, "http://users-east:8080/") })
	t.Run("hand_made", func(t *testing.T) {
		west.answers(t, "http://orders-east:8080/", west.pods(t, "orders-east")...)
		if now := west.service(t, "orders-east"); now.Metadata.ResourceVersion != handMade.Metadata.ResourceVersion {
			t.Errorf("the Service that was there was %+v and is %+v", handMade, now)
		}
	})
	t.Run("entry", func(t *testing.T) { entryNamesMirror(t, west, inEast) })
	t.Run("told", func(t *testing.T) { mirrorsAreTold(t, west, east) })
	t.Run("federated", func(t *testing.T) {
		for _, s := range []side{west, east} {
			s.kubectl(t, "label", "service", "users", "mirror.linkerd.io/federated=member")
		}
		eventually(t, "the union", func() (string, bool) {
			v := west.service(t, "users-federated")
			return strings.Join(slices.Collect(maps.Values(v.Metadata.Annotations)), " "), v.Metadata.Annotations["multicluster.linkerd.io/remote-discovery"] == "users@east"
		})
		west.answers(t, "http://users-federated:8080/", slices.Concat(inWest, inEast)...)
	})
	t.Run("headless", func(t *testing.T) { podsAreMirrored(t, west, east) })
	t.Run("not_exported", func(t *testing.T) {
		for _, host := range []string{"private", "private-east"} {
			if r := west.call(t, "client", "--count", "3", "http://"+host+":8080/"); r.OK > 0 || r.Requests == 0 {
				t.Errorf("%s, which is not exported, is answered: %+v", host, r)
			}
		}
		east.kubectl(t, "label", "service", "users", "mirror.linkerd.io/exported-")
		eventually(t, "the mirror to be gone", func() (string, bool) {
			left := west.kubectl(t, "get", "service,endpointslice", "-o", "name")
			return left, !strings.Contains(left, "/users-east")
		})
		if r := west.call(t, "client", "--count", "3", "http://users-east:8080/"); r.OK > 0 || r.Requests == 0 {
			t.Errorf("what is exported no longer is answered: %+v", r)
		}
	})
	t.Run("unlinked", func(t *testing.T) {
		must(t, west.cli(t, "multicluster", "unlink", "--cluster-name", "east"), "--context", west.context(), "delete", "-f", "-")
		eventually(t, "the union to be gone, and nothing else", func() (string, bool) {
			left := west.kubectl(t, "get", "service", "-o", "name")
			return left, left == "service/orders-east\nservice/users\n"
		})
		if out := west.cli(t, "multicluster", "gateways"); out != "" { // it says so on standard error
			t.Errorf("gateways: %s", out)
		}
	})
}

// entryNamesMirror has a ServiceEntry for another cluster whose endpoint is a mirror's name: CoreDNS has an address for it at which kube-proxy has
// nobody, or the gateway, and sidecars call the pods that the mirror stands for.
func entryNamesMirror(t *testing.T, west side, inEast []string) {
	west.apply(t, `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: users-of-remote}
spec:
  hosts: [users-service.remote-cluster.global]
  location: MESH_INTERNAL
  resolution: DNS
  ports: [{number: 8080, name: http, protocol: HTTP}]
  endpoints: [{address: users-east.`+west.ns+`.svc.cluster.local}]`)
	const url = "http://users-service.remote-cluster.global:8080/"
	eventually(t, "the entry to be known", func() (string, bool) {
		r := west.call(t, "client", "--count", "1", url)
		return fmt.Sprint(r.Statuses, r.Errors), r.OK == 1
	})
	west.answers(t, url, inEast...)
}

// database is a StatefulSet behind a headless Service.
const database = `
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: http, port: 8080}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: app, image: fairlead.dev/demo-app:1, args: [--name, db], ports: [{name: web, containerPort: 8080}], readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}}
`

// podsAreMirrored has each pod of a headless Service of east be called by its own name in west: the cluster's DNS knows the names.
func podsAreMirrored(t *testing.T, west, east side) {
	east.apply(t, database)
	east.kubectl(t, "rollout", "status", "statefulset/db", "--timeout=180s")
	east.exported(t, "db")
	for _, name := range []string{"db-0", "db-1"} {
		eventually(t, "the mirror of "+name, func() (string, bool) {
			v := west.service(t, name+"-east")
			return west.kubectl(t, "get", "service,endpointslice"), v.Spec.ClusterIP != "" && v.Metadata.Labels["mirror.linkerd.io/headless-mirror-svc-name"] == "db-east"
		})
		west.answers(t, "http://"+name+"-east:8080/", name)
		eventually(t, "the cluster's DNS to know "+name+" of the mirror", func() (string, bool) {
			r := west.call(t, "client", "--count", "4", "--new-connections", "http://"+name+".db-east."+west.ns+".svc.cluster.local:8080/")
			return fmt.Sprint(r.Errors), r.OK == 4 && r.Pods[name] == 4
		})
	}
	if v := west.service(t, "db-east"); v.Spec.ClusterIP != "None" {
		t.Errorf("the mirror of the headless Service has the address %q", v.Spec.ClusterIP)
	}
	east.kubectl(t, "scale", "statefulset/db", "--replicas=1")
	eventually(t, "the mirror of the pod that is gone to go", func() (string, bool) {
		return west.kubectl(t, "get", "service", "-o", "name"), west.service(t, "db-1-east").Spec.ClusterIP == ""
	})
	east.kubectl(t, "label", "service", "db", "mirror.linkerd.io/exported-")
	eventually(t, "all of them to go", func() (string, bool) {
		left := west.kubectl(t, "get", "service,endpointslice", "-o", "name")
		return left, !strings.Contains(left, "/db-")
	})
}

// mirrorsAreTold has the commands, the Link and its events say what has a mirror, and what has none.
func mirrorsAreTold(t *testing.T, west, east side) {
	type row struct {
		ClusterName      string
		Alive            *bool // null, and Latency, where there is no gateway
		NumberOfServices int
		Latency          *float64
	}
	eventually(t, "one mirror, and a gateway that has answered where there is one", func() (string, bool) {
		var rows []row
		text := west.cli(t, "multicluster", "gateways", "-o", "json")
		if err := json.Unmarshal([]byte(text), &rows); err != nil {
			t.Fatalf("gateways -o json: %v: %s", err, text)
		}
		if len(rows) != 1 || rows[0].ClusterName != "east" || rows[0].NumberOfServices != 1 {
			return text, false
		}
		alive, latency := rows[0].Alive, rows[0].Latency
		if !separate() {
			return text, alive == nil && latency == nil
		}
		return text, alive != nil && *alive && latency != nil && *latency > 0
	})
	t.Logf("\n%s", west.cli(t, "multicluster", "gateways"))

	why := "Service " + west.ns + "/orders-east was not made as a mirror: it stays as it is"
	out, err := tryFairlead(t, "--context", west.context(), "multicluster", "check")
	t.Logf("\n%s", out)
	if err == nil || !strings.Contains(out, "√ cluster east of "+system+"/cluster-credentials-east is read by ") || strings.Count(out, "×") != 1 ||
		!strings.Contains(out, "× Service "+east.ns+"/orders of cluster east has no mirror orders-east: "+why+"\n") ||
		separate() && !strings.Contains(out, "√ gateway 172.31.24"+east.number+".1 of cluster east is alive\n") {
		t.Errorf("check = %v", err)
	}
	var link linkerd.Link
	eventually(t, "the status of the Link", func() (string, bool) {
		text := must(t, "", "--context", west.context(), "-n", system, "get", "link", "east", "-o", "json")
		if err := json.Unmarshal([]byte(text), &link); err != nil {
			t.Fatal(err)
		}
		reason, _ := outcome(link.Status.MirrorServices, "users")
		not, message := outcome(link.Status.MirrorServices, "orders")
		return text, reason == "Mirrored" && not == "Foreign" && strings.Contains(message, why) && len(link.Status.MirrorServices) == 2
	})
	eventually(t, "the event of the Link", func() (string, bool) {
		events := must(t, "", "--context", west.context(), "-n", system, "get", "events", "--field-selector", "involvedObject.kind=Link,involvedObject.name=east,reason=Foreign")
		return events, strings.Contains(events, why)
	})
}

// callerIsKnown has the server be told the identity of the client, who proves it to the server's own sidecar.
func callerIsKnown(t *testing.T, s side, url string) {
	t.Helper()
	out := s.kubectl(t, "exec", "client", "-c", "app", "--", "/fairlead", "demo-app", "get", url)
	if want := "URI=spiffe://cluster.local/ns/" + s.ns + "/sa/default"; !strings.Contains(out, want) || strings.Count(out, "By=") != 1 {
		t.Errorf("the server was not told %s:\n%s", want, out)
	}
}

// ready waits for the Deployments, and for the client where there is one.
func (s side) ready(t *testing.T, deployments ...string) {
	t.Helper()
	for _, d := range deployments {
		s.kubectl(t, "rollout", "status", "deployment/"+d, "--timeout=120s")
	}
	if s.kubectl(t, "get", "pod", "client", "--ignore-not-found", "-o", "name") != "" {
		s.kubectl(t, "wait", "--for=condition=Ready", "pod/client", "--timeout=120s")
	}
}

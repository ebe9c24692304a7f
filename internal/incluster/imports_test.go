package incluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
)

const (
	importPath = "/apis/multicluster.x-k8s.io/v1beta1/namespaces/shop/serviceimports/users"
)

func anImport(typ mcsv1beta1.ServiceImportType, clusters ...string) *Import {
	i := &Import{
		Namespace: "shop", Name: "users", Clusters: clusters, Labels: map[string]string{"team": "a"},
		Spec: mcsv1beta1.ServiceImportSpec{Type: typ, Ports: []mcsv1beta1.ServicePort{{Name: "http", Port: 80, Protocol: "TCP"}}},
	}
	for n, c := range clusters {
		i.Slices = append(i.Slices, ImportSlice{
			Cluster: c, Name: "users-1", AddressType: discoveryv1.AddressTypeIPv4,
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{fmt.Sprintf("10.24%d.0.1", n)}}},
		})
	}
	return i
}

// writes counts the requests that change something.
func writes(a *api) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for request, times := range a.requests {
		if verb, _, _ := strings.Cut(request, " "); verb == "patch" || verb == "delete" {
			n += times
		}
	}
	return n
}

// made describes what is in the API server, one word for each object.
func made(a *api) string {
	var out []string
	a.mu.Lock()
	defer a.mu.Unlock()
	for p, o := range a.objects {
		labels, _ := metaOf(o)["labels"].(map[string]any)
		switch {
		case strings.Contains(p, "/serviceimports/"):
			spec, _ := o["spec"].(map[string]any)
			out = append(out, fmt.Sprintf("import %v %v", spec["type"], spec["ips"]))
		case strings.Contains(p, "/services/"):
			out = append(out, "service")
		case strings.Contains(p, "/endpointslices/"):
			out = append(out, fmt.Sprintf("slice of %v for %v", labels[mcsv1beta1.LabelSourceCluster], labels[discoveryv1.LabelServiceName] != nil))
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func runImports(tb testing.TB, a *api, l *logs) *Imports {
	tb.Helper()
	m, err := NewImports(ImportsOptions{Client: a.client(), Logger: l.logger()})
	if err != nil {
		tb.Fatal(err)
	}
	background(tb, func(ctx context.Context) { m.Run(ctx) })
	return m
}

func TestImports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l := newAPI(t), &logs{}
		a.put(namespacePath("shop"), namespace("shop"))
		m := runImports(t, a, l)
		step := func(name, want string, unheard map[string]bool, list ...*Import) {
			t.Helper()
			m.Set(list, unheard)
			time.Sleep(5 * time.Second)
			if got := made(a); got != want {
				t.Errorf("%s: there is\n%s, want\n%s", name, got, want)
			}
		}
		const own = ", service"
		step("nothing", "", nil)
		step("of east", "import ClusterSetIP [10.96.0.1], service, slice of east for true", nil, anImport(mcsv1beta1.ClusterSetIP, "east"))
		step("of both", "import ClusterSetIP [10.96.0.1]"+own+", slice of east for true, slice of west for true", nil, anImport(mcsv1beta1.ClusterSetIP, "east", "west"))

		// What is right is not written again, and what somebody deletes comes back.
		before := writes(a)
		step("the same", "import ClusterSetIP [10.96.0.1]"+own+", slice of east for true, slice of west for true", nil, anImport(mcsv1beta1.ClusterSetIP, "east", "west"))
		if n := writes(a) - before; n > 0 {
			t.Errorf("%d writes of what is there", n)
		}
		a.delete(importPath)
		time.Sleep(time.Minute)
		if got := made(a); !strings.HasPrefix(got, "import ClusterSetIP [10.96.0.1]") {
			t.Errorf("the import that was deleted: %s", got)
		}

		step("west is not heard yet", "import ClusterSetIP [10.96.0.1]"+own+", slice of east for true, slice of west for true", map[string]bool{"west": true}, anImport(mcsv1beta1.ClusterSetIP, "east"))
		step("none is wanted, west is not heard yet", "import ClusterSetIP [10.96.0.1]"+own+", slice of west for true", map[string]bool{"west": true})
		step("west exports nothing", "", nil)
		step("headless", "import Headless <nil>, slice of east for false", nil, anImport(mcsv1beta1.Headless, "east"))
		step("gone", "", nil)
		if text := strings.Join(l.lines(), "\n"); text != "" {
			t.Errorf("the log has %s", text)
		}
	})
}

func TestAnImportOfOthersIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l := newAPI(t), &logs{}
		a.put(importPath, object{"spec": object{"type": "Headless"}})
		m := runImports(t, a, l)
		m.Set([]*Import{anImport(mcsv1beta1.ClusterSetIP, "east")}, nil)
		time.Sleep(time.Minute)
		m.Set(nil, nil)
		time.Sleep(time.Minute)
		if got := made(a); got != "import Headless <nil>" {
			t.Errorf("there is %s", got)
		}
		if text := strings.Join(l.lines(), "\n"); !strings.Contains(text, "ServiceImport shop/users was not made by Fairlead") {
			t.Errorf("the log has %s", text)
		}
	})
}

package lab

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"fairlead.dev/fairlead/internal/model"
)

// testService is a Service "web" with a named target port, as completed.
func testService() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: corev1.ServiceSpec{
			IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, ClusterIP: "10.96.7.7", ClusterIPs: []string{"10.96.7.7"}, Selector: map[string]string{"app": "web"},
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromString("web")}},
		},
	}
}

// testPod is the n-th pod behind it.
func testPod(n int, condition string, port int32) endpointPod {
	spec := &podSpec{
		key:    model.Key{Namespace: "default", Name: fmt.Sprint("web-", n)},
		labels: map[string]string{"app": "web"}, node: "lab-node",
		addrs:    podAddrs{v4: netip.AddrFrom4([4]byte{10, 244, 0, byte(n)})},
		template: &corev1.PodTemplateSpec{},
	}
	spec.template.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: port}}}}
	return endpointPod{spec: spec, seq: n, ready: strings.Contains(condition, "ready"), terminating: strings.Contains(condition, "ending")}
}

// describeSlices prints what matters of slices, one endpoint per line.
func describeSlices(slices []*discoveryv1.EndpointSlice) []string {
	var out []string
	for _, s := range slices {
		for _, e := range s.Endpoints {
			words := []string{fmt.Sprintf("%s:%d", e.Addresses[0], *s.Ports[0].Port)}
			for _, c := range []struct {
				name string
				set  *bool
			}{{"ready", e.Conditions.Ready}, {"serving", e.Conditions.Serving}, {"terminating", e.Conditions.Terminating}} {
				if *c.set {
					words = append(words, c.name)
				}
			}
			out = append(out, strings.Join(words, " "))
		}
	}
	return out
}

func TestEndpointSlices(t *testing.T) {
	other := testPod(9, "ready", 8080)
	other.spec.labels = map[string]string{"app": "other"}
	for _, tt := range []struct {
		name   string
		change func(*corev1.Service)
		pods   []endpointPod
		want   []string
	}{
		{"follow_readiness", nil, []endpointPod{testPod(1, "ready", 8080), testPod(2, "", 8080)}, []string{
			"10.244.0.1:8080 ready serving", "10.244.0.2:8080",
		}},
		{"a_pod_that_ends_is_not_ready_but_serves", nil, []endpointPod{testPod(1, "ready ending", 8080)}, []string{
			"10.244.0.1:8080 serving terminating",
		}},
		{"only_selected_pods", nil, []endpointPod{other}, nil},
		{"a_named_port_may_differ", nil, []endpointPod{testPod(1, "ready", 8080), testPod(2, "ready", 9090)}, []string{
			"10.244.0.1:8080 ready serving", "10.244.0.2:9090 ready serving",
		}},
		{
			"publish_not_ready", func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true },
			[]endpointPod{testPod(1, "", 8080)},
			[]string{"10.244.0.1:8080 ready"},
		},
		{
			"none_without_selector", func(s *corev1.Service) { s.Spec.Selector = nil },
			[]endpointPod{testPod(1, "ready", 8080)},
			nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			svc := testService()
			if tt.change != nil {
				tt.change(svc)
			}
			if diff := cmp.Diff(tt.want, describeSlices(endpointSlices(svc, tt.pods))); diff != "" {
				t.Errorf("endpointSlices() (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("at_most_a_hundred_in_one", func(t *testing.T) {
		var pods []endpointPod
		for n := range 201 {
			pods = append(pods, testPod(n, "ready", 8080))
		}
		slices := endpointSlices(testService(), pods)
		if len(slices) != 3 || len(slices[0].Endpoints) != 100 || len(slices[2].Endpoints) != 1 || slices[0].Name == slices[1].Name {
			t.Errorf("201 endpoints make %d slices", len(slices))
		}
	})
}

func TestServiceRules(t *testing.T) {
	svc := testService()
	for _, tt := range []struct {
		name string
		pods []endpointPod
		want []netip.AddrPort
	}{
		{"ready_ones", []endpointPod{testPod(1, "ready", 8080), testPod(2, "", 8080), testPod(3, "ready ending", 8080)}, []netip.AddrPort{
			netip.MustParseAddrPort("10.244.0.1:8080"),
		}},
		{"the_last_that_serves_where_none_is_ready", []endpointPod{testPod(3, "ready ending", 8080)}, []netip.AddrPort{
			netip.MustParseAddrPort("10.244.0.3:8080"),
		}},
		{"none", []endpointPod{testPod(2, "", 8080)}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rules := serviceRules([]*corev1.Service{svc}, map[model.Key][]*discoveryv1.EndpointSlice{
				{Namespace: "default", Name: "web"}: endpointSlices(svc, tt.pods),
			}, nil)
			var got []netip.AddrPort
			for _, r := range rules {
				if r.protocol != unix.IPPROTO_TCP || r.vip != netip.MustParseAddrPort("10.96.7.7:80") {
					t.Errorf("rule %+v", r)
				}
				got = append(got, r.endpoints...)
			}
			if diff := cmp.Diff(tt.want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
				t.Errorf("serviceRules() (-want +got):\n%s", diff)
			}
		})
	}
}

func TestClusterIPs(t *testing.T) {
	complete := func(t *testing.T, c *clusterIPs, change func(*corev1.Service)) *corev1.Service {
		t.Helper()
		svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "b"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
		change(svc)
		out, problem := c.complete(svc)
		if problem != nil {
			t.Fatal(problem)
		}
		return out
	}
	t.Run("are_the_same_in_every_lab", func(t *testing.T) {
		one := complete(t, newClusterIPs(DualStack), func(*corev1.Service) {})
		two := complete(t, newClusterIPs(DualStack), func(*corev1.Service) {})
		if one.Spec.ClusterIP == "" || one.Spec.ClusterIP != two.Spec.ClusterIP {
			t.Errorf("cluster IPs %q and %q", one.Spec.ClusterIP, two.Spec.ClusterIP)
		}
		if p := one.Spec.Ports[0]; p.TargetPort.IntVal != 80 || p.Protocol != corev1.ProtocolTCP {
			t.Errorf("port defaults: %+v", p)
		}
	})
	t.Run("dual_stack_on_request", func(t *testing.T) {
		dual := corev1.IPFamilyPolicyPreferDualStack
		svc := complete(t, newClusterIPs(DualStack), func(s *corev1.Service) { s.Spec.IPFamilyPolicy = &dual })
		if len(svc.Spec.ClusterIPs) != 2 || !netip.MustParseAddr(svc.Spec.ClusterIPs[1]).Is6() {
			t.Errorf("cluster IPs %v", svc.Spec.ClusterIPs)
		}
	})
	t.Run("a_chosen_one_is_kept_and_not_given_again", func(t *testing.T) {
		c := newClusterIPs(DualStack)
		first := complete(t, newClusterIPs(DualStack), func(*corev1.Service) {}).Spec.ClusterIP
		complete(t, c, func(s *corev1.Service) { s.Name, s.Spec.ClusterIP = "taker", first })
		if second := complete(t, c, func(*corev1.Service) {}); second.Spec.ClusterIP == first {
			t.Errorf("address %s was given twice", first)
		}
		c.release(model.Key{Namespace: "a", Name: "taker"})
	})
	t.Run("none_for_headless_and_external_names", func(t *testing.T) {
		svc := complete(t, newClusterIPs(DualStack), func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone })
		if len(svc.Spec.ClusterIPs) != 0 {
			t.Errorf("a headless Service got %v", svc.Spec.ClusterIPs)
		}
		svc = complete(t, newClusterIPs(DualStack), func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName })
		if svc.Spec.ClusterIP != "" {
			t.Errorf("an external name got %v", svc.Spec.ClusterIP)
		}
	})
}

func TestIPPool(t *testing.T) {
	p := newIPPool("10.244.0.254", 4)
	var got []string
	for range 3 {
		a, err := p.sequential("x")
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, a.String())
	}
	if diff := cmp.Diff([]string{"10.244.0.254", "10.244.0.255", "10.244.1.0"}, got); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	p.release(netip.MustParseAddr("10.244.0.254"))
	if a, _ := p.sequential("x"); a.String() != "10.244.1.1" {
		t.Errorf("%s was given, want the one that was not in use for longest", a)
	}
	if a, _ := p.sequential("x"); a.String() != "10.244.0.254" {
		t.Errorf("%s was given, want the freed one", a)
	}
	if _, err := p.sequential("x"); err == nil {
		t.Error("a full pool gave an address")
	}
}
